"""What every oracle of stages must keep to, whatever the order in which trials run, pause, fail and end."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import keras_tuner
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import Exhausted
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import Wait
from cerebro_nas.tuners._asha import AshaOracle
from cerebro_nas.tuners._bohb import AsyncBohbOracle
from cerebro_nas.tuners._bohb import BohbOracle
from cerebro_nas.tuners._hyperband import HyperbandOracle
from cerebro_nas.tuners._pbt import PbtOracle
from cerebro_nas.tuners._seeded import NeedsResults
from cerebro_nas.tuners._staged import StagedOracle
from cerebro_nas.tuners._stages import Dismissal
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._stages import Stage

_MAX = 9
_MAKERS: dict[str, Callable[..., StagedOracle]] = {
    "asha": lambda **kwargs: AshaOracle(max_resource=_MAX, **kwargs),
    "asha with brackets": lambda **kwargs: AshaOracle(max_resource=_MAX, factor=2, brackets=3, **kwargs),
    "hyperband": lambda **kwargs: HyperbandOracle(max_resource=_MAX, **kwargs),
    "bohb": lambda **kwargs: BohbOracle(max_resource=_MAX, min_points=2, **kwargs),
    "asynchronous bohb": lambda **kwargs: AsyncBohbOracle(max_resource=_MAX, factor=2, min_points=2, **kwargs),
    "pbt": lambda **kwargs: PbtOracle(max_resource=_MAX, population_size=5, interval=2, truncation=0.3, **kwargs),
}
everywhere = pytest.mark.parametrize("name", _MAKERS)


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    hps.Choice("kind", ["x", "y"])
    hps.Int("x/units", 1, 30, parent_name="kind", parent_values=["x"])
    hps.Choice("y/dropout", [0.0, 0.1, 0.2, 0.5], parent_name="kind", parent_values=["y"])
    return hps


def small_space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Choice("momentum", [0, 1, 2, 3])
    hps.Boolean("b")
    return hps


def answer(oracle: StagedOracle) -> str:
    """What would be answered next, and that it changes nothing to ask."""
    before = json.dumps(oracle.get_state())
    step = oracle.next_step()
    try:
        proposal: Any = oracle._next()
    except NeedsResults:
        proposal = "wait"
    assert json.dumps(oracle.get_state()) == before
    return repr((step, proposal, oracle.may_promote))


class Simulation:
    """A search with workers that take their time, and a second oracle that is only told what happened."""

    def __init__(
        self,
        name: str,
        *,
        seed: int = 0,
        workers: int = 3,
        faults: float = 0.0,
        direction: str = "min",
        max_trials: int | None = 25,
        hps: Callable[[], keras_tuner.HyperParameters] = space,
    ) -> None:
        self.dice = random.Random(seed)
        self.workers, self.faults, self.direction = workers, faults, direction
        options = {"objective": keras_tuner.Objective("score", direction), "seed": seed, "max_trials": max_trials}
        self.oracle, self.twin, self.third = (_MAKERS[name](hyperparameters=hps(), **options) for _ in range(3))
        for oracle in (self.oracle, self.twin):
            # Writing files is most of the time that KerasTuner takes.
            oracle.save = oracle._save_trial = lambda *_: None
        self.tuner, self.told = (Tuner(oracle, max_trials=max_trials) for oracle in (self.oracle, self.twin))
        self.running: dict[str, Stage] = {}
        self.paused: dict[str, int] = {}
        self.trained: dict[str, int] = {}
        self.fresh: set[str] = set()
        self.ended: dict[str, str] = {}
        self.suggestions: dict[str, TrialSuggestion] = {}

    def play(self) -> Simulation:
        for _ in range(5000):
            if len(self.running) < self.workers and self.ask():
                continue
            if not self.running:
                break
            self.advance(self.dice.choice(list(self.running)))
        assert not self.running
        for name in list(self.paused):
            self.end(name, "STOPPED")
        assert isinstance(self.tuner.ask(), Exhausted)
        assert set(self.ended) == set(self.suggestions)
        self.tuner.close()
        self.told.close()
        return self

    def ask(self) -> bool:
        """Ask once; whether something was begun or decided."""
        self.compare()
        reply = self.tuner.ask()
        if isinstance(reply, Wait | Exhausted):
            self.told.readmit_none()
            assert isinstance(reply, Wait) == bool(self.running)
            return False
        if isinstance(reply, TrialSuggestion):
            self.told.readmit(reply.trial_id, reply.values, reply.parent, json.loads(json.dumps(reply.note)))
            assert reply.stage is not None
            self.begin(reply.trial_id, reply.stage)
            self.fresh.add(reply.trial_id)
            self.suggestions[reply.trial_id] = reply
            return True
        self.told.readmit_step(reply)
        assert reply.trial_id in self.paused, "only a paused trial can be decided upon"
        if isinstance(reply, Promotion):
            self.begin(reply.trial_id, reply.stage)
        else:
            self.end(reply.trial_id, "STOPPED", reply.reason)
        return True

    def begin(self, name: str, stage: Stage) -> None:
        assert name not in self.running
        assert name not in self.ended
        done = self.paused.pop(name, 0)
        assert done < stage.until <= _MAX
        self.running[name] = stage

    def advance(self, name: str) -> None:
        stage = self.running[name]
        fault = self.dice.random() < self.faults
        if fault and name in self.fresh and self.dice.random() < 0.3:
            for tuner in (self.tuner, self.told):
                tuner.reject(name, "too large")
            self.running.pop(name)
            self.ended[name] = "REJECTED"
            return
        self.fresh.discard(name)
        if fault and self.dice.random() < 0.7:
            self.end(name, "FAILED")
            return
        self.trained[name] = stage.until
        for tuner in (self.tuner, self.told):
            tuner.report(name, stage.until - 1, {"score": self.score(name, stage.until)})
        if stage.last or fault:
            self.end(name, "COMPLETED" if stage.last else "STOPPED")
            return
        self.running.pop(name)
        self.paused[name] = stage.until
        for tuner in (self.tuner, self.told):
            tuner.pause(name)

    def score(self, name: str, until: int) -> float:
        # Few different ones, for ties.
        loss = float(self.suggestions[name].values.get("x/units", 7) % 5) + 1 / until
        return -loss if self.direction == "max" else loss

    def end(self, name: str, status: str, reason: str = "") -> None:
        self.running.pop(name, None)
        self.paused.pop(name, None)
        self.ended[name] = status
        for tuner in (self.tuner, self.told):
            tuner.finish(name, status, reason)

    def compare(self) -> None:
        mine = answer(self.oracle)
        assert answer(self.twin) == mine
        if self.dice.random() < 0.2:
            self.third.trials = dict(self.oracle.trials)
            self.third.max_trials = self.oracle.max_trials  # rejections raise it, and it is no state
            self.third.set_state(json.loads(json.dumps(self.oracle.get_state())))
            assert answer(self.third) == mine


@everywhere
@pytest.mark.parametrize("seed", range(3))
def test_any_order_with_failures(name: str, seed: int) -> None:
    played = Simulation(name, seed=seed, workers=1 + 2 * seed, faults=0.2, direction=("min", "max")[seed % 2]).play()

    counted = [status for status in played.ended.values() if status != "REJECTED"]
    assert len(counted) <= 25
    if name != "pbt":
        assert len(counted) == 25
    assert max(played.trained.values()) <= _MAX


@everywhere
def test_without_failures_somebody_is_trained_to_the_end(name: str) -> None:
    for workers in (1, 4):
        assert _MAX in Simulation(name, workers=workers, max_trials=8).play().trained.values()


@everywhere
def test_more_workers_than_trials(name: str) -> None:
    assert len(Simulation(name, workers=40, max_trials=12, seed=4).play().ended) >= (5 if name == "pbt" else 12)


@everywhere
def test_a_small_space_is_used_up_and_never_repeated(name: str) -> None:
    for workers in (1, 3):
        played = Simulation(name, workers=workers, max_trials=50, hps=small_space).play()

        tried = [tuple(sorted(item.values.items())) for item in played.suggestions.values()]
        assert len(set(tried)) == len(tried)
        assert len(tried) == 8 or name == "pbt"
        assert _MAX in played.trained.values()


class Failing(Simulation):
    def advance(self, name: str) -> None:
        self.end(name, "FAILED")


class Dumb(Simulation):
    """The first trial never reports anything."""

    def advance(self, name: str) -> None:
        if name != "00":
            super().advance(name)
            return
        self.fresh.discard(name)
        stage = self.running.pop(name)
        assert stage == self.suggestions[name].stage, "it was promoted"
        self.paused[name] = stage.until
        for tuner in (self.tuner, self.told):
            tuner.pause(name)


@everywhere
def test_everything_fails(name: str) -> None:
    assert list(Failing(name, max_trials=10).play().ended.values()) == ["FAILED"] * 10


# In a population it goes on if nobody can take its place.
@pytest.mark.parametrize("name", [name for name in _MAKERS if name != "pbt"])
def test_a_trial_that_reports_nothing_is_never_promoted(name: str) -> None:
    assert Dumb(name, max_trials=10, workers=2).play().ended["00"] == "STOPPED"


@everywhere
def test_the_seed_decides(name: str) -> None:
    first, again, other = (Simulation(name, seed=seed).play() for seed in (7, 7, 8))

    assert first.suggestions.keys() == again.suggestions.keys()
    assert [item.values for item in first.suggestions.values()] == [item.values for item in again.suggestions.values()]
    assert first.trained == again.trained
    assert [item.values for item in first.suggestions.values()] != [item.values for item in other.suggestions.values()]


@everywhere
def test_starting_configurations_come_first(name: str) -> None:
    oracle = _MAKERS[name](
        objective="val_loss",
        hyperparameters=space(),
        max_trials=10,
        initial_hps=[{"kind": "y"}, {"learning_rate": 0.01}],
    )
    tuner = Tuner(oracle, max_trials=10)
    first, second = tuner.ask(), tuner.ask()

    assert isinstance(first, TrialSuggestion) and isinstance(second, TrialSuggestion)
    assert first.values["kind"] == "y"
    assert second.values["learning_rate"] == 0.01
    assert first.stage is not None and not first.stage.last
    tuner.close()


@everywhere
def test_kerastuners_own_files_are_enough_to_go_on(name: str, tmp_path: Any) -> None:
    def make(resume: bool) -> Tuner:
        oracle = _MAKERS[name](objective="val_loss", hyperparameters=space(), seed=3)
        return Tuner(oracle, max_trials=None, directory=tmp_path, resume=resume)

    tuner = make(False)
    begun = []
    for number in range(7):
        suggestion = tuner.ask()
        if isinstance(suggestion, TrialSuggestion) and suggestion.stage is not None:
            begun.append(suggestion.trial_id)
            tuner.report(suggestion.trial_id, suggestion.stage.until - 1, {"val_loss": float(number)})
            tuner.pause(suggestion.trial_id)
    tuner.oracle.save()
    resumed = make(True)

    again: set[str] = set()
    while len(again) < len(begun):
        suggestion = resumed.ask()
        if isinstance(suggestion, Promotion):
            assert suggestion.trial_id in again
            continue
        assert isinstance(suggestion, TrialSuggestion) and suggestion.stage is not None
        again.add(suggestion.trial_id)
        resumed.report(suggestion.trial_id, suggestion.stage.until - 1, {"val_loss": 1.0})
        resumed.pause(suggestion.trial_id)
    assert again == set(begun)
    assert isinstance(resumed.ask(), TrialSuggestion | Promotion | Dismissal)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_resource": 0}, "max_resource"),
        ({"max_resource": 2.5}, "max_resource"),
        ({"resource": "hours"}, "resource"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"Argument `{message}` should be .*Received: {message}="):
        StagedOracle(**{"max_resource": 3, "objective": "val_loss", **options})


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_loss_is_that_of_the_last_report(direction: str) -> None:
    oracle = AshaOracle(max_resource=3, objective=keras_tuner.Objective("score", direction), hyperparameters=space())
    tuner = Tuner(oracle, max_trials=3)
    suggestion = tuner.ask()
    assert isinstance(suggestion, TrialSuggestion)
    assert oracle.loss_now(suggestion.trial_id) is None
    for epoch, score in enumerate((3.0, 1.0, 2.0)):
        tuner.report(suggestion.trial_id, epoch, {"score": score})

    assert oracle.loss_now(suggestion.trial_id) == (2.0 if direction == "min" else -2.0)
    tuner.close()
