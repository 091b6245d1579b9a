"""The live trials in the order in which workers should take them: kept as they change, not sorted at each look."""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from cerebro_nas.hopper._costs import CostModel
    from cerebro_nas.hopper._shards import ShardTable
    from cerebro_nas.hopper._trial import Trial


class Ranked:
    """Waiting trials, the longest remaining work first. To add and to remove one costs O(log n) comparisons."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self._keys: list[tuple[float, float]] = []
        self._wants: list[int] = []

    def add(self, trial: Trial) -> None:
        """Put `trial` in its place."""
        place = bisect_left(self._keys, trial.rank)
        self.trials.insert(place, trial)
        self._keys.insert(place, trial.rank)
        self._wants.insert(place, trial.wants)

    def remove(self, trial: Trial) -> None:
        """Take `trial` out; its rank is still the one it was added with."""
        place = bisect_left(self._keys, trial.rank)
        while self.trials[place] is not trial:
            place += 1
        del self.trials[place], self._keys[place], self._wants[place]

    def longest(self, near: int, fits: Callable[[Trial], bool]) -> Trial | None:
        """Return the longest trial that wants one of the shards in `near` and, if there is an obstacle, `fits`."""
        # Here and below are the loops that grow with the number of trials: over plain integers, 30 ns for each.
        for place, wants in enumerate(self._wants):
            if wants & near and (not (trial := self.trials[place]).picky or fits(trial)):
                return trial
        return None

    def shortest(self, near: int, fits: Callable[[Trial], bool]) -> Trial | None:
        """As `longest`, from the other end."""
        for place, wants in enumerate(reversed(self._wants), start=1):
            if wants & near and (not (trial := self.trials[-place]).picky or fits(trial)):
                return trial
        return None


class Ranking:
    """All live trials: how much work is left, and which of them wait, ordered by what the policy looks for.

    Attributes:
        waiting: the trials that no worker runs.
        total: expected seconds of all units that live trials still have before them.
        longest_unit: seconds of the longest unit that comes next.
    """

    def __init__(self, table: ShardTable, costs: CostModel) -> None:
        self.waiting = Ranked()
        self.total = 0.0
        self.longest_unit = 0.0
        self._table = table
        self._costs = costs
        self._live: dict[str, Trial] = {}
        self._by_age: dict[str, Trial] = {}
        self._held: dict[str, Ranked] = {}
        self._evaluating: dict[str, Ranked] = {}
        self._none = Ranked()
        self._fresh = 0

    def __len__(self) -> int:
        return len(self._by_age)

    # --- what waits -------------------------------------------------------------------------------------------------

    def held(self, worker: str) -> Ranked:
        """Waiting trials whose state is on `worker`."""
        return self._held.get(worker, self._none)

    def evaluating(self, worker: str) -> Ranked:
        """Those of them that are to be evaluated next."""
        return self._evaluating.get(worker, self._none)

    @property
    def evaluates(self) -> bool:
        """Whether any of them waits for an evaluation."""
        return bool(self._evaluating)

    def oldest(self) -> Iterator[Trial]:
        """Yield the waiting trials, the one that waits longest first."""
        return iter(self._by_age.values())

    def waits(self, trial: Trial) -> bool:
        """Whether no worker runs `trial`."""
        return trial.plan.trial in self._by_age

    # --- changes ----------------------------------------------------------------------------------------------------

    def add(self, trial: Trial) -> None:
        """A trial is live, or its unit is over: it waits."""
        name = trial.plan.trial
        if name not in self._live:
            self._live[name] = trial
            trial.remaining = 0.0
        self._by_age[name] = trial
        self._weigh(trial)
        self._place(trial)

    def take(self, trial: Trial) -> None:
        """A worker runs `trial` now."""
        del self._by_age[trial.plan.trial]
        self._displace(trial)

    def forget(self, trial: Trial) -> None:
        """`trial` has ended."""
        if self.waits(trial):
            self.take(trial)
        del self._live[trial.plan.trial]
        self.total -= trial.remaining

    def change(self, trial: Trial, how: Callable[[Trial], None]) -> None:
        """Let `how` change what the order depends on: the place of the state, and what is left."""
        waits = self.waits(trial)
        if waits:
            self._displace(trial)
        how(trial)
        if waits:
            self._weigh(trial)
            self._place(trial)

    def renew(self) -> None:
        """Order anew if the scale of the estimates has moved since the last time; as measurements add up, it stays."""
        if not self._costs.moved():
            return
        self.waiting, self._held, self._evaluating = Ranked(), {}, {}
        self.total = 0.0
        for trial in self._live.values():
            trial.remaining = 0.0
            self._weigh(trial)
            if self.waits(trial):
                self._place(trial)

    # --- bookkeeping ------------------------------------------------------------------------------------------------

    def _weigh(self, trial: Trial) -> None:
        self.total -= trial.remaining
        trial.remaining = self._costs.remaining(trial)
        self.total += trial.remaining
        trial.rank = (-trial.remaining, trial.draw)
        self._measure_longest(trial)

    def _measure_longest(self, trial: Trial) -> None:
        """Keep the longest unit: at once as it grows, and as it shrinks after as many changes as there are trials."""
        trial.longest_unit = self._costs.rate(trial, trial.phase) * (
            1 if trial.plan.kind == "call" else self._table.most_rows
        )
        self.longest_unit = max(self.longest_unit, trial.longest_unit)
        self._fresh += 1
        if self._fresh >= len(self._live):
            self._fresh = 0
            self.longest_unit = max(other.longest_unit for other in self._live.values())

    def _place(self, trial: Trial) -> None:
        self.waiting.add(trial)
        if trial.holder is not None:
            self._held.setdefault(trial.holder, Ranked()).add(trial)
            if trial.phase == "evaluate":
                self._evaluating.setdefault(trial.holder, Ranked()).add(trial)

    def _displace(self, trial: Trial) -> None:
        self.waiting.remove(trial)
        if trial.holder is not None:
            self._held[trial.holder].remove(trial)
            if trial.phase == "evaluate":
                evaluating = self._evaluating[trial.holder]
                evaluating.remove(trial)
                if not evaluating.trials:
                    del self._evaluating[trial.holder]


def leading(ranked: Ranked, count: int, before: Trial | None) -> Iterator[Trial]:
    """Yield the first `count` trials at most, up to but without `before`."""
    for trial in islice(ranked.trials, count):
        if trial is before:
            return
        yield trial
