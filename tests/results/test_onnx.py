"""Models as ONNX give in ONNX Runtime what they give in Keras."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.results import OutputSpec
from cerebro_nas.results import save_verified

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

_OUTPUTS = (OutputSpec("mood", "onehot", ("bad", "good"), 2), OutputSpec("price", "values"))


def _installed() -> None:
    for name in ("onnx", "tf2onnx", "onnxruntime"):
        pytest.importorskip(name)


def _run(path: Path, rows: dict[str, Any]) -> dict[str, Any]:
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert {item.name for item in session.get_inputs()} == set(rows)
    return dict(zip([item.name for item in session.get_outputs()], session.run(None, rows), strict=True))


def test_it_takes_encoded_values_and_its_description_says_how_they_are_encoded(multimodal: Any, tmp_path: Path) -> None:
    _installed()
    path = tmp_path / "m.onnx"
    model = save_verified(multimodal.model, path, inputs=multimodal.groups, outputs=_OUTPUTS)
    assert [tensor.name for tensor in model.inputs] == [*multimodal.raw]
    described = json.loads((tmp_path / "m.onnx.json").read_text())
    assert [entry["name"] for entry in described["inputs"]] == ["input_1", "input_2", "colour"]
    assert described["inputs"][0]["columns"][0]["encoder"] == multimodal.groups[0][0].encoder
    assert described["inputs"][0]["dtype"] == "int32"
    found = _run(path, dict(zip(["input_1", "input_2", "colour"], multimodal.encoded, strict=True)))
    assert [*found] == [entry["name"] for entry in described["outputs"]]
    for one, other in zip(found.values(), multimodal.expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def _image(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.Flatten(), keras.layers.Dense(3)])


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [keras.layers.Normalization(mean=1.0, variance=2.0), keras.layers.Conv2D(2, 3)],
        lambda: [keras.layers.BatchNormalization(), keras.layers.SeparableConv2D(2, 3), keras.layers.MaxPooling2D()],
        lambda: [keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1), keras.layers.Resizing(4, 4)],
        lambda: [keras.layers.Reshape((8, 8)), keras.layers.Bidirectional(keras.layers.LSTM(2)), keras.layers.ReLU()],
        lambda: [keras.layers.Reshape((8, 8)), keras.layers.GRU(2, return_sequences=True), keras.layers.Dropout(0.5)],
    ],
    ids=["normalised", "convolutions", "augmented", "lstm", "gru"],
)
def test_layers_of_every_kind(layers: Any, tmp_path: Path) -> None:
    _installed()
    model = _image(*layers())
    save_verified(model, tmp_path / "m.onnx")
    rows = np.random.default_rng(0).random((5, 8, 8, 1)).astype("float32")
    (name,) = [entry["name"] for entry in json.loads((tmp_path / "m.onnx.json").read_text())["inputs"]]
    (found,) = _run(tmp_path / "m.onnx", {name: rows}).values()
    np.testing.assert_allclose(found, model.predict(rows, verbose=0), rtol=1e-4, atol=1e-5)


def test_an_operation_without_a_counterpart(tmp_path: Path) -> None:
    _installed()
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.fft((inputs, inputs))[0])
    with pytest.raises(ConfigError, match="cannot be exported as ONNX: .* Export it as '.keras'"):
        save_verified(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["onnx", "tf2onnx.convert", "onnxruntime"])
def test_without_the_packages_the_extra_is_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r'needs the packages onnx.*pip install -e "\.\[onnx\]"'):
        save_verified(_image(), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
