from __future__ import annotations

from typing import Any

import keras_tuner
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import make_objective
from cerebro_nas.tuners._objective import ParetoObjective


@pytest.mark.case(31)
@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_loss", "min"),
        ("loss", "min"),
        ("accuracy", "max"),
        ("val_accuracy", "max"),
        ("val_auc", "max"),
        ("auc", "max"),
        ("val_precision", "max"),
        ("val_mean_squared_error", "min"),
        ("val_categorical_accuracy", "max"),
        ("val_head_2_accuracy", "max"),
        ("head_2_loss", "min"),
    ],
)
def test_direction_follows_from_the_metric(name: str, direction: str) -> None:
    objective = make_objective(name)

    assert (objective.name, objective.direction) == (name, direction)


def test_own_objective_is_kept() -> None:
    own = keras_tuner.Objective("profit", "max")

    assert make_objective(own) is own


@pytest.mark.case(31)
@pytest.mark.parametrize(
    "bad", ["profit", "", None, 3, [], [["val_loss"]], ["val_loss", "val_loss"], keras_tuner.Objective("profit", "up")]
)
def test_what_has_no_direction_is_refused(bad: Any) -> None:
    with pytest.raises(ConfigError, match="Received: "):
        make_objective(bad)


@pytest.mark.case(31)
@pytest.mark.parametrize(
    ("typo", "meant"),
    [("val_acuracy", "val_accuracy"), ("acuracy", "accuracy"), ("precison", "precision"), ("val_los", "val_loss")],
)
def test_a_typo_gets_the_nearest_metric(typo: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=rf"Received: objective='{typo}'. Did you mean '{meant}'\?"):
        make_objective(typo)


@pytest.mark.case(31)
def test_a_metric_like_no_other_gets_no_guess_and_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"Received: objective='profit'. Known ones are.*Objective\('profit', direct"):
        make_objective("profit")


LATENCY = keras_tuner.Objective("latency_ms", "min")


def several() -> ParetoObjective:
    objective = make_objective(["val_accuracy", LATENCY])
    assert isinstance(objective, ParetoObjective)
    return objective


def test_a_list_gives_each_its_direction() -> None:
    objective = make_objective(["val_accuracy", LATENCY, "val_loss", "parameters", "flops"])

    assert isinstance(objective, ParetoObjective)
    assert [(part.name, part.direction) for part in objective.objectives] == [
        ("val_accuracy", "max"),
        ("latency_ms", "min"),
        ("val_loss", "min"),
        ("parameters", "min"),
        ("flops", "min"),
    ]
    assert objective.first.name == "val_accuracy"
    assert str(objective).count("Objective(") == 5


def test_kerastuners_own_list_becomes_ours() -> None:
    theirs = keras_tuner.Oracle(objective=["val_loss", LATENCY]).objective

    assert make_objective(theirs) == make_objective(["val_loss", "latency_ms"])
    assert isinstance(make_objective(theirs), ParetoObjective)
    assert make_objective(make_objective(theirs)) == make_objective(theirs)


def test_a_list_of_one_is_that_one() -> None:
    assert make_objective([LATENCY]) is LATENCY
    assert make_objective(("val_accuracy",)) == keras_tuner.Objective("val_accuracy", "max")


def test_a_list_is_there_when_all_of_it_is() -> None:
    assert several().has_value({"val_accuracy": 0.5, "latency_ms": 1.0, "loss": 3.0})
    assert not several().has_value({"val_accuracy": 0.5})
    assert not several().has_value({"latency_ms": 1.0})


def test_the_first_of_a_list_decides_and_is_minimised() -> None:
    logs = {"val_accuracy": 0.5, "latency_ms": 7.0}

    assert several().direction == "min"
    assert several().get_value(logs) == -0.5
    assert make_objective(["latency_ms", "val_accuracy"]).get_value(logs) == 7.0


def test_lists_are_equal_in_order() -> None:
    assert several() == several()
    assert hash(several()) == hash(several())
    assert several() != make_objective(["latency_ms", "val_accuracy"])
    assert several() != LATENCY


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (["val_accuracy", ["val_loss"]], "flat list"),
        (["val_accuracy", "val_acuracy"], "Did you mean 'val_accuracy'"),
        (["val_accuracy", keras_tuner.Objective("profit", "up")], "direction 'min' or 'max'"),
        ([LATENCY, "latency_ms"], "Name each once"),
        ([LATENCY, keras_tuner.Objective("multi_objective", "min")], "Name each once"),
        ([LATENCY, 3], "Received: objective=3"),
    ],
)
def test_a_list_with_something_wrong_is_refused(bad: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        make_objective(bad)
