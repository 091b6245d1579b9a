"""A model is saved, and what was saved is the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import StoreError
from cerebro_nas.results import save_verified

# TensorFlow's variables know NumPy 1 only, which saving them runs into.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


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


def test_the_model_loaded_again_is_the_same(tmp_path: Path) -> None:
    model, path = _model(keras.layers.Dense(3)), tmp_path / "new" / "model.keras"
    save_verified(model, path)
    rows = np.random.default_rng(0).random((5, 4)).astype("float32")
    assert np.allclose(keras.models.load_model(path).predict(rows, verbose=0), model.predict(rows, verbose=0))
    assert [file.name for file in path.parent.iterdir()] == ["model.keras"]


def test_two_inputs_and_integers(tmp_path: Path) -> None:
    one, two = keras.Input((4,), dtype="uint8"), keras.Input((2,))
    joined = keras.layers.Concatenate()([keras.layers.Rescaling(1 / 255)(one), two])
    save_verified(keras.Model([one, two], [keras.layers.Dense(1)(joined), joined]), tmp_path / "m.keras")
    assert (tmp_path / "m.keras").exists()


def test_a_model_that_is_another_one_when_loaded_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_text("an earlier file")
    with pytest.raises(StoreError, match="predicts something else than the one saved, so it is not kept"):
        save_verified(_model(Forgetful(2.0)), path)
    assert path.read_text() == "an earlier file"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["model", "model.h5", "model.keras.zip"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"`path` must end in '.keras'. Received: path='.*'. Rename it"):
        save_verified(_model(keras.layers.Dense(1)), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written"):
        save_verified(_model(keras.layers.Dense(1)), tmp_path / "file" / "model.keras")
