"""Vocabularies in model files, in the configuration or as assets: loaded, and refused where they lead elsewhere."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.results import load_model

pytestmark = [
    pytest.mark.case(24),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

_NEEDS_3_13 = pytest.mark.skipif(keras.__version__.startswith("3.12."), reason="Keras 3.12 cannot load it itself")
_ROWS = ["the cat", "the dog", "a cat"]


def _text_model(**settings: Any) -> Any:
    layer = keras.layers.TextVectorization(**settings)
    if "vocabulary" not in settings:
        layer.adapt(tf.constant(_ROWS))
    inputs = keras.Input((1,), dtype="string")
    found = keras.ops.cast(layer(inputs), "float32")
    return keras.Model(
        inputs, keras.layers.GlobalMaxPooling1D()(found[..., None]) if found.shape[-1] is None else found
    )


def _saved(model: Any, path: Path) -> Path:
    model.save(path)
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"output_mode": "tf_idf"}, marks=_NEEDS_3_13),
        {"output_mode": "multi_hot", "max_tokens": 9, "pad_to_max_tokens": True},
        {"output_sequence_length": 3, "vocabulary": ["the", "cat"]},
        {"output_mode": "tf_idf", "vocabulary": ["the", "cat"], "idf_weights": [0.5, 2.0]},
        {"ngrams": 2, "output_sequence_length": 4},
    ],
    ids=str,
)
def test_texts(settings: dict[str, Any], tmp_path: Path) -> None:
    model = _text_model(**settings)
    again = load_model(_saved(model, tmp_path / "m.keras"))
    rows = tf.constant([["The cat, the"], ["unheard"]])
    np.testing.assert_array_equal(again(rows), model(rows))


@pytest.mark.parametrize("kind", [keras.layers.StringLookup, keras.layers.IntegerLookup])
def test_categories_that_keras_adapted(kind: Any, tmp_path: Path) -> None:
    rows = tf.constant([["b"], ["a"], ["b"]]) if kind is keras.layers.StringLookup else tf.constant([[7], [3], [7]])
    layer = kind()
    layer.adapt(rows)
    inputs = keras.Input((1,), dtype=rows.dtype.name)
    model = keras.Model(inputs, keras.ops.cast(layer(inputs), "float32"))
    path = _saved(model, tmp_path / "m.keras")
    assert any("vocabulary" in name for name in zipfile.ZipFile(path).namelist())
    np.testing.assert_array_equal(load_model(path)(rows), model(rows))


# --- files that were changed ------------------------------------------------------------------------------------------


def _changed(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def _settings(**new: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        layers = config["config"]["layers"]
        next(item for item in layers if item["class_name"] == "TextVectorization")["config"].update(new)
        members["config.json"] = json.dumps(config).encode()

    return change


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return _saved(_text_model(vocabulary=["the", "cat"], output_sequence_length=3), tmp_path / "m.keras")


def test_a_vocabulary_that_is_a_file_is_refused(path: Path) -> None:
    with pytest.raises(UnsafeModelError, match="/etc/passwd"):
        load_model(_changed(path, _settings(vocabulary="/etc/passwd")))


@pytest.mark.parametrize("key", ["standardize", "split"])
def test_a_function_in_the_place_of_a_rule_is_refused(path: Path, key: str) -> None:
    gadget = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    with pytest.raises(UnsafeModelError, match="os"):
        load_model(_changed(path, _settings(**{key: gadget})))


@pytest.mark.parametrize("vocabulary", [3, [["a"], ["b"]], ["a", "a"], [], [None], {"a": 1}])
def test_a_vocabulary_that_is_none(path: Path, vocabulary: Any) -> None:
    with pytest.raises((CorruptStateError, UnsafeModelError)):
        load_model(_changed(path, _settings(vocabulary=vocabulary)))
