from __future__ import annotations

import json
import random
import statistics
from collections import Counter
from typing import Any

import keras_tuner
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import Exhausted
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import Wait
from cerebro_nas.tuners import make_objective
from cerebro_nas.tuners._asha import AshaOracle
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._stages import Stage


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    return hps


def make(max_trials: int = 50, direction: str = "min", **options: Any) -> Tuner:
    arguments: dict[str, Any] = {"max_resource": 9, "seed": 0, "max_trials": max_trials, **options}
    oracle = AshaOracle(objective=keras_tuner.Objective("score", direction), hyperparameters=space(), **arguments)
    # Writing files is most of the time that KerasTuner takes.
    oracle.save = oracle._save_trial = lambda *_: None
    return Tuner(oracle, max_trials=max_trials)


def begin(tuner: Tuner, number: int = 1) -> list[str]:
    found = [tuner.ask() for _ in range(number)]
    assert all(isinstance(item, TrialSuggestion) for item in found)
    return [item.trial_id for item in found if isinstance(item, TrialSuggestion)]


def pause(tuner: Tuner, trial_id: str, score: float, until: int = 1) -> None:
    tuner.report(trial_id, until - 1, {"score": score})
    tuner.pause(trial_id)


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_best_third_goes_on_and_the_highest_rung_first(direction: str) -> None:
    sign = 1 if direction == "min" else -1
    tuner = make(direction=direction)
    trials = begin(tuner, 10)
    for place, trial in enumerate(trials[:9]):
        pause(tuner, trial, sign * place)

    assert [tuner.ask() for _ in range(3)] == [Promotion(trial, Stage(3, False)) for trial in trials[:3]]
    assert isinstance(tuner.ask(), TrialSuggestion)
    for place, trial in enumerate(trials[:3]):
        pause(tuner, trial, sign * place, 3)
    pause(tuner, trials[9], sign * -1)
    assert tuner.ask() == Promotion(trials[0], Stage(9, True))
    assert tuner.ask() == Promotion(trials[9], Stage(3, False))
    tuner.close()


def test_failures_make_a_rung_longer() -> None:
    tuner = make()
    good, *others = begin(tuner, 3)
    pause(tuner, good, 1.0)
    tuner.finish(others[0], "FAILED")
    assert isinstance(tuner.ask(), TrialSuggestion)
    tuner.finish(others[1], "FAILED")

    assert tuner.ask() == Promotion(good, Stage(3, False))
    tuner.close()


def test_rejected_trials_do_not() -> None:
    tuner = make()
    good, *others = begin(tuner, 3)
    pause(tuner, good, 1.0)
    for trial in others:
        tuner.reject(trial, "too large")

    assert isinstance(tuner.ask(), TrialSuggestion)
    tuner.close()


def test_a_trial_that_stopped_by_itself_keeps_its_rank_and_is_not_promoted() -> None:
    tuner = make()
    best, second, third = begin(tuner, 3)
    tuner.report(best, 0, {"score": 0.0})
    tuner.finish(best, "STOPPED", "it got no better")
    pause(tuner, second, 1.0)
    pause(tuner, third, 2.0)

    assert isinstance(tuner.ask(), TrialSuggestion)
    tuner.close()


def test_of_equal_trials_the_first_to_arrive_goes_on() -> None:
    tuner = make()
    trials = begin(tuner, 3)
    for trial in reversed(trials):
        pause(tuner, trial, 0.5)

    assert tuner.ask() == Promotion(trials[2], Stage(3, False))
    assert isinstance(tuner.ask(), TrialSuggestion)
    tuner.close()


@pytest.mark.parametrize("max_trials", [1, 2, 5])
def test_a_short_search_trains_its_best_to_the_end(max_trials: int) -> None:
    tuner = make(max_trials)
    trials = begin(tuner, max_trials)
    for place, trial in enumerate(trials):
        pause(tuner, trial, -place)
    until = 1
    while until < 9:
        step = tuner.ask()
        assert isinstance(step, Promotion)
        assert step.trial_id == trials[-1]
        until = step.stage.until
        assert isinstance(tuner.ask(), Wait)
        if until < 9:
            pause(tuner, trials[-1], -max_trials, until)
    tuner.report(trials[-1], 8, {"score": -99.0})
    tuner.finish(trials[-1], "COMPLETED")

    assert isinstance(tuner.ask(), Exhausted)
    tuner.close()


def test_brackets_begin_higher_and_are_smaller() -> None:
    tuner = make(200, brackets=3)
    notes = Counter[int]()
    untils = set()
    for _ in range(200):
        suggestion = tuner.ask()
        assert isinstance(suggestion, TrialSuggestion)
        notes[suggestion.note["bracket"]] += 1
        untils.add((suggestion.note["bracket"], suggestion.stage))

    assert untils == {(0, Stage(1, False)), (1, Stage(3, False)), (2, Stage(9, True))}
    # 9, 5 and 3 of 17.
    assert notes[0] > notes[1] > notes[2] > 20
    tuner.close()


def test_too_many_brackets_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 3, the number of rungs.*Received: brackets=4"):
        make(brackets=4)


def test_shards_are_a_resource() -> None:
    tuner = make(resource="shards")
    oracle = tuner.oracle

    assert isinstance(oracle, AshaOracle)
    assert oracle.resource == "shards"
    tuner.close()


def _curve(values: dict[str, Any], until: int) -> float:
    """An error that falls towards a level that depends on `x`, with noise that does too."""
    noise = random.Random(str(values["x"])).gauss(0, 0.02)
    return float((values["x"] - 0.3) ** 2 + 0.5 / (1 + until) + noise / until)


def _spent(seed: int, target: float, max_resource: int, **options: Any) -> int:
    """Resource that a search takes until a trial that was trained to the end has the target."""
    tuner = make(10_000, max_resource=max_resource, seed=seed, **options)
    spent = 0
    reached: dict[str, int] = {}
    queue: list[tuple[str, Stage]] = []
    values: dict[str, dict[str, Any]] = {}
    while True:
        while len(queue) < 4:
            reply = tuner.ask()
            assert isinstance(reply, TrialSuggestion | Promotion)
            if isinstance(reply, TrialSuggestion):
                values[reply.trial_id] = reply.values
            assert reply.stage is not None
            queue.append((reply.trial_id, reply.stage))
        trial, stage = queue.pop(0)
        spent += stage.until - reached.get(trial, 0)
        reached[trial] = stage.until
        score = _curve(values[trial], stage.until)
        if stage.last and score <= target:
            tuner.close()
            return spent
        if stage.last:
            tuner.report(trial, stage.until - 1, {"score": score})
            tuner.finish(trial, "COMPLETED")
        else:
            pause(tuner, trial, score, stage.until)


def test_it_needs_a_third_of_the_resource_of_random_search() -> None:
    target = 0.5 / 28 + 0.0005
    ours, random_search = [], []
    for seed in range(6):
        ours.append(_spent(seed, target, 27))
        # All trials to the end: one rung only.
        random_search.append(_spent(seed, target, 27, min_resource=27))

    assert statistics.mean(ours) < statistics.mean(random_search) / 3


def make_of_two(**options: Any) -> Tuner:
    arguments: dict[str, Any] = {"max_resource": 9, "seed": 0, "max_trials": 50, **options}
    objective = make_objective([keras_tuner.Objective("accuracy", "max"), keras_tuner.Objective("latency_ms", "min")])
    oracle = AshaOracle(objective=objective, hyperparameters=space(), **arguments)
    oracle.save = oracle._save_trial = lambda *_: None
    return Tuner(oracle, max_trials=50)


def pause_with(tuner: Tuner, trial_id: str, accuracy: float, latency: float) -> None:
    tuner.report(trial_id, 0, {"accuracy": accuracy, "latency_ms": latency})
    tuner.pause(trial_id)


def test_a_rung_of_several_objectives_is_ranked_by_who_dominates_whom() -> None:
    tuner = make_of_two(factor=2)
    dear, alike, dominated, good = begin(tuner, 4)
    pause_with(tuner, dominated, 0.8, 30.0)
    pause_with(tuner, dear, 0.81, 90.0)
    pause_with(tuner, good, 0.81, 20.0)
    pause_with(tuner, alike, 0.5, 10.0)

    steps = [tuner.ask() for _ in range(3)]
    # The best in accuracy first would have promoted `dear` too, which `good` dominates.
    assert steps[:2] == [Promotion(good, Stage(2, False)), Promotion(alike, Stage(2, False))]
    assert isinstance(steps[2], TrialSuggestion)
    tuner.close()


@pytest.mark.parametrize("seed", range(5))
def test_nobody_goes_on_before_those_that_dominate_it(seed: int) -> None:
    tuner = make_of_two(factor=2)
    dice = random.Random(seed)
    results = {name: (dice.randrange(6), dice.randrange(6)) for name in begin(tuner, 20)}
    for name, (accuracy, latency) in results.items():
        pause_with(tuner, name, accuracy, latency)
    steps = [tuner.ask() for _ in range(10)]
    order = [step.trial_id for step in steps if isinstance(step, Promotion)]

    assert len(order) == 10
    for name, (accuracy, latency) in results.items():
        for other, (accuracy2, latency2) in results.items():
            if accuracy >= accuracy2 and latency <= latency2 and (accuracy, latency) != (accuracy2, latency2):
                assert other not in order or name in order[: order.index(other)]
    tuner.close()


def test_a_rung_of_several_objectives_survives_json() -> None:
    tuner, other = make_of_two(factor=2), make_of_two(factor=2)
    for name, latency in zip(begin(tuner, 4), (4.0, 2.0, 1.0, 3.0), strict=True):
        pause_with(tuner, name, 0.5, latency)
    other.oracle.trials = dict(tuner.oracle.trials)
    other.oracle.set_state(json.loads(json.dumps(tuner.oracle.get_state())))

    assert [other.ask() for _ in range(2)] == [tuner.ask() for _ in range(2)]
    tuner.close()
    other.close()
