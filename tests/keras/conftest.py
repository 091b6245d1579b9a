from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest

from cerebro_nas.data import ColumnStatistics
from cerebro_nas.data import PreparedData
from cerebro_nas.keras import SparkEstimator
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import ShardSpec

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


@pytest.fixture
def prepared() -> Callable[..., PreparedData]:
    """Makes a description of prepared data without preparing any: columns by name, with their shapes."""

    def make(features: dict[str, tuple[int, ...]], labels: dict[str, tuple[Any, ...]], rows: int = 80) -> PreparedData:
        statistics = {
            name: ColumnStatistics(name, rows, 0, 0.0, 1.0, (0.5,) * (shape or (1,))[-1], (4.0,) * (shape or (1,))[-1])
            for name, shape in features.items()
        }
        for name, classes in labels.items():
            counts = (rows // max(1, len(classes)),) * len(classes)
            statistics[name] = ColumnStatistics(name, rows, 0, 0.0, 1.0, (0.5,), (0.2,), classes, counts)
        return PreparedData(
            "url",
            "fingerprint",
            tuple(
                ColumnSpec(name, shape, "float32", "list" if shape else "scalar") for name, shape in features.items()
            ),
            tuple(ColumnSpec(name, (), "int64", "scalar") for name in labels),
            (ShardSpec("train", 0, "a", rows, 1), ShardSpec("valid", 0, "b", 10, 1)),
            statistics,
            {},
        )

    return make
