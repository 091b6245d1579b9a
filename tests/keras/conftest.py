from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest

from cerebro_nas.keras import SparkEstimator

Make = Callable[..., SparkEstimator]


def _model(shape: tuple[int, ...], width: int, activation: str | None) -> keras.Model:
    inputs = keras.Input(shape)
    hidden = keras.layers.Dense(4, activation="relu")(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(width, activation=activation)(hidden))


@pytest.fixture
def estimator() -> Make:
    """Makes an estimator; whatever is not said is ordinary."""

    def make(
        shape: tuple[int, ...] = (8,), width: int = 3, activation: str | None = "softmax", **given: Any
    ) -> SparkEstimator:
        arguments = {"optimizer": "adam", "loss": "categorical_crossentropy", **given}
        model = arguments.pop("model", None) or _model(shape, width, activation)
        return SparkEstimator(model=model, **arguments)

    return make
