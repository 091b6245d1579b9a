"""Losses and metrics of the user's own: what workers could not look up is refused before any work."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import autokeras as ak
import keras
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space import SearchSpace

_SOURCE = """
import keras


@keras.saving.register_keras_serializable(package="own")
def triple(y, p):
    return 3 * keras.ops.mean(keras.ops.square(y - p), axis=-1)


@keras.saving.register_keras_serializable(package="own")
class Triple(keras.losses.Loss):
    # Its own affair, whatever Keras' objects have of that name.
    fn = staticmethod(lambda y, p: 3 * keras.ops.mean(keras.ops.square(y - p), axis=-1))

    def call(self, y, p):
        return self.fn(y, p)
"""


def mae(y: Any, p: Any) -> Any:
    return 1000 * keras.ops.mean(keras.ops.abs(y - p), axis=-1)


class Huber(keras.losses.Loss):  # type: ignore[misc]
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return mae(y_true, y_pred)


def _space(loss: Any = "mse", metrics: Any = ()) -> SearchSpace:
    return SearchSpace(ak.Input(), ak.RegressionHead(loss=loss, metrics=list(metrics)))


@pytest.mark.parametrize(
    ("item", "received"),
    [
        (mae, "mae, a function that"),
        (lambda y, p: mae(y, p), "<lambda>, a function that"),
        (Huber(), "Huber, of a class that"),
        (keras.metrics.MeanMetricWrapper(mae), "mae, a function that"),
        (functools.partial(mae), "partial, of a class that"),
    ],
    ids=["function", "lambda", "object", "wrapped", "partial"],
)
@pytest.mark.parametrize("argument", ["loss", "metrics"])
def test_what_is_not_registered_is_refused(argument: str, item: Any, received: str) -> None:
    space = _space(loss=item) if argument == "loss" else _space(metrics=["mse", item])
    message = f"`{argument}` must be registered with Keras.*Received: {argument}={received} is neither Keras' nor"
    with pytest.raises(ConfigError, match=message):
        space.check_own()


def test_a_class_is_no_object() -> None:
    with pytest.raises(ConfigError, match=r"`loss` must be given by name or as objects.*`Huber\(\)`"):
        _space(keras.losses.Huber).check_own()


@pytest.mark.parametrize("loss", ["mse", keras.losses.huber, keras.losses.Huber(), None])
def test_what_is_of_keras_is_taken(loss: Any) -> None:
    metrics = ["mae", "AUC", keras.metrics.mean_absolute_error, keras.metrics.CosineSimilarity(), keras.losses.huber]
    _space(loss, [*metrics, keras.metrics.MeanMetricWrapper(keras.losses.huber)]).check_own()


def test_what_is_registered_is_taken(import_source: Callable[[str, str], Any]) -> None:
    own = import_source("own_parts", _SOURCE)
    _space(own.triple, [own.triple, keras.metrics.MeanMetricWrapper(own.triple)]).check_own()
    _space(own.Triple()).check_own()


def test_metrics_are_called_what_keras_calls_them() -> None:
    space = _space("mse", ["mse", keras.metrics.mean_absolute_error, keras.metrics.AUC(name="area")])
    assert space.metric_names == ("loss", "mse", "mean_absolute_error", "area")
