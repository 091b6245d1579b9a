"""What `SparkEstimator` takes: everything does something, or is refused with one error."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.keras import SparkEstimator


def _model() -> keras.Model:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")])


def test_it_keeps_what_it_is_given() -> None:
    model = _model()
    found = SparkEstimator(model, None, "sgd", "mse", batch_size=8, loss_weights=[1.0], metrics=["mae"], callbacks=None)
    assert (found.model, found.optimizer, found.loss) == (model, "sgd", "mse")
    assert (found.batch_size, found.metrics, found.callbacks) == (8, ["mae"], ())
    assert repr(found) == f"SparkEstimator(model={model!r}, batch_size=8)"


@pytest.mark.parametrize("size", [16, 16.0, np.int64(16), np.float32(16)])
def test_batch_sizes_may_come_from_any_range(size: Any) -> None:
    found = SparkEstimator(_model(), optimizer="sgd", loss="mse", batch_size=size).batch_size
    assert found == 16
    assert type(found) is int


def test_a_compiled_model_brings_what_it_was_compiled_with() -> None:
    model = _model()
    model.compile("sgd", keras.losses.CategoricalCrossentropy(label_smoothing=0.1), metrics=["accuracy"])
    found = SparkEstimator(model)
    assert isinstance(found.optimizer, keras.optimizers.SGD)
    assert found.loss.get_config()["label_smoothing"] == 0.1
    assert found.metrics == ["accuracy"]


def test_metrics_of_its_own_win_over_those_it_was_compiled_with() -> None:
    model = _model()
    model.compile("sgd", "mse", metrics=["accuracy"])
    assert SparkEstimator(model, metrics=["mae"]).metrics == ["mae"]
    assert SparkEstimator(model, optimizer="adam", loss="mse").metrics == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"custom_objects": {"Mine": object}}, r"must be registered with Keras.*custom_objects=Mine, not registered"),
        ({"custom_objects": ["Mine"]}, r"must be a dict from names to objects. Received: custom_objects=\['Mine'\]"),
        ({"transformation_fn": len}, r"must be registered with Keras.*transformation_fn=<built-in function len>, not"),
        ({"transformation_fn": "len"}, r"must be a function from a `tf.data.Dataset` to another one.*'len' \(of type"),
        ({"transformation_fn": object}, r"must be a function from a `tf.data.Dataset`"),
        ({"batch_size": 0}, r"`batch_size` must be a whole number of at least 1. Received: batch_size=0"),
        ({"batch_size": 16.5}, r"Received: batch_size=16.5"),
        ({"batch_size": True}, r"Received: batch_size=True"),
        ({"batch_size": "8"}, r"Received: batch_size='8'"),
        ({"model": None}, r"`model` must be a Keras model. Received: model of type NoneType"),
        ({"model": keras.layers.Dense(1)}, r"Received: model of type Dense"),
        ({"loss": None}, r"`loss` must be given, or neither"),
        ({"optimizer": None}, r"`optimizer` must be given, or neither"),
        ({"optimizer": None, "loss": None}, r"must be given where the model is not compiled"),
    ],
)
def test_what_it_refuses(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SparkEstimator(**{"model": _model(), "optimizer": "adam", "loss": "mse", **given})


def test_a_model_of_another_keras_is_told_by_its_home() -> None:
    old = type("Model", (), {"__module__": "tf_keras.src.engine.training"})()
    with pytest.raises(ConfigError, match=r"one of Keras 2; make it with `import keras`"):
        SparkEstimator(old, optimizer="adam", loss="mse")


def test_weighted_metrics_are_not_dropped_in_silence() -> None:
    model = _model()
    model.compile("sgd", "mse", weighted_metrics=["mae"])
    with pytest.raises(ConfigError, match="weighted_metrics"):
        SparkEstimator(model)


def test_a_model_compiled_with_a_function_of_the_users_own() -> None:
    def own(truth: Any, given: Any) -> Any:
        return keras.ops.mean(truth - given)

    model = _model()
    model.compile("sgd", own)
    with pytest.raises(ConfigError, match="`model` must be compiled with what Keras has.*own"):
        SparkEstimator(model)
