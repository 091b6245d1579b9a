"""Tables of the comparison."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks._table import Table
from benchmarks.search._contenders import BY_NAME
from benchmarks.search._contenders import CURVES
from benchmarks.search._contenders import MACROS
from benchmarks.search._runs import Run
from benchmarks.search._runs import find_problems
from benchmarks.search._statistics import LEVEL
from benchmarks.search._statistics import p_greater
from benchmarks.search._statistics import p_less
from benchmarks.search._statistics import p_less_paired
from benchmarks.search._statistics import summarise

_BASE = "random"
_REWARD_SEEDS = 0.9
_SHARE = 1 / 3
_RECORDED = "fashion-mnist"


@dataclass(frozen=True)
class Case:
    """What is compared: one problem with so many workers."""

    problem: str
    workers: int


class Comparison:
    """All searches that were made.

    Args:
        runs: the searches.
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        runs = list(runs)
        self.failed = sorted(
            {(run.task.problem, run.task.tuner, run.problem_found) for run in runs if run.problem_found}
        )
        self._runs: dict[Case, dict[str, list[Run]]] = {}
        for run in runs:
            if not run.problem_found:
                case = Case(run.task.problem, run.task.workers)
                self._runs.setdefault(case, {}).setdefault(run.task.tuner, []).append(run)

    @property
    def cases(self) -> list[Case]:
        """In the order in which they were wanted."""
        return list(self._runs)

    def tuners(self, case: Case) -> list[str]:
        """Who searched it."""
        return list(self._runs[case])

    def runs(self, case: Case, tuner: str) -> list[Run]:
        """The searches of one tuner, by seed."""
        return sorted(self._runs[case].get(tuner, []), key=lambda run: run.task.seed)

    def regrets(self, case: Case, tuner: str) -> list[float]:
        """Their regrets."""
        return [run.regret for run in self.runs(case, tuner)]

    def _by_seed(self, case: Case, tuner: str) -> dict[int, float]:
        return {run.task.seed: run.regret for run in self.runs(case, tuner)}

    def tables(self) -> tuple[list[Table], list[str]]:
        """The tables, and the bars that are missed."""
        missed: list[str] = []
        found = [self._regret_table(missed), self._peer_table(missed), self._reward_table(missed)]
        found.append(self._share_table(missed))
        if self.failed:
            found.append(Table("Not run", ("problem", "tuner", "why"), tuple(self.failed)))
        return [table for table in found if table.rows], missed

    def _regret_table(self, missed: list[str]) -> Table:
        rows: list[tuple[object, ...]] = []
        for case in self.cases:
            base = self._by_seed(case, _BASE)
            for tuner in self.tuners(case):
                runs, own = self.runs(case, tuner), self._by_seed(case, tuner)
                known = summarise(list(own.values()))
                alone = tuner == _BASE or not base
                chance = None if alone else p_less_paired(own, base)
                unpaired = None if alone else p_less(list(own.values()), list(base.values()))
                meant = case.problem in BY_NAME[tuner].meant_for if tuner in BY_NAME else False
                beats = None if chance is None or not meant else chance < LEVEL
                if beats is False:
                    missed.append(f"{case.problem}, W={case.workers}: {tuner} against random, p={chance:.3f}")
                trials = summarise([run.trials for run in runs]).median
                seconds = summarise([run.ask_seconds / max(1, run.trials) * 1e3 for run in runs]).median
                spread = (known.median, known.low, known.high)
                tests = (chance, unpaired, beats)
                rows.append((*_named(case, tuner), known.count, *spread, *tests, round(trials), seconds))
        columns = (
            "problem", "W", "tuner", "seeds", "median regret", "25 %", "75 %", "p", "p unpaired", "beats random",
            "trials", "ms",
        )  # fmt: skip
        return Table(
            "Simple regret",
            columns,
            tuple(rows),
            (
                "regret: noise-free loss of the trial that looks best, over the optimum; equal budgets of training",
                "p: one-sided, smaller regrets than random search's with the same seed, with which a tuner has noise, "
                "times and (ours) the first configurations in common (Wilcoxon); p unpaired: Mann-Whitney",
                f"beats random: p < {LEVEL}, shown for the problems that a tuner is meant for",
                "ms: CPU in the tuner for each trial (of a peer in a process of its own: not known)",
            ),
        )

    def _peer_table(self, missed: list[str]) -> Table:
        rows: list[tuple[object, ...]] = []
        for case in self.cases:
            for tuner in self.tuners(case):
                for peer in BY_NAME[tuner].peers if tuner in BY_NAME else ():
                    theirs, ours = self.regrets(case, peer), self.regrets(case, tuner)
                    if not theirs:
                        continue
                    worse, better = p_greater(ours, theirs), p_less(ours, theirs)
                    if worse < LEVEL:
                        missed.append(f"{case.problem}, W={case.workers}: {tuner} is worse than {peer}, p={worse:.3f}")
                    medians = summarise(ours).median, summarise(theirs).median
                    rows.append((*_named(case, tuner), peer, *medians, worse, better, worse >= LEVEL))
        columns = ("problem", "W", "ours", "peer", "our median", "its median", "p worse", "p better", "not worse")
        notes = (
            f"not worse: Mann-Whitney's one-sided test for greater regrets has p >= {LEVEL}; where both are equally "
            "good, chance alone finds one in twenty rows worse",
        )
        return Table("Against peers", columns, tuple(rows), notes)

    def _reward_table(self, missed: list[str]) -> Table:
        rows: list[tuple[object, ...]] = []
        for case in self.cases:
            if case.problem not in MACROS:
                continue
            base = {run.task.seed: run.last_reward for run in self.runs(case, _BASE)}
            for tuner in self.tuners(case):
                # One minus the loss is the reward.
                mine = {run.task.seed: run.last_reward for run in self.runs(case, tuner)}
                seeds = [seed for seed in mine if seed in base]
                wins = sum(mine[seed] > base[seed] for seed in seeds)
                mean = sum(1 + reward for reward in mine.values()) / len(mine)
                rows.append((*_named(case, tuner), mean, f"{wins} of {len(seeds)}"))
                if tuner == "rl" and wins < _REWARD_SEEDS * len(seeds):
                    missed.append(f"{case.problem}, W={case.workers}: rl beats random in {wins} of {len(seeds)} seeds")
        columns = ("problem", "W", "tuner", "mean of the last 50 rewards", "seeds better than random")
        return Table("Rewards of the macro spaces", columns, tuple(rows), ("bar: rl in 9 of 10 seeds",))

    def _share_table(self, missed: list[str]) -> Table:
        rows: list[tuple[object, ...]] = []
        for case in self.cases:
            base = self.runs(case, _BASE)
            for tuner in self.tuners(case) if base and base[0].path else ():
                if case.problem not in CURVES:
                    continue
                shares = shares_of(self.runs(case, tuner), base)
                known = summarise(shares)
                reached = sum(share <= _SHARE for share in shares)
                row = (known.median, known.low, known.high, f"{reached} of {len(shares)}")
                rows.append((*_named(case, tuner), *row))
                if tuner != "asha:shards" or case.problem != _RECORDED:
                    continue
                # Before the first trial has come to its end, all workers together have spent so much.
                first = case.workers * find_problems([case.problem])[0].units / base[0].spent
                if first <= _SHARE < known.median:
                    missed.append(
                        f"{case.problem}, W={case.workers}: {tuner} needs {known.median:.2f} of random's units"
                    )
        columns = ("problem", "W", "tuner", "median share", "25 %", "75 %", "at most a third")
        notes = (
            "share: sub-epochs (visits to shards) until the final score of random search with the same seed is seen, "
            "over all that random search spent; a search that never sees it counts as 2",
            "bar: asha with shards on the recorded curves, median at most a third; not where so many workers run that "
            "they have spent more by the time a single trial can have been trained to its end",
        )
        return Table("Sub-epochs to random search's final score", columns, tuple(rows), notes)


_NEVER = 2.0


def shares_of(ours: Sequence[Run], base: Sequence[Run]) -> list[float]:
    """For each seed, the part of the base's units that it takes to see the base's final score."""
    by_seed = {run.task.seed: run for run in base}
    shares = []
    for run in ours:
        other = by_seed.get(run.task.seed)
        if other is not None:
            spent = run.spent_until(other.path[-1][1])
            shares.append(_NEVER if spent is None else spent / other.spent)
    return shares or [_NEVER]


def _named(case: Case, tuner: str) -> tuple[object, ...]:
    return case.problem, case.workers, tuner
