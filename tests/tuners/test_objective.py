from __future__ import annotations

from typing import Any

import keras_tuner
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import make_objective


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
