"""What every tuner must do, as tests to inherit."""

from __future__ import annotations

import json
import random
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np

from cerebro_nas.testing import _tuner_values as spaces
from cerebro_nas.testing._contract import _expect
from cerebro_nas.testing._tuner_run import TunerRun
from cerebro_nas.tuners import Exhausted
from cerebro_nas.tuners import SeededOracle
from cerebro_nas.tuners import StagedOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import losses
from cerebro_nas.tuners import make_objective

_SCORE = keras_tuner.Objective("score", "min")
_PROFIT = keras_tuner.Objective("score", "max")
_FINITE = 12


class TunerContract:
    """Inherit as `TestMyTuner(TunerContract)` and provide `make_oracle`; pytest collects the rest.

    Hypothesis must be installed. The attributes say what an oracle promises; one that leaves a promise out has the
    tests of that promise skipped.

    Attributes:
        deterministic: equal seeds give equal proposals.
        seeded: other seeds give other proposals.
        numeric_only: it takes ranges of numbers only, without conditions.
        unique: no two trials have equal values.
        exhausts: a small space is used up to its last configuration, and then there is no more.
        takes_initial_hps: `make_oracle` is given `initial_hps`, which are tried first.
        learns_quickly: forty trials find something better than what four in five random ones are.
        saves: `get_state` and `set_state` carry a search over.
        foresees_nothing: what it proposes does not depend on how many trials are left.
        namesakes: a name may stand for several hyperparameters, each with a condition of its own.
        several_objectives: it takes a list of objectives.
        examples: how many orders of events each property is tried on.
        trials: trials of the longer runs.
    """

    deterministic: bool = True
    seeded: bool = True
    numeric_only: bool = False
    unique: bool = True
    exhausts: bool = True
    takes_initial_hps: bool = True
    learns_quickly: bool = True
    saves: bool = True
    foresees_nothing: bool = True
    namesakes: bool = True
    several_objectives: bool = True
    examples: int = 8
    trials: int = 12

    # --- what a tuner's test class provides ---------------------------------------------------------------------------

    def make_oracle(
        self,
        space: keras_tuner.HyperParameters,
        seed: int,
        objective: keras_tuner.Objective,
        max_trials: int | None,
        **kwargs: Any,
    ) -> keras_tuner.Oracle:
        """Return a new oracle; `kwargs` may have `initial_hps`."""
        raise NotImplementedError

    # --- any order ----------------------------------------------------------------------------------------------------

    def test_results_come_in_any_order(self) -> None:
        """Up to eight trials run; they end in any order, well, early, without a finite metric, or not at all."""

        def check(choices: list[int], parallelism: int) -> None:
            with self._run(self._space(), self.trials, parallelism=parallelism) as run:
                run.play(choices).finish_all()

        self._for_all(check)

    def test_conditions_hold(self) -> None:
        """Only active hyperparameters have values, in spaces whose hyperparameters depend on one another."""
        self._needs(not self.numeric_only, "conditional spaces")

        def check(choices: list[int], parallelism: int) -> None:
            with self._run(spaces.conditional_space(), self.trials, parallelism=parallelism) as run:
                run.play(choices).finish_all()

        self._for_all(check)

    def test_a_name_is_what_its_branch_says(self) -> None:
        """A value is of the entry that is active, where a name has several."""
        self._needs(self.namesakes and not self.numeric_only, "several hyperparameters of one name")

        def check(choices: list[int], parallelism: int) -> None:
            with self._run(spaces.namesake_space(), 2 * self.trials, parallelism=parallelism) as run:
                run.play(choices).finish_all()

        self._for_all(check)

    def test_a_tuner_is_asked_for_many_before_any_result(self) -> None:
        """Eight trials begin before the first one ends, or the tuner says that it waits."""
        with self._run(self._space(), self.trials, parallelism=8) as run:
            for _ in range(8):
                run.ask()
            _expect(bool(run.running), "a tuner proposes something before any result", run.record)
            run.finish_all()

    def test_failures_harm_nothing(self) -> None:
        """Nothing but failures and NaN, one at a time and in parallel: there are always new trials, and no score."""
        for status, metrics in (("FAILED", None), ("COMPLETED", {"score": float("nan")})):
            with self._run(self._space(), 12, parallelism=3) as run:
                while isinstance(run.ask(), TrialSuggestion) or run.running:
                    trial_id = next(iter(run.running))
                    if metrics:
                        run.report(trial_id, metrics)
                    run.finish(trial_id, status)
                run.check_end()
                _expect(len(run.trials) == 12, "failed trials do not end a search", len(run.trials))
                _expect(not run.tuner.best_trials(1), "failed trials have no score", run.tuner.best_trials(1))
                statuses = {trial.status for trial in run.oracle.trials.values()}
                _expect(statuses == {"FAILED"}, "a trial without a finite metric failed", statuses)

    # --- seeds --------------------------------------------------------------------------------------------------------

    def test_equal_seeds_give_equal_proposals(self) -> None:
        """Whatever the global generators are, which a search neither reads nor moves."""
        self._needs(self.deterministic, "equal proposals")
        first = self._played(seed=7)
        kept = random.getstate(), np.random.get_state()
        try:
            random.seed(5)
            np.random.seed(5)
            before = random.getstate(), _text(np.random.get_state())
            _expect(self._played(seed=7) == first, "equal seeds give equal proposals", first)
            after = random.getstate(), _text(np.random.get_state())
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])
        _expect(before == after, "the global generators are left alone", "other states")

    def test_other_seeds_give_other_proposals(self) -> None:
        """Also seed 0, and seeds next to one another."""
        self._needs(self.deterministic and self.seeded, "seeds")
        found = {self._played(seed=seed) for seed in (0, 1, 2)}
        _expect(len(found) == 3, "other seeds give other proposals", found)

    # --- limits -------------------------------------------------------------------------------------------------------

    def test_a_small_space_is_used_up(self) -> None:
        """Each of twelve configurations is tried once, whether some fail or not; then there is no more."""
        self._needs(self.exhausts, "small spaces")
        space = spaces.finite_numeric_space() if self.numeric_only else spaces.finite_space()

        def check(choices: list[int], parallelism: int) -> None:
            with self._run(space, 40, parallelism=parallelism) as run:
                run.play(choices).finish_all()
                _expect(len(run.trials) == _FINITE, f"all {_FINITE} configurations are tried once", len(run.trials))
                _expect(isinstance(run.ask(), Exhausted), "then there is no more", run.record[-1])

        _expect(spaces.all_of(space) == _FINITE, "the space is as small as it says", spaces.all_of(space))
        self._for_all(check, self.examples // 2)

    def test_max_trials_holds_and_may_be_raised(self) -> None:
        """There are so many trials and no more; a raised limit makes room for more."""
        with self._run(self._space(), 5, parallelism=2) as run:
            run.finish_all()
            _expect(len(run.trials) == 5, "there are max_trials trials", len(run.trials))
            run.tuner.raise_limit(8)
            run.finish_all()
            _expect(len(run.trials) == 8, "a raised limit makes room", len(run.trials))

    def test_rejected_candidates_do_not_count(self) -> None:
        """They are replaced by others, first or last, and the tuner goes on."""
        with self._run(self._space(), 4, parallelism=1) as run:
            for number in range(7):
                run.ask()
                trial_id = next(iter(run.running))
                if number % 2:
                    run.reject(trial_id)
                else:
                    run.finish(trial_id, "FAILED")
            run.finish_all()
            counted = [name for name, status in run.ended.items() if status != "REJECTED"]
            _expect(len(counted) == 4, "rejected candidates do not count", run.ended)

    def test_starting_points_come_first(self) -> None:
        """`initial_hps` are tried in their order; what they leave out takes its default."""
        self._needs(self.takes_initial_hps, "initial_hps")
        points = [{"layers": 5, "momentum": 0.25}, {"units": 64, "rate": 0.01}, {}]
        space = self._space()
        defaults = {hp.name: hp.default for hp in space.space}
        with self._run(space, 6, parallelism=2, initial_hps=points) as run:
            run.finish_all()
            found = [trial.values for trial in list(run.trials.values())[:3]]
            wanted = [{**defaults, **point} for point in points]
            _expect(found == wanted, f"these come first: {wanted}", found)
            _expect(len(run.trials) == 6, "others come after them", len(run.trials))

    # --- what is looked for -------------------------------------------------------------------------------------------

    def test_maximising_is_minimising_the_negative(self) -> None:
        """A tuner proposes the same for a loss and for its negative, and says which trial is the best."""
        self._needs(self.deterministic, "equal proposals")
        down, up = self._played(), self._played(objective=_PROFIT, sign=-1.0)
        _expect(down == up, "a loss and its negative give equal proposals", (down, up))
        for objective, sign in ((_SCORE, 1.0), (_PROFIT, -1.0)):
            with self._run(self._space(), 8, objective=objective, sign=sign) as run:
                run.finish_all()
                (best,) = run.tuner.best_trials(1)
                wanted = min(run.trials.values(), key=lambda trial: spaces.any_loss(trial.values))
                _expect(best.hyperparameters.values == wanted.values, "the better is the best", best.score)

    def test_an_easy_minimum_is_approached(self) -> None:
        """No more than that nothing is upside down: which tuner is the better is for benchmarks."""
        self._needs(self.learns_quickly, "a quick search")
        draw = random.Random(0)  # noqa: S311 - not for secrets
        space = spaces.easy_space(self.numeric_only)
        chance = sorted(
            spaces.easy_loss({hp.name: hp.prob_to_value(draw.random()) for hp in space.space}) for _ in range(1000)
        )
        with self._run(space, 40, parallelism=2, loss=spaces.easy_loss) as run:
            run.finish_all()
            found = min(spaces.easy_loss(trial.values) for trial in run.trials.values())
        _expect(found < chance[200], f"the best of 40 is below {chance[200]}", found)

    def test_several_objectives(self) -> None:
        """A list of objectives, failures among them: the search goes on, and nothing dominates the best."""
        self._needs(self.several_objectives, "several objectives")
        objective = make_objective(["val_accuracy", keras_tuner.Objective("latency_ms", "min")])

        def metrics(values: dict[str, Any], epoch: int) -> dict[str, float]:
            loss = spaces.any_loss(values)
            return {"val_accuracy": -loss - 1 / (epoch + 1), "latency_ms": round(abs(loss * 7) % 1, 1)}

        def check(choices: list[int], parallelism: int) -> None:
            with self._run(
                self._space(), self.trials, parallelism=parallelism, objective=objective, metrics=metrics
            ) as run:
                run.play(choices).finish_all()
                self._check_goes_on(run, len(choices) % max(1, len(run.record)), objective=objective, metrics=metrics)
                done = [trial for trial in run.oracle.trials.values() if trial.status == "COMPLETED"]
                found = losses(done, objective)
                _expect(
                    not done or min(loss for loss in found if loss is not None) < 1, "some trial is in front", found
                )

        self._for_all(check, self.examples // 2)

    # --- going on -----------------------------------------------------------------------------------------------------

    def test_a_search_is_gone_on_with_after_every_event(self) -> None:
        """A new oracle that is led through what was written down gives what the first one gave next."""
        draw = random.Random(3)  # noqa: S311 - not for secrets
        with self._run(self._space(), 7, parallelism=3) as run:
            run.play([draw.randrange(1000) for _ in range(16)]).finish_all()
            for cut in range(len(run.record)):
                self._check_goes_on(run, cut, most=6)

    def test_a_search_is_gone_on_with_to_its_end(self) -> None:
        """As above, of any order of events, cut anywhere, and in a conditional space."""
        space = spaces.numeric_space() if self.numeric_only else spaces.conditional_space()

        def check(choices: list[int], parallelism: int) -> None:
            with self._run(space, self.trials, parallelism=parallelism) as run:
                run.play(choices).finish_all()
                self._check_goes_on(run, sum(choices) % len(run.record), space=space)

        self._for_all(check)

    def test_state_survives_json(self) -> None:
        """`set_state` of what `get_state` gave, as JSON, gives the next proposal that the first oracle gives."""
        self._needs(self.saves and self.deterministic, "a saved state")
        for length in (0, 3, 11, 29):
            draw = random.Random(length)  # noqa: S311 - not for secrets
            with self._run(self._space(), 30, parallelism=3) as run, self._run(self._space(), 30) as other:
                run.play([draw.randrange(1000) for _ in range(length)])
                for name, trial in run.oracle.trials.items():
                    other.oracle.trials[name] = type(trial).from_state(json.loads(json.dumps(trial.get_state())))
                other.oracle.set_state(json.loads(json.dumps(run.oracle.get_state())))
                wanted = run.oracle.populate_space("next")
                found = other.oracle.populate_space("next")
                _expect(found == wanted, f"a restored oracle proposes {wanted}", found)

    def test_a_saved_search_is_resumed(self, tmp_path: Path) -> None:
        """`resume=True` goes on from the folder in which a search was saved between two trials."""
        self._needs(self.saves and self.deterministic and self.foresees_nothing, "a limit that is raised")
        with self._run(self._space(), 12, parallelism=1) as whole:
            whole.finish_all()
            wanted = [trial.values for trial in whole.trials.values()]
        found = []
        for limit, resume in ((6, False), (12, True)):
            with self._run(
                self._space(), limit, parallelism=1, options={"directory": tmp_path, "resume": resume}
            ) as run:
                run.finish_all()
                found += [trial.values for trial in run.trials.values()]
        _expect(found == wanted, "a resumed search goes on as it would have", (found, wanted))

    # --- stages -------------------------------------------------------------------------------------------------------

    def test_stages_lead_on(self) -> None:
        """Some trial is promoted and trained to the end; with failures at any time every trial still ends."""
        with self._run(self._space(), 30, parallelism=4) as run:
            self._needs(isinstance(run.oracle, StagedOracle), "stages")
            run.finish_all()
            most = run.oracle.max_resource
            furthest = max(event.epoch for event in run.record if event.kind == "report") + 1
            _expect(run.promoted > 0, "some trial is promoted", run.promoted)
            _expect(furthest == most, f"some trial is trained to the end, {most}", furthest)

        def check(choices: list[int], parallelism: int) -> None:
            with self._run(self._space(), 30, parallelism=parallelism) as run:
                run.play(choices).finish_all()

        self._for_all(check)

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _space(self) -> keras_tuner.HyperParameters:
        return spaces.numeric_space() if self.numeric_only else spaces.mixed_space()

    def _run(
        self,
        space: keras_tuner.HyperParameters,
        max_trials: int,
        *,
        seed: int = 1,
        objective: keras_tuner.Objective = _SCORE,
        sign: float = 1.0,
        loss: Callable[[dict[str, Any]], float] = spaces.any_loss,
        metrics: Callable[[dict[str, Any], int], dict[str, float]] | None = None,
        parallelism: int = 4,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> TunerRun:
        def score(values: dict[str, Any], epoch: int) -> dict[str, float]:
            return {"score": sign * (loss(values) + 1 / (epoch + 1))}

        oracle = self.make_oracle(space, seed, objective, max_trials, **kwargs)
        if options is None:
            # Writing files takes longer than all the rest; what is written has a test of its own.
            oracle.save = oracle._save_trial = _write_nothing
        return TunerRun(
            oracle,
            max_trials=max_trials,
            metrics=metrics or score,
            parallelism=parallelism,
            repeats=not self.unique,
            **(options or {}),
        )

    def _played(self, **kwargs: Any) -> str:
        with self._run(self._space(), 12, parallelism=3, **kwargs) as run:
            return _text([trial.values for trial in run.finish_all().trials.values()])

    def _check_goes_on(
        self,
        run: TunerRun,
        cut: int,
        *,
        most: int | None = None,
        space: keras_tuner.HyperParameters | None = None,
        **kwargs: Any,
    ) -> None:
        rest = run.record[cut:]
        with self._run(space or self._space(), run.tuner.max_trials or 0, **kwargs) as other:
            other.follow(run.record[:cut])
            if self.deterministic or isinstance(other.oracle, SeededOracle):
                other.go_on(rest if most is None else rest[:most])
            other.check_unchanged()

    def _for_all(self, check: Callable[[list[int], int], None], examples: int | None = None) -> None:
        from hypothesis import given
        from hypothesis import settings
        from hypothesis import strategies as st

        # Inside, as a test that classes inherit has several owners, which hypothesis takes for a mistake.
        @settings(
            max_examples=examples or self.examples,
            deadline=None,
            derandomize=True,
            database=None,
            report_multiple_bugs=False,
        )
        @given(st.lists(st.integers(0, 999), max_size=60), st.integers(1, 8))
        def every(choices: list[int], parallelism: int) -> None:
            check(choices, parallelism)

        every()

    def _needs(self, promised: bool, what: str) -> None:
        if not promised:
            raise unittest.SkipTest(f"this tuner promises nothing about {what}")


def _write_nothing(*_: Any) -> None:
    """In place of what saves an oracle."""


def _text(value: Any) -> str:
    return json.dumps(value, default=str)
