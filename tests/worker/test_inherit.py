"""A candidate that begins with another one's weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.worker import dump_state
from cerebro_nas.worker._inherit import inherit_state
from cerebro_nas.worker._state import state_variables


def _model(*widths: int, rate: float = 0.1, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(width, activation="relu") for width in widths]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def _trained(model: keras.Model) -> keras.Model:
    rows = np.random.default_rng(0)
    model.fit(rows.normal(size=(32, 4)), rows.normal(size=(32, 2)), verbose=0)
    return model


def _numbers(model: keras.Model) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return [np.asarray(variable.numpy()) for variable in state_variables(model)]


def test_the_same_architecture_takes_everything_but_the_learning_rate() -> None:
    parent, child = _trained(_model(3, seed=1)), _model(3, rate=0.02, seed=2)
    assert inherit_state(child, dump_state(parent, {})) == 1.0
    for name, theirs, ours in zip(
        [variable.name for variable in state_variables(parent)], _numbers(parent), _numbers(child), strict=True
    ):
        if name == "learning_rate":
            assert ours == pytest.approx(0.02)
        else:
            np.testing.assert_array_equal(theirs, ours)
    assert int(child.optimizer.iterations.numpy()) == 1


def test_layers_before_and_behind_a_new_one_are_taken() -> None:
    parent, child = _trained(_model(3, 5, seed=1)), _model(3, 3, 5, seed=2)
    before = _numbers(child)
    share = inherit_state(child, dump_state(parent, {}))
    first, new, last = child.layers[0], child.layers[1], child.layers[2]
    np.testing.assert_array_equal(first.kernel.numpy(), parent.layers[0].kernel.numpy())
    np.testing.assert_array_equal(last.kernel.numpy(), parent.layers[1].kernel.numpy())
    np.testing.assert_array_equal(child.layers[-1].kernel.numpy(), parent.layers[-1].kernel.numpy())
    np.testing.assert_array_equal(new.kernel.numpy(), before[2])
    counts = [variable.numpy().size for variable in child.variables]
    assert share == pytest.approx(1 - (3 * 3 + 3) / sum(counts))
    # Moments of other weights are of no use.
    assert int(child.optimizer.iterations.numpy()) == 0


def test_nothing_fits() -> None:
    parent, child = _trained(_model(3)), _model(7, seed=2)
    before = child.layers[0].kernel.numpy()
    assert inherit_state(child, dump_state(parent, {})) < 0.2
    np.testing.assert_array_equal(child.layers[0].kernel.numpy(), before)


def test_damaged_bytes_change_nothing() -> None:
    child = _model(3)
    data = bytearray(dump_state(_model(3, seed=1), {}))
    data[-1] ^= 1
    before = _numbers(child)
    with pytest.raises(CorruptStateError, match="checksum"):
        inherit_state(child, bytes(data))
    for old, new in zip(before, _numbers(child), strict=True):
        np.testing.assert_array_equal(old, new)
