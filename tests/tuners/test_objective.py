from __future__ import annotations

from typing import Any

import keras_tuner
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import make_objective


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_loss", "min"),
        ("loss", "min"),
        ("accuracy", "max"),
        ("val_accuracy", "max"),
        ("val_auc", "max"),
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


@pytest.mark.parametrize("bad", ["profit", "", None, 3, ["val_loss"], keras_tuner.Objective("profit", "up")])
def test_what_has_no_direction_is_refused(bad: Any) -> None:
    with pytest.raises(ConfigError, match="Received: "):
        make_objective(bad)
