from __future__ import annotations

import math
import random
import statistics
from typing import Any

import keras_tuner
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import Exhausted
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import Wait
from cerebro_nas.tuners import make_objective
from cerebro_nas.tuners._pbt import PbtOracle
from cerebro_nas.tuners._stages import Dismissal
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._stages import Stage


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Int("dense/units", 8, 512)
    hps.Choice("dense/activation", ["relu", "tanh"])
    hps.Choice("dense/dropout", [0.0, 0.1, 0.2, 0.5])
    hps.Float("learning_rate", 1e-5, 1.0, sampling="log")
    hps.Choice("optimizer", ["adam", "sgd", "rmsprop"])
    hps.Int("batch_size", 16, 256, step=16)
    return hps


def make(max_trials: int | None = 60, direction: str = "min", **options: Any) -> Tuner:
    arguments: dict[str, Any] = {
        "hyperparameters": space(),
        "max_resource": 10,
        "population_size": 5,
        "interval": 2,
        "populations": 1,
        "max_trials": max_trials,
        "seed": 0,
        **options,
    }
    oracle = PbtOracle(**({"objective": keras_tuner.Objective("score", direction)} | arguments))
    # Writing files is most of the time that KerasTuner takes.
    oracle.save = oracle._save_trial = lambda *_: None
    return Tuner(oracle, max_trials=max_trials)


def begin(tuner: Tuner, number: int = 5) -> list[str]:
    found = [tuner.ask() for _ in range(number)]
    assert all(isinstance(item, TrialSuggestion) for item in found)
    return [item.trial_id for item in found if isinstance(item, TrialSuggestion)]


def pause(tuner: Tuner, trial_id: str, score: float, until: int = 2) -> None:
    tuner.report(trial_id, until - 1, {"score": score})
    tuner.pause(trial_id)


class Population:
    """A whole search, in which only the weights of a line of trials are kept, as a number: how far it has got."""

    def __init__(self, tuner: Tuner, workers: int = 5, faults: float = 0.0, seed: int = 0) -> None:
        dice = random.Random(seed)
        self.trials: dict[str, TrialSuggestion] = {}
        self.weights: dict[str, float] = {}
        self.trained: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        running: dict[str, Stage] = {}
        while True:
            reply = tuner.ask() if len(running) < workers else None
            if isinstance(reply, TrialSuggestion):
                self.trials[reply.trial_id] = reply
                self.weights[reply.trial_id] = self.weights[reply.parent] if reply.parent else 0.0
            if isinstance(reply, Dismissal):
                self.ended[reply.trial_id] = reply.reason
                tuner.finish(reply.trial_id, "STOPPED", reply.reason)
            if isinstance(reply, TrialSuggestion | Promotion):
                assert reply.stage is not None
                running[reply.trial_id] = reply.stage
            if isinstance(reply, Exhausted):
                assert not running
                break
            if reply is None or isinstance(reply, Wait):
                # Much the same order each time, as members take about as long as each other.
                name = dice.choice(list(running)[:2])
                self._end(tuner, name, running.pop(name), failed=dice.random() < faults)
        tuner.close()

    def _end(self, tuner: Tuner, name: str, stage: Stage, failed: bool) -> None:
        if failed:
            self.ended[name] = "FAILED"
            tuner.finish(name, "FAILED")
            return
        # Best at a rate of 0.01.
        speed = 1 - abs(math.log10(self.trials[name].values["learning_rate"]) + 2) / 3
        self.weights[name] += speed * (stage.until - self.trained.get(name, 0))
        self.trained[name] = stage.until
        tuner.report(name, stage.until - 1, {"score": self.weights[name]})
        if stage.last:
            self.ended[name] = "COMPLETED"
            tuner.finish(name, "COMPLETED")
        else:
            tuner.pause(name)


def play(tuner: Tuner) -> list[TrialSuggestion]:
    found = []
    reply = tuner.ask()
    while not isinstance(reply, Exhausted):
        if isinstance(reply, Dismissal):
            tuner.finish(reply.trial_id, "STOPPED")
        else:
            assert isinstance(reply, TrialSuggestion | Promotion)
            assert reply.stage is not None
            if isinstance(reply, TrialSuggestion):
                found.append(reply)
            values = tuner.oracle.trials[reply.trial_id].hyperparameters.values
            tuner.report(reply.trial_id, reply.stage.until - 1, {"score": values["units"] + reply.stage.until})
            if reply.stage.last:
                tuner.finish(reply.trial_id, "COMPLETED")
            else:
                tuner.pause(reply.trial_id)
        reply = tuner.ask()
    tuner.close()
    return found


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_worst_is_replaced_by_a_variation_of_the_best(direction: str) -> None:
    sign = 1 if direction == "min" else -1
    tuner = make(direction=direction)
    names = begin(tuner)
    for place, name in enumerate(names):
        pause(tuner, name, sign * place)

    steps = [tuner.ask() for _ in range(4)]
    assert steps == [Promotion(name, Stage(4, False)) for name in names[:4]]
    lost = tuner.ask()
    assert isinstance(lost, Dismissal)
    assert lost.trial_id == names[4]
    assert lost.reason == "replaced"
    child = tuner.ask()
    assert isinstance(child, TrialSuggestion)
    assert child.parent == names[0]
    assert child.stage == Stage(2, False)
    assert child.note == {"member": 4, "generation": 1, "lineage": [names[0]], "inherited": 2}
    assert isinstance(tuner.ask(), Wait)
    tuner.close()


def test_by_default_only_what_belongs_to_the_training_is_changed() -> None:
    played = Population(make(200, direction="max", max_resource=40, population_size=8, truncation=0.4))
    children = [item for item in played.trials.values() if item.parent]

    assert len(children) > 5
    changed = set()
    for child in children:
        parent = played.trials[str(child.parent)]
        changed |= {name for name, value in child.values.items() if value != parent.values[name]}
    assert changed == {"dense/dropout", "learning_rate", "optimizer", "batch_size"}


def test_explore_names_what_is_changed() -> None:
    played = Population(make(direction="max", max_resource=30, explore=["dense/units"]))

    for child in (item for item in played.trials.values() if item.parent):
        parent = played.trials[str(child.parent)]
        assert {name for name, value in child.values.items() if value != parent.values[name]} == {"dense/units"}


def test_all_is_changed_where_no_name_says_what_it_is() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("a", 0, 1)
    hps.Int("b", 0, 1000)
    oracle = make(hyperparameters=hps).oracle
    assert isinstance(oracle, PbtOracle)

    assert oracle._explored(["a", "b"]) == {"a", "b"}
    assert oracle._explored(["a", "x/weight_decay", "lr", "filters_0_0", "lrelu"]) == {"x/weight_decay", "lr"}


def test_numbers_are_multiplied_and_keep_their_range_and_steps() -> None:
    oracle = make(resample_probability=0.0, perturb=(0.5, 2.0)).oracle
    assert isinstance(oracle, PbtOracle)
    given = {
        "dense/units": 100,
        "dense/activation": "relu",
        "dense/dropout": 0.1,
        "learning_rate": 0.01,
        "optimizer": "sgd",
        "batch_size": 32,
    }
    seen: dict[str, set[Any]] = {name: set() for name in given}
    for _ in range(60):
        for name, value in oracle._varied(given).items():
            seen[name].add(round(value, 9) if isinstance(value, float) else value)

    assert seen["learning_rate"] == {0.005, 0.02}
    assert seen["dense/dropout"] == {0.0, 0.2}
    assert seen["batch_size"] == {16, 64}
    assert seen["optimizer"] == {"sgd"}
    assert seen["dense/units"] == {100}


@pytest.mark.parametrize(
    ("value", "perturb", "wanted"),
    [(1, (0.8,), 1), (1, (1.2,), 2), (3, (0.8,), 2), (10, (1.2,), 10), (10, (0.8,), 8), (8, (5.0,), 10)],
)
def test_small_integers_move_at_least_one_step(value: int, perturb: tuple[float, ...], wanted: int) -> None:
    hps = keras_tuner.HyperParameters()
    hps.Int("decay_steps", 1, 10)
    oracle = make(hyperparameters=hps, resample_probability=0.0, perturb=perturb).oracle
    assert isinstance(oracle, PbtOracle)

    assert oracle._varied({"decay_steps": value}) == {"decay_steps": wanted}


def test_nothing_stays_at_zero_for_ever() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("dropout", 0.0, 0.5)
    oracle = make(hyperparameters=hps, resample_probability=0.0, perturb=(1.2,)).oracle
    assert isinstance(oracle, PbtOracle)

    assert oracle._varied({"dropout": 0.0})["dropout"] == pytest.approx(0.1)


@pytest.mark.parametrize("seed", range(3))
def test_lines_of_ancestors_are_trained_no_longer_than_allowed(seed: int) -> None:
    tuner = make(100, direction="max", max_resource=30)
    played = Population(tuner, workers=(1, 3, 9)[seed], faults=0.03 * seed, seed=seed)

    generations = set()
    for name, trial in played.trials.items():
        lineage = trial.note["lineage"]
        assert trial.note["generation"] == len(lineage)
        assert (lineage[-1] if lineage else None) == trial.parent
        # Every ancestor gave up its weights where the next began.
        assert trial.note.get("inherited", 0) + played.trained.get(name, 0) <= 30
        if trial.parent:
            before = played.trials[trial.parent]
            assert before.note.get("inherited", 0) < trial.note["inherited"]
            assert lineage == [*before.note["lineage"], trial.parent]
        generations.add(trial.note["generation"])
        assert name in played.ended
    assert len(generations) > 2
    assert "COMPLETED" in played.ended.values()


def test_members_move_on_together_with_one_worker() -> None:
    tuner = make(truncation=0.0)
    order = []
    reply = tuner.ask()
    while not isinstance(reply, Exhausted):
        assert isinstance(reply, TrialSuggestion | Promotion)
        assert reply.stage is not None
        order.append(reply.stage.until)
        tuner.report(reply.trial_id, reply.stage.until - 1, {"score": 1.0})
        if reply.stage.last:
            tuner.finish(reply.trial_id, "COMPLETED")
        else:
            tuner.pause(reply.trial_id)
        reply = tuner.ask()

    assert order == [until for until in (2, 4, 6, 8, 10) for _ in range(5)]
    tuner.close()


@pytest.mark.parametrize(("populations", "trials"), [(1, 5), (2, 10), (None, 12)])
def test_populations_follow_one_another(populations: int | None, trials: int) -> None:
    found = Population(make(12, truncation=0.0, populations=populations))
    assert len(found.trials) == trials
    assert set(found.ended.values()) == {"COMPLETED"}


def test_members_that_are_stopped_keep_no_population_from_beginning() -> None:
    tuner = make(12, populations=None)
    for _ in range(12):
        for name in begin(tuner, 1):
            tuner.report(name, 1, {"score": 1.0})
            tuner.finish(name, "STOPPED", "a rule")
    assert isinstance(tuner.ask(), Exhausted)
    tuner.close()


def test_equal_members_replace_nobody() -> None:
    tuner = make()
    for name in begin(tuner):
        pause(tuner, name, 0.5)

    assert all(isinstance(tuner.ask(), Promotion) for _ in range(5))
    tuner.close()


def make_of_two() -> Tuner:
    return make(objective=make_objective(["accuracy", keras_tuner.Objective("latency_ms", "min")]))


def pause_with(tuner: Tuner, trial_id: str, accuracy: float, latency: float) -> None:
    tuner.report(trial_id, 1, {"accuracy": accuracy, "latency_ms": latency})
    tuner.pause(trial_id)


def test_of_several_objectives_the_dominated_one_is_replaced() -> None:
    tuner = make_of_two()
    names = begin(tuner)
    # The third is second in accuracy, and the only one that another dominates; the last is worst in accuracy.
    for name, result in zip(names, [(0.6, 3.0), (0.9, 5.0), (0.8, 9.0), (0.7, 4.0), (0.5, 1.0)], strict=True):
        pause_with(tuner, name, *result)

    replies = [tuner.ask() for _ in range(4)]
    lost = replies[2]
    assert isinstance(lost, Dismissal)
    assert lost.trial_id == names[2]
    child = replies[3]
    assert isinstance(child, TrialSuggestion)
    # The ends of the front are the least crowded.
    assert child.parent in (names[1], names[4])
    tuner.close()


def test_members_that_are_equal_in_all_objectives_replace_nobody() -> None:
    tuner = make_of_two()
    for name in begin(tuner):
        pause_with(tuner, name, 0.5, 2.0)

    assert all(isinstance(tuner.ask(), Promotion) for _ in range(5))
    tuner.close()


def test_without_trials_left_the_worst_goes_on() -> None:
    tuner = make(5)
    for place, name in enumerate(begin(tuner)):
        pause(tuner, name, place)

    assert all(isinstance(tuner.ask(), Promotion) for _ in range(5))
    tuner.close()


def test_half_a_population_is_enough_to_judge_by() -> None:
    tuner = make()
    first, second, third, *_ = begin(tuner)
    pause(tuner, first, 1.0)
    assert isinstance(tuner.ask(), Promotion)
    pause(tuner, second, 2.0)
    assert isinstance(tuner.ask(), Promotion)
    pause(tuner, third, 3.0)
    assert isinstance(tuner.ask(), Dismissal)
    tuner.close()


def test_a_member_that_fails_is_replaced() -> None:
    tuner = make()
    first, second, third, *_ = begin(tuner)
    tuner.finish(second, "FAILED")
    fresh = tuner.ask()
    assert isinstance(fresh, TrialSuggestion)
    assert (fresh.parent, fresh.note["member"]) == (None, 1)
    pause(tuner, first, 1.0)
    assert isinstance(tuner.ask(), Promotion)
    tuner.finish(third, "FAILED")

    child = tuner.ask()
    assert isinstance(child, TrialSuggestion)
    assert (child.parent, child.note["member"]) == (first, 2)
    tuner.close()


def test_a_rejected_member_is_replaced_by_a_new_one() -> None:
    tuner = make()
    first, second, *_ = begin(tuner)
    pause(tuner, first, 1.0)
    assert isinstance(tuner.ask(), Promotion)
    tuner.reject(second, "too large")

    fresh = tuner.ask()
    assert isinstance(fresh, TrialSuggestion)
    assert (fresh.parent, fresh.note["member"]) == (None, 1)
    tuner.close()


def test_who_has_no_variation_left_is_not_replaced() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Choice("optimizer", ["a", "b", "c"])
    hps.Int("units", 1, 100)
    played = play(make(hyperparameters=hps, explore=["optimizer"], max_trials=200, direction="max"))

    tried = [tuple(item.values.items()) for item in played]
    assert len(set(tried)) == len(tried)
    parents = {item.parent for item in played if item.parent}
    assert parents
    assert all(item.values["units"] in {other.values["units"] for other in played[:5]} for item in played)


def test_a_population_gets_farther_than_its_members_alone() -> None:
    def best(truncation: float, seed: int) -> float:
        options = {"truncation": truncation, "max_resource": 30, "seed": seed}
        return max(Population(make(100, direction="max", **options)).weights.values())

    gains = [best(0.4, seed) - best(0.0, seed) for seed in range(6)]
    assert statistics.mean(gains) > 1
    assert sum(gain < 0 for gain in gains) <= 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("population_size", 1),
        ("interval", 0),
        ("truncation", 0.6),
        ("resample_probability", 1.5),
        ("resample_probability", "0.2"),
        ("perturb", ()),
        ("perturb", (0.8, -1)),
        ("perturb", 1.2),
        ("perturb", (True, 0.8)),
        ("perturb", (float("inf"),)),
        ("explore", ["no_such"]),
        ("explore", "learning_rate"),
        ("explore", []),
    ],
)
def test_wrong_options_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Argument `{option}` should be .*Received: {option}="):
        make(**{option: value})
