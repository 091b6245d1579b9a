from __future__ import annotations

from typing import Any

import keras_tuner
import pytest

from cerebro_nas.tuners import Exhausted
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import make_tuner


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["x", "y"])
    hps.Choice("x/size", [1, 2, 3], parent_name="kind", parent_values=["x"])
    hps.Boolean("flag")
    return hps


def ask_all(tuner: Tuner) -> list[TrialSuggestion]:
    found = []
    while isinstance(suggestion := tuner.ask(), TrialSuggestion):
        found.append(suggestion)
    assert isinstance(suggestion, Exhausted)
    return found


@pytest.mark.parametrize(("name", "ordered"), [("grid", True), ("gridsearch", True), ("random", False)])
def test_all_of_a_small_space_at_once(name: str, ordered: bool) -> None:
    tuner = make_tuner(name, objective="val_loss", max_trials=100, hyperparameters=space(), seed=1)
    values = [s.values for s in ask_all(tuner)]

    assert len(values) == 8
    assert len({tuple(v.items()) for v in values}) == 8
    if ordered:
        assert values[0] == {"kind": "x", "x/size": 1, "flag": True}
        assert values[-1] == {"kind": "y", "flag": False}
    tuner.close()


def test_grid_needs_no_number_of_trials() -> None:
    tuner = make_tuner("grid", objective="val_loss", max_trials=None, hyperparameters=space())

    assert len(ask_all(tuner)) == 8
    tuner.close()


def test_grid_goes_on_where_it_stopped(tmp_path: Any) -> None:
    def tuner(max_trials: int, resume: bool) -> Tuner:
        return make_tuner("grid", max_trials=max_trials, hyperparameters=space(), directory=tmp_path, resume=resume)

    begun = ask_all(first := tuner(3, False))
    for suggestion in begun:
        first.report(suggestion.trial_id, 0, {"val_loss": 1.0})
        first.finish(suggestion.trial_id, "COMPLETED")
    rest = ask_all(tuner(100, True))

    assert len({tuple(s.values.items()) for s in begun + rest}) == 8
    assert len(rest) == 5


def test_starting_configurations_that_are_the_same_leave_the_grid_its_place() -> None:
    starts = [{}, {"kind": "x"}, {"flag": False}]
    tuner = make_tuner("grid", max_trials=4, hyperparameters=space(), initial_hps=starts)
    ask_all(tuner)

    # Two of the starts are one, so two of the trials are the grid's.
    assert tuner.oracle.get_state()["grid_last"] == {"kind": "x", "x/size": 2, "flag": False}
    tuner.close()


def test_random_is_decided_by_its_seed_alone() -> None:
    def draw(seed: int) -> list[dict[str, Any]]:
        hps = keras_tuner.HyperParameters()
        hps.Float("rate", 0.0, 1.0)
        tuner = make_tuner("randomsearch", max_trials=4, hyperparameters=hps, seed=seed)
        values = [s.values for s in ask_all(tuner)]
        tuner.close()
        return values

    assert draw(0) == draw(0)
    assert not {v["rate"] for v in draw(0)} & {v["rate"] for v in draw(1)}
