"""Losses, metrics and layers of the user's own, trained on worker processes that import them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import autokeras as ak
import keras
import numpy as np
import pytest

from cerebro_nas import HyperHyperModel
from cerebro_nas.backend import LocalBackend
from cerebro_nas.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

_SOURCE = """
import keras


@keras.saving.register_keras_serializable(package="own")
def triple_error(y, p):
    return keras.ops.mean(3.0 * keras.ops.square(y - p), axis=-1)


@keras.saving.register_keras_serializable(package="own")
class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs
"""


@pytest.fixture
def own(import_source: Callable[[str, str], Any]) -> Any:
    return import_source("own_objects", _SOURCE)


def _model(loss: Any, metrics: list[Any], path: Path, layer: Any = keras.layers.Identity) -> HyperHyperModel:
    class Block(ak.Block):  # type: ignore[misc]
        def build(self, hp: Any, inputs: Any = None) -> Any:
            return layer()(keras.tree.flatten(inputs)[0])

    node = ak.Input()
    head = ak.RegressionHead(loss=loss, metrics=metrics, dropout=0.0)
    model = HyperHyperModel(node, head(Block()(node)), max_trials=1, seed=1)
    model.resource_bind(LocalBackend(num_workers=1), path / "store", verbose=0)
    model.tuner_bind("random")
    return model


def test_workers_import_what_the_driver_has_registered(own: Any, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    y = x.sum(axis=1)
    metrics = [keras.metrics.mean_squared_error, own.triple_error]
    model = _model(own.triple_error, metrics, tmp_path, own.Twice)
    result = model.fit(x=x, y=y, epochs=1)
    assert [record.status_name for record in result.records] == ["COMPLETED"], result.records
    found = model.evaluate(x, y, return_dict=True)
    assert found["loss"] == pytest.approx(3 * found["mean_squared_error"], rel=1e-4)
    assert found["triple_error"] == pytest.approx(found["loss"], rel=1e-4)


@pytest.mark.case(32)
def test_objects_of_the_script_itself_are_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(y: Any, p: Any) -> Any:
        return keras.ops.mean(keras.ops.square(y - p), axis=-1)

    loss.__module__ = "__main__"
    keras.saving.register_keras_serializable("script")(loss)
    try:
        with pytest.raises(ConfigError, match="a module that workers can import. Received: script>loss"):
            _model(loss, ["mse"], tmp_path).fit(x=np.zeros((40, 3), np.float32), y=np.arange(40.0), epochs=1)
    finally:
        del keras.saving.get_custom_objects()["script>loss"]


@pytest.mark.parametrize("argument", ["loss", "metrics"])
def test_what_is_not_registered_is_refused_before_workers_start(argument: str, tmp_path: Path) -> None:
    def far(y: Any, p: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(y - p), axis=-1)

    model = _model(far if argument == "loss" else "mse", [far] if argument == "metrics" else [], tmp_path)
    with pytest.raises(ConfigError, match=f"`{argument}` must be registered with Keras.*{argument}=far, a function"):
        model.fit(x=np.zeros((40, 3), np.float32), y=np.arange(40.0), epochs=1)
    assert not (tmp_path / "store").exists()
