from __future__ import annotations

import re
from typing import Any

import keras_tuner
import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import make_tuner


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Int("units", 16, 1024)
    hps.Int("filters", 16, 64, step=16)
    hps.Int("heads", 1, 8, step=2, sampling="log")
    hps.Float("dropout", 0.1, 0.5, step=0.1)
    hps.Float("rate", 1e-4, 1e-1, sampling="log")
    hps.Choice("kernel", [3, 5])
    hps.Boolean("bias")
    hps.Choice("kind", ["lstm", "dense"])
    with hps.conditional_scope("kind", ["lstm"]):
        hps.Choice("lstm/cell", ["a", "b"])
        with hps.conditional_scope("lstm/cell", ["b"]):
            hps.Int("lstm/b/size", 1, 4)
    hps.Int("size", 1, 4, parent_name="kind", parent_values=["lstm"])
    hps.Int("size", 5, 8, parent_name="kind", parent_values=["dense"])
    return hps


def asked(tuner: Tuner) -> TrialSuggestion:
    found = tuner.ask()
    assert isinstance(found, TrialSuggestion)
    return found


def check(given: dict[str, Any]) -> None:
    make_tuner("random", max_trials=1, hyperparameters=space(), initial_hps=[{}, given]).close()


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"units": 20.5}, "whole numbers from 16 to 1024"),
        ({"units": 4096}, "whole numbers from 16 to 1024"),
        ({"units": True}, "whole numbers from 16 to 1024"),
        ({"filters": 24}, "whole numbers from 16 to 64 in steps of 16"),
        ({"heads": 3}, "whole numbers from 1 to 8 in factors of 2"),
        ({"dropout": 0.25}, "numbers from 0.1 to 0.5 in steps of 0.1"),
        ({"rate": float("nan")}, "numbers from 0.0001 to 0.1"),
        ({"kernel": 4}, "3, 5"),
        ({"kernel": "3"}, "3, 5"),
        ({"bias": 1}, "True, False"),
        ({"kind": "gru"}, "'lstm', 'dense'"),
        ({"kind": "dense", "size": 2}, "whole numbers from 5 to 8"),
    ],
)
def test_a_value_that_a_hyperparameter_does_not_have_is_refused(given: dict[str, Any], allowed: str) -> None:
    name, value = list(given.items())[-1]
    wanted = f"{name!r} a value of its range, {allowed}. Received: {name}={value!r} (of type {type(value).__name__})"
    with pytest.raises(ConfigError, match=re.escape(wanted)):
        check(given)


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"kind": "dense", "lstm/cell": "b"}, "'b', which is there only where 'kind' is 'lstm', and it is 'dense'"),
        ({"lstm/b/size": 3}, "lstm/b/size=3, which is there only where 'lstm/cell' is 'b', and it is 'a'"),
        ({"kind": "dense", "lstm/b/size": 3}, "only where 'kind' is 'lstm', and it is 'dense'"),
    ],
)
def test_a_value_that_would_be_dropped_is_refused(given: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(wanted) + r"\. Leave 'lstm/.*' out, or give the other such"):
        check(given)


@pytest.mark.parametrize(
    "given",
    [
        {"units": 20, "filters": 48, "heads": 4, "dropout": 0.3, "rate": 0.01, "kernel": 5, "bias": False},
        {"dropout": 0.1 + 0.1 + 0.1},
        {"rate": 0.1},
        {"kind": "dense", "size": 6},
        {"kind": "lstm", "lstm/cell": "b", "lstm/b/size": 3, "size": 2},
    ],
)
def test_values_of_the_space_are_taken(given: dict[str, Any]) -> None:
    check(given)


def test_what_a_tuner_tried_can_be_begun_with() -> None:
    first = make_tuner("random", max_trials=40, hyperparameters=space(), seed=1)
    for _ in range(40):
        check(first.ask().values)  # type: ignore[union-attr]  # a trial, as there are more than 40
    first.close()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"units": np.int64(64)}, 64),
        ({"units": 20.0}, 20),
        ({"filters": np.float64(32.0)}, 32),
        ({"heads": 4.0}, 4),
        ({"kernel": np.int32(5)}, 5),
        ({"kernel": 5.0}, 5),
        ({"bias": np.bool_(True)}, True),
        ({"kind": np.str_("dense")}, "dense"),
        ({"rate": np.float32(0.5) / 8}, 0.0625),
        ({"dropout": 0.3}, 0.30000000000000004),
    ],
)
def test_equal_values_of_other_types_become_the_spaces_own(given: dict[str, Any], wanted: Any) -> None:
    tuner = make_tuner("random", max_trials=1, hyperparameters=space(), initial_hps=[given], seed=0)
    (name,) = given
    found = asked(tuner).values[name]
    assert (found, type(found)) == (wanted, type(wanted))
    tuner.close()


def test_none_is_no_starting_configuration() -> None:
    make_tuner("random", max_trials=1, hyperparameters=space(), initial_hps=None).close()


def test_the_end_of_a_range_is_the_last_value_of_its_steps() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("dropout", 0.0, 0.5, step=0.1)
    with pytest.raises(ConfigError, match=r"numbers from 0.0 to 0.4 in steps of 0.1. Received: dropout=0.5"):
        make_tuner("random", max_trials=1, hyperparameters=hps, initial_hps=[{"dropout": 0.5}])


@pytest.mark.parametrize("tuner", ["random", "grid", "greedy", "bayesian", "sobol", "evolution"])
def test_a_starting_value_between_steps_is_the_steps_own(tuner: str) -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("d", 0.0, 0.4, step=0.1)
    found = make_tuner(tuner, max_trials=9, hyperparameters=hps, initial_hps=[{"d": 0.3}], seed=0)
    values = []
    while isinstance(trial := found.ask(), TrialSuggestion):
        values.append(round(trial.values["d"], 9))
        found.finish(trial.trial_id, "FAILED")
    found.close()
    assert sorted(values) == [0.0, 0.1, 0.2, 0.3, 0.4]
