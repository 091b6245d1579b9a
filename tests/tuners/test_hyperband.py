from __future__ import annotations

import random
from collections import Counter
from typing import Any

import keras_tuner
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import Exhausted
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import Wait
from cerebro_nas.tuners._hyperband import HyperbandOracle
from cerebro_nas.tuners._rungs import hyperband_table
from cerebro_nas.tuners._stages import Dismissal
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._stages import Stage


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    return hps


def make(max_trials: int | None = None, direction: str = "min", **options: Any) -> Tuner:
    arguments: dict[str, Any] = {"max_resource": 9, "seed": 0, "max_trials": max_trials, **options}
    oracle = HyperbandOracle(objective=keras_tuner.Objective("score", direction), hyperparameters=space(), **arguments)
    # Writing files is most of the time that KerasTuner takes.
    oracle.save = oracle._save_trial = lambda *_: None
    return Tuner(oracle, max_trials=max_trials)


class Played:
    """A whole search; the score of a trial is its `x`."""

    def __init__(self, tuner: Tuner, workers: int = 4, faults: float = 0.0, seed: int = 0) -> None:
        dice = random.Random(seed)
        self.values: dict[str, float] = {}
        self.brackets: dict[str, int] = {}
        self.rungs: Counter[tuple[int, int]] = Counter()
        self.dismissed: dict[str, str] = {}
        self.complete: set[str] = set()
        running: dict[str, Stage] = {}
        while True:
            reply = tuner.ask() if len(running) < workers else None
            if isinstance(reply, TrialSuggestion):
                self.values[reply.trial_id], self.brackets[reply.trial_id] = reply.values["x"], reply.note["bracket"]
            if isinstance(reply, Dismissal):
                self.dismissed[reply.trial_id] = reply.reason
                tuner.finish(reply.trial_id, "STOPPED", reply.reason)
            if isinstance(reply, TrialSuggestion | Promotion):
                assert reply.stage is not None
                assert reply.trial_id not in self.dismissed
                running[reply.trial_id] = reply.stage
                self.rungs[self.brackets[reply.trial_id], reply.stage.until] += 1
            if isinstance(reply, Exhausted):
                assert not running
                break
            if reply is None or isinstance(reply, Wait):
                name = dice.choice(list(running))
                self._end(tuner, name, running.pop(name), failed=dice.random() < faults)
        tuner.close()

    def _end(self, tuner: Tuner, name: str, stage: Stage, failed: bool) -> None:
        if failed:
            tuner.finish(name, "FAILED")
            return
        tuner.report(name, stage.until - 1, {"score": self.values[name]})
        if stage.last:
            tuner.finish(name, "COMPLETED")
            self.complete.add(name)
        else:
            tuner.pause(name)


@pytest.mark.parametrize("workers", [1, 3, 20])
@pytest.mark.parametrize(("most", "factor"), [(9, 3), (16, 2), (30, 3)])
def test_rungs_are_those_of_the_table(most: int, factor: int, workers: int) -> None:
    played = Played(make(max_resource=most, factor=factor, iterations=1), workers, seed=workers)

    table = hyperband_table(most, factor)
    wanted = {(bracket, rung.resource): rung.trials for bracket, rungs in enumerate(table) for rung in rungs}
    assert played.rungs == wanted
    assert len(played.dismissed) + len(played.complete) == len(played.values)


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_best_of_each_bracket_gets_to_the_end(direction: str) -> None:
    played = Played(make(iterations=2, direction=direction))

    best = min if direction == "min" else max
    for bracket in range(6):
        members = [name for name, of in played.brackets.items() if of == bracket]
        assert best(members, key=played.values.__getitem__) in played.complete


def test_a_rung_is_waited_for_and_the_next_bracket_begins_meanwhile() -> None:
    tuner = make()
    first = [tuner.ask() for _ in range(9)]
    names = [item.trial_id for item in first if isinstance(item, TrialSuggestion)]
    for place, name in enumerate(names[:8]):
        tuner.report(name, 0, {"score": float(place)})
        tuner.pause(name)
    other = tuner.ask()
    assert isinstance(other, TrialSuggestion)
    assert (other.note, other.stage) == ({"bracket": 1, "max_resource": 9}, Stage(3, False))
    tuner.finish(names[8], "FAILED")

    steps = [tuner.ask() for _ in range(8)]
    assert steps[:3] == [Promotion(name, Stage(3, False)) for name in names[:3]]
    assert steps[3:] == [Dismissal(name, "not_promoted") for name in names[3:8]]
    assert [step.message for step in steps[3:] if isinstance(step, Dismissal)] == [
        f"number {place} of 9 after 1 epochs, of which 3 go on" for place in range(4, 9)
    ]
    tuner.close()


def test_nobody_is_idle_before_all_configurations_have_begun() -> None:
    tuner = make(60)
    running: list[tuple[str, Stage]] = []
    begun = 0
    while begun < 60:
        while len(running) < 8 and begun < 60:
            reply = tuner.ask()
            assert not isinstance(reply, Wait | Exhausted)
            if isinstance(reply, Dismissal):
                tuner.finish(reply.trial_id, "STOPPED", reply.reason)
                continue
            begun += isinstance(reply, TrialSuggestion)
            assert reply.stage is not None
            running.append((reply.trial_id, reply.stage))
        name, stage = running.pop(0)
        tuner.report(name, stage.until - 1, {"score": 1.0})
        if stage.last:
            tuner.finish(name, "COMPLETED")
        else:
            tuner.pause(name)
    tuner.close()


@pytest.mark.parametrize("seed", range(4))
def test_failures_hold_nobody_up(seed: int) -> None:
    played = Played(make(max_resource=27, iterations=1), workers=5, faults=0.3, seed=seed)

    table = hyperband_table(27)
    for bracket, rungs in enumerate(table):
        assert played.rungs[bracket, rungs[0].resource] == rungs[0].trials
        assert all(played.rungs[bracket, rung.resource] <= rung.trials for rung in rungs)
    # KerasTuner's own would have none.
    assert sum(played.rungs[bracket, 27] for bracket in range(3)) >= 3
    assert played.complete


def test_rejected_trials_are_replaced_in_their_bracket() -> None:
    tuner = make(9)
    names = []
    for number in range(20):
        suggestion = tuner.ask()
        assert isinstance(suggestion, TrialSuggestion)
        assert suggestion.note == {"bracket": 0, "max_resource": 9}
        if number % 2:
            tuner.reject(suggestion.trial_id, "too large")
        else:
            names.append(suggestion.trial_id)
            tuner.report(suggestion.trial_id, 0, {"score": float(number)})
            tuner.pause(suggestion.trial_id)
        if len(names) == 9:
            break

    assert tuner.ask() == Promotion(names[0], Stage(3, False))
    tuner.close()


@pytest.mark.parametrize("max_trials", [1, 2, 4, 11])
def test_a_bracket_that_is_not_full_goes_on_with_those_it_has(max_trials: int) -> None:
    played = Played(make(max_trials))

    assert len(played.values) == max_trials
    last = max(played.brackets.values())
    assert played.rungs[last, 9] == 1
    best = min((name for name, bracket in played.brackets.items() if bracket == last), key=played.values.__getitem__)
    assert best in played.complete


def test_iterations_follow_each_other_until_the_trials_are_used_up() -> None:
    played = Played(make(51))  # 17 in each

    assert max(played.brackets.values()) == 8
    assert Counter(played.brackets.values()) == {place: (9, 5, 3)[place % 3] for place in range(9)}


def test_iterations_limit_the_number_of_trials() -> None:
    assert len(Played(make(iterations=2)).values) == 34


def test_no_iterations_are_refused() -> None:
    with pytest.raises(ConfigError, match="`iterations`.*Received: iterations=0"):
        make(iterations=0)


def test_a_raised_limit_opens_new_places() -> None:
    tuner = make(4)
    for _ in range(4):
        suggestion = tuner.ask()
        assert isinstance(suggestion, TrialSuggestion)
        tuner.report(suggestion.trial_id, 0, {"score": suggestion.values["x"]})
        tuner.pause(suggestion.trial_id)
    assert isinstance(tuner.ask(), Promotion)
    tuner.raise_limit(30)

    later = next(item for item in iter(tuner.ask, None) if isinstance(item, TrialSuggestion))
    assert later.note == {"bracket": 1, "max_resource": 9}
    tuner.close()


def test_brackets_that_were_begun_keep_their_rungs_when_trials_may_be_trained_for_longer() -> None:
    starts = [{"x": 0.1}, {"x": 0.2}]
    first, longer = make(20, initial_hps=starts), make(20, initial_hps=starts, max_resource=27)
    stages: list[tuple[str, Stage]] = []
    while not isinstance(step := first.ask(), Exhausted):
        if isinstance(step, TrialSuggestion):
            again = longer.readmit(step.trial_id, step.values, step.parent, step.note)
            assert (again.note, again.stage) == (step.note, step.stage)
        elif isinstance(step, Promotion | Dismissal):
            longer.readmit_step(step)
        for tuner in (first, longer):
            if isinstance(step, Dismissal):
                tuner.finish(step.trial_id, "STOPPED")
            elif isinstance(step, TrialSuggestion | Promotion) and step.stage is not None:
                tuner.report(step.trial_id, 0, {"score": 0.0})
                if step.stage.last:
                    tuner.finish(step.trial_id, "COMPLETED")
                else:
                    tuner.pause(step.trial_id)
        if isinstance(step, TrialSuggestion | Promotion) and step.stage is not None:
            stages.append((step.trial_id, step.stage))
    assert {stage.until for _, stage in stages} == {1, 3, 9}

    longer.raise_limit(40)
    later = [step for step in iter(longer.ask, Wait()) if isinstance(step, TrialSuggestion)]
    assert [item.note["max_resource"] for item in later[-3:]] == [27] * 3
    assert {item.stage for item in later if item.note["max_resource"] == 27} <= {
        Stage(1, False),
        Stage(3, False),
        Stage(9, False),
        Stage(27, True),
    }
