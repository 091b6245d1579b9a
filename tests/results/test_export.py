"""A model is saved, and what was saved is the model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import cerebro_nas
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import StoreError
from cerebro_nas.results import OutputSpec
from cerebro_nas.results import load_model
from cerebro_nas.results import save_verified
from cerebro_nas.results._probe import outputs_of
from cerebro_nas.worker import ColumnSpec

# TensorFlow's variables know NumPy 1 only, which saving them runs into.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

_OUTPUTS = (OutputSpec("mood", "onehot", ("bad", "good"), 2), OutputSpec("price", "values"))


@keras.saving.register_keras_serializable("cerebro_nas_tests")
class Forgetful(keras.layers.Layer):  # type: ignore[misc]
    """Leaves out of its configuration what it computes with."""

    def __init__(self, factor: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


def _model(*layers: Any) -> Any:
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer="adam", loss="mse")
    # Candidates come with the state of their optimizer; Keras warns where there is none.
    model.optimizer.build(model.trainable_variables)
    return model


def _close(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


# --- models of numbers ------------------------------------------------------------------------------------------------


def test_the_model_loaded_again_is_the_same(tmp_path: Path) -> None:
    model, path = _model(keras.layers.Dense(3)), tmp_path / "new" / "model.keras"
    assert save_verified(model, path) is model
    rows = np.random.default_rng(0).random((5, 4)).astype("float32")
    assert np.allclose(keras.models.load_model(path).predict(rows, verbose=0), model.predict(rows, verbose=0))
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.keras", "model.keras.json"]


def test_two_inputs_and_integers(tmp_path: Path) -> None:
    one, two = keras.Input((4,), dtype="uint8"), keras.Input((2,))
    joined = keras.layers.Concatenate()([keras.layers.Rescaling(1 / 255)(one), two])
    save_verified(keras.Model([one, two], [keras.layers.Dense(1)(joined), joined]), tmp_path / "m.keras")
    assert (tmp_path / "m.keras").exists()


@pytest.mark.parametrize("name", ["model.keras", "model"])
def test_a_model_that_is_another_one_when_loaded_is_not_kept(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    save_verified(_model(keras.layers.Dense(1)), path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    if not path.suffix:
        # A SavedModel has the computation itself and forgets nothing: something else must go wrong.
        monkeypatch.setattr(keras.Model, "export", _of_another)
    with pytest.raises(StoreError, match="predicts something else than the one saved, so it is not kept"):
        save_verified(_model(Forgetful(2.0)), path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


_EXPORT = keras.Model.export


def _of_another(model: Any, path: Path, **settings: Any) -> None:
    other = _model(Forgetful(3.0))
    other(np.ones((1, 4), dtype="float32"))
    _EXPORT(other, path, **settings)


@pytest.mark.parametrize("name", ["model.h5", "model.keras.zip", "model.pb", "model.KERAS"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"`path` must end in '.keras' or '.onnx', or .* Received: path='.*'. Rename"):
        save_verified(_model(keras.layers.Dense(1)), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["s3://bucket/m.keras", "hdfs://host/m", Path("s3://bucket/m.keras")])
def test_a_path_elsewhere_is_refused(path: Any) -> None:
    with pytest.raises(ConfigError, match="must be a local one"):
        save_verified(_model(keras.layers.Dense(1)), path)


@pytest.mark.parametrize("name", ["model.keras", "model"])
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written"):
        save_verified(_model(keras.layers.Dense(1)), tmp_path / "file" / name)


# --- preprocessing inside ---------------------------------------------------------------------------------------------


def test_keras_files_take_raw_values(multimodal: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    model = save_verified(multimodal.model, path, inputs=multimodal.groups, outputs=_OUTPUTS)
    rows = tuple(multimodal.raw.values())
    _close(outputs_of(model, rows), multimodal.expected)
    _close(outputs_of(keras.models.load_model(path), rows), multimodal.expected)


def test_load_model_loads_what_has_vocabularies(multimodal: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    save_verified(multimodal.model, path, inputs=multimodal.groups)
    again = load_model(path)
    _close(again.predict(multimodal.raw, verbose=0), multimodal.expected)
    assert again.optimizer is not None
    assert again.output_names == multimodal.model.output_names


def test_saved_models_take_raw_values_by_name(multimodal: Any, tmp_path: Path) -> None:
    path = tmp_path / "m"
    save_verified(multimodal.model, path, inputs=multimodal.groups, outputs=_OUTPUTS)
    loaded = tf.saved_model.load(str(path))
    rows = {name: tf.constant(row if row.ndim > 1 else row[:, None]) for name, row in multimodal.raw.items()}
    found = loaded.signatures["serving_default"](**rows)
    _close([found["output_0"], found["output_1"]], multimodal.expected)


def test_a_text_alone_in_either_format(texts: Any, tmp_path: Path) -> None:
    rows = texts.raw["review"]
    save_verified(texts.model, tmp_path / "m.keras", inputs=texts.groups)
    _close([load_model(tmp_path / "m.keras").predict(rows, verbose=0)], texts.expected)
    save_verified(texts.model, tmp_path / "m", inputs=texts.groups)
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    _close([loaded.serve([tf.constant(rows[:, None])])], texts.expected)


def test_without_a_path_the_model_is_returned_and_checked(texts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _close(outputs_of(save_verified(texts.model, None, inputs=texts.groups), (texts.raw["review"],)), texts.expected)
    monkeypatch.setattr("cerebro_nas.results._probe.encode_column", lambda values, spec: np.zeros((len(values), 4)))
    with pytest.raises(StoreError, match="with its preprocessing inside predicts something else"):
        save_verified(texts.model, None, inputs=texts.groups)


def test_names_that_tensorflow_refuses_are_changed(tmp_path: Path) -> None:
    encoder = {"kind": "categories", "values": ["x"]}
    names = ["a b", "a.b", "ü", "0"]
    groups = (tuple(ColumnSpec(name, (), "int32", "scalar", encoder) for name in names),)
    inputs = keras.Input((len(names),))
    save_verified(keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs)), tmp_path / "m", inputs=groups)
    described = json.loads((tmp_path / "m" / "export.json").read_text())
    found = [entry["name"] for entry in described["inputs"]]
    assert found == ["a_b", "a_b_", "input__", "input_0"]
    assert [entry["columns"][0]["name"] for entry in described["inputs"]] == names
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    served = loaded.signatures["serving_default"](**{name: tf.constant([["x"]]) for name in found})
    assert served["output_0"].numpy().tolist() == [[0.0] * 4]


# --- what is at the path already --------------------------------------------------------------------------------------


def test_an_earlier_saved_model_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.mkdir()
    save_verified(_model(keras.layers.Dense(1)), path)
    (path / "left").write_text("")
    save_verified(_model(keras.layers.Dense(2)), path)
    assert not (path / "left").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["m"]
    loaded = tf.saved_model.load(str(path))
    assert loaded.serve(tf.ones((1, 4))).shape == (1, 2)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.tex").write_text("years of work")
    for name in ("m", "m/thesis"):
        (tmp_path / "m" / "thesis").write_text("a file")
        with pytest.raises(ConfigError, match="new, empty or has a SavedModel in it.*Received: path="):
            save_verified(_model(keras.layers.Dense(1)), tmp_path / name)
    assert (tmp_path / "m" / "thesis.tex").read_text() == "years of work"


def test_a_folder_where_a_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "m.keras").mkdir()
    with pytest.raises(ConfigError, match="must name a file"):
        save_verified(_model(keras.layers.Dense(1)), tmp_path / "m.keras")


# --- export.json ------------------------------------------------------------------------------------------------------


def test_what_the_description_says(multimodal: Any, tmp_path: Path) -> None:
    path = tmp_path / "best.keras"
    about = {"trial": {"trial": "t1", "epoch": 3, "value": 0.5}, "data": {"fingerprint": "f"}}
    save_verified(multimodal.model, path, inputs=multimodal.groups, outputs=_OUTPUTS, about=about)
    found = json.loads((tmp_path / "best.keras.json").read_text())
    assert found["versions"].keys() == {"cerebro_nas", "keras", "tensorflow", "python"}
    assert found["versions"]["cerebro_nas"] == cerebro_nas.__version__
    assert (found["format"], found["version"], found["kind"]) == ("cerebro_nas export", 1, "keras")
    assert {"trial": found["trial"], "data": found["data"]} == about
    assert found["inputs"][0] == {
        "name": "review",
        "dtype": "string",
        "shape": [None, 1],
        "columns": [{"name": "review", "shape": [4], "encoder": "tokens"}],
    }
    assert [entry["name"] for entry in found["inputs"]] == [*multimodal.raw]
    assert [entry["columns"][0]["encoder"] for entry in found["inputs"][1:]] == [
        *("categories", None, "categories", "image")
    ]
    assert found["outputs"][0] == {
        "name": "classification_head_1",
        "shape": [None, 2],
        "label_column": "mood",
        "kind": "onehot",
        "classes": ["bad", "good"],
    }
    data = path.read_bytes()
    assert found["files"] == [{"path": "best.keras", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}]


def test_what_json_does_not_know_is_said_otherwise(tmp_path: Path) -> None:
    about = {"trial": {"value": float("nan"), "metrics": {"loss": np.float32(0.5)}, "at": Path("p"), "n": (1, True)}}
    classes = tuple(np.array([3, 7]))
    outputs = [OutputSpec("y", "binary", classes, 2)]
    save_verified(_model(keras.layers.Dense(1)), tmp_path / "m.keras", outputs=outputs, about=about)
    found = json.loads((tmp_path / "m.keras.json").read_text(), parse_constant=pytest.fail)
    assert found["trial"] == {"value": None, "metrics": {"loss": 0.5}, "at": "p", "n": [1, True]}
    assert found["outputs"][0]["classes"] == [3, 7]


def test_every_file_of_a_folder_has_a_checksum(tmp_path: Path) -> None:
    path = tmp_path / "m"
    save_verified(_model(keras.layers.Dense(1)), path, outputs=_OUTPUTS[1:])
    found = json.loads((path / "export.json").read_text())
    files = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()} - {"export.json"}
    assert {"saved_model.pb", "variables/variables.index"} < files
    assert {entry["path"] for entry in found["files"]} == files
    for entry in found["files"]:
        assert hashlib.sha256((path / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    assert found["outputs"] == [
        {"name": "output_0", "shape": [None, 1], "label_column": "price", "kind": "values", "classes": []}
    ]


def test_a_description_that_was_there_is_of_the_new_model(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    for units in (1, 2):
        save_verified(_model(keras.layers.Dense(units)), path)
    assert load_model(path).output_shape == (None, 2)
