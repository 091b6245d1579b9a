"""Rows go through a function of the user's before they come to a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.worker import find_transformation
from cerebro_nas.worker._loop import Loop


@pytest.fixture
def doubled() -> Iterator[str]:
    """A registered function that doubles what is predicted."""

    def double(rows: tf.data.Dataset) -> tf.data.Dataset:
        return rows.map(lambda x, y, *weight: (x, 2 * y, *weight))

    keras.saving.register_keras_serializable("tests")(double)
    yield "tests>double"
    del keras.saving.get_custom_objects()["tests>double"]


def _still() -> keras.Model:
    """A model that says 0, and learns nothing."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("phase", ["train", "test"])
def test_each_row_is_changed_once_whatever_the_size_of_its_batch(doubled: str, phase: str, weighted: bool) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(10, 2)).astype(np.float32), draw.normal(size=(10, 1)).astype(np.float32)
    weights = np.arange(10, dtype=np.float32)
    targets = [y, weights] if weighted else [y]
    losses = {}
    for name in ("", doubled):
        loop = Loop(_still(), [x], targets, weighted=weighted, transformation=find_transformation(name))
        given = [tf.constant(x)], [tf.constant(item) for item in targets]
        if phase == "train":
            loop.train(*given, tf.range(10), 4)
        else:
            loop.test(*given, 4)
        losses[name] = loop.metrics()["loss"]
        assert loop.traces == 1
    plain = np.average(y[:, 0] ** 2, weights=weights if weighted else None) * (np.mean(weights) if weighted else 1)
    assert losses[""] == pytest.approx(plain, rel=1e-5)
    assert losses[doubled] == pytest.approx(4 * losses[""], rel=1e-6)


def test_several_inputs_and_outputs_come_as_tuples() -> None:
    shapes: list[Any] = []

    def look(rows: tf.data.Dataset) -> tf.data.Dataset:
        shapes.append(tf.nest.map_structure(lambda spec: tuple(spec.shape), rows.element_spec))
        return rows

    entries = [keras.Input((2,)), keras.Input((3,))]
    model = keras.Model(entries, [keras.layers.Dense(1)(entry) for entry in entries])
    model.compile("sgd", ["mse", "mse"])
    rows = [np.zeros((4, 2), np.float32), np.zeros((4, 3), np.float32)]
    targets = [np.zeros((4, 1), np.float32)] * 2 + [np.ones(4, np.float32)]
    loop = Loop(model, rows, targets, weighted=True, transformation=look)
    loop.test([tf.constant(item) for item in rows], [tf.constant(item) for item in targets], 3)
    assert shapes[0] == (((2,), (3,)), ((1,), (1,)), ((), ()))


def test_only_what_is_registered_is_called() -> None:
    assert find_transformation("") is None
    with pytest.raises(UnsafeModelError, match=r"`transformation_fn` must be registered.*Received: 'os>system'"):
        find_transformation("os>system")
