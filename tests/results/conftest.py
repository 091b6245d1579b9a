"""Candidates with raw inputs, shared by the tests of export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.worker import ColumnSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOCABULARY = ["the", "cat", "dog", "é", "don't".replace("'", "")]
COLOURS = ["", "[UNK]", "blue", "new\nline", "red", "ß"]


@dataclass(frozen=True)
class Candidate:
    """A model, its columns, raw rows of it and what they are once encoded."""

    model: Any
    groups: tuple[tuple[ColumnSpec, ...], ...]
    raw: dict[str, NDArray[Any]]
    encoded: list[NDArray[Any]]

    @property
    def expected(self) -> list[NDArray[Any]]:
        found = self.model(self.encoded if len(self.encoded) > 1 else self.encoded[0], training=False)
        return [output.numpy() for output in keras.tree.flatten(found)]


def _objects(*values: str) -> NDArray[Any]:
    return np.array(values, dtype=object)


def text_spec(name: str = "review", length: int = 4) -> ColumnSpec:
    encoder = {"kind": "tokens", "vocabulary": VOCABULARY, "length": length}
    return ColumnSpec(name, (length,), "int32", "list", encoder)


def colour_spec(name: str = "colour", values: list[str] | None = None) -> ColumnSpec:
    encoder = {"kind": "categories", "values": COLOURS if values is None else values}
    return ColumnSpec(name, (), "float32", "scalar", encoder)


@pytest.fixture(scope="session")
def multimodal() -> Candidate:
    """A text, a table of two categories and a number, and a picture; two outputs."""
    keras.utils.set_random_seed(1)
    words, table = keras.Input((4,), dtype="int32", name="input_1"), keras.Input((3,), name="input_2")
    picture = keras.Input((2, 2, 3), name="colour")
    text = keras.layers.Flatten()(keras.layers.Embedding(len(VOCABULARY) + 2, 3)(words))
    pixels = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(picture))
    joined = keras.layers.Concatenate()([text, keras.layers.Normalization(mean=1.0, variance=4.0)(table), pixels])
    outputs = [
        keras.layers.Dense(2, activation="softmax", name="classification_head_1")(joined),
        keras.layers.Dense(1, name="regression_head_1")(joined),
    ]
    model = keras.Model([words, table, picture], outputs)
    model.compile("adam", ["categorical_crossentropy", "mse"], metrics=[["accuracy"], ["mae"]])
    model.optimizer.build(model.trainable_variables)
    groups = (
        (text_spec(),),
        (colour_spec(), ColumnSpec("size", (), "float32", "scalar"), colour_spec("on", ["False", "True"])),
        (ColumnSpec("photo", (2, 2, 3), "uint8", "list", {"kind": "image"}),),
    )
    pixels_given = np.arange(48, dtype=np.float32).reshape(4, 2, 2, 3)
    raw = {
        "review": _objects("The cat!", "a dog, the DOG - the cat the", "", "É é don't"),
        "colour": _objects("red", "Red", "", "new\nline"),
        "size": np.array([1.0, 2.5, -3.0, 0.0], dtype=np.float32),
        "on": _objects("True", "False", "yes", "True"),
        "colour_column_1": pixels_given,
    }
    tokens = np.array([[2, 3, 0, 0], [1, 4, 2, 4], [0] * 4, [1, 5, 6, 0]], dtype=np.int32)
    numbers = np.array([[4, 1, 1], [6, 2.5, 0], [0, -3, 2], [3, 0, 1]], dtype=np.float32)
    return Candidate(model, groups, raw, [tokens, numbers, pixels_given])


@pytest.fixture(scope="session")
def texts() -> Candidate:
    """A single text input."""
    keras.utils.set_random_seed(2)
    words = keras.Input((4,), name="input_1")
    hidden = keras.layers.Embedding(len(VOCABULARY) + 2, 3)(words)
    model = keras.Model(words, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(hidden)))
    raw = {"review": _objects("the cat", "unheard of")}
    return Candidate(model, ((text_spec(),),), raw, [np.array([[2, 3, 0, 0], [1, 1, 0, 0]], dtype=np.float32)])
