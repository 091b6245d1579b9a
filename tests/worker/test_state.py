from __future__ import annotations

import hashlib

import keras
import numpy as np
import pytest
from safetensors.numpy import load

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.worker import dump_state
from cerebro_nas.worker import restore_state
from cerebro_nas.worker._safetensors import pack


def _model(dtype: str = "float32") -> keras.Model:
    layers = keras.layers
    entry = keras.Input((5,))
    hidden = layers.Dropout(0.5)(layers.Dense(4, dtype=dtype, name="hidden")(entry))
    normal = layers.BatchNormalization(dtype=dtype, name="normal")(hidden)
    model = keras.Model(entry, layers.Dense(1, dtype=dtype, name="out")(normal))
    model.compile("adam", "mse", metrics=["mae"])
    model.optimizer.build(model.trainable_variables)
    return model


def _train(model: keras.Model) -> None:
    draw = np.random.default_rng(0)
    model.fit(draw.normal(size=(32, 5)), draw.normal(size=(32, 1)), batch_size=8, shuffle=False, verbose=0)


def test_the_library_reads_a_state_and_every_variable_travels() -> None:
    model, other = _model(), _model()
    _train(model)
    data = dump_state(model, {"trial": "t"})
    arrays = load(data)
    assert {array.dtype.name for array in arrays.values()} >= {"float32", "int64"}
    assert sum("seed_generator" in name for name in arrays) == 1
    assert restore_state(other, data) == {"trial": "t"}
    assert dump_state(other, {"trial": "t"}) == data
    assert other.optimizer.iterations.numpy() == 4


def test_training_leaves_a_state_that_was_loaded_or_dumped_as_it_was() -> None:
    model = _model()
    first = dump_state(model, {})
    digest = hashlib.sha256(first).digest()
    restore_state(model, first)
    _train(model)
    second = dump_state(model, {})
    _train(model)
    assert hashlib.sha256(first).digest() == digest
    restore_state(model, first)
    _train(model)
    assert dump_state(model, {}) == second != first


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bfloat16_travels() -> None:
    model, other = _model("bfloat16"), _model("bfloat16")
    model.layers[1].kernel.assign(np.full((5, 4), 1.5))
    restore_state(other, dump_state(model, {}))
    assert str(other.layers[1].kernel.dtype) == "bfloat16"
    assert (other.layers[1].kernel.numpy().astype("float32") == 1.5).all()


def test_any_changed_number_is_found() -> None:
    model = _model()
    data = bytearray(dump_state(model, {}))
    data[-1] ^= 1
    with pytest.raises(CorruptStateError, match="checksum"):
        restore_state(model, bytes(data))


@pytest.mark.case(24)
@pytest.mark.parametrize("text", ["[" * 200_000, "{", "3", "", "9" * 5000])
def test_a_header_that_is_no_header_is_damage(text: str) -> None:
    data = pack({}, {"cerebro_nas": text})
    with pytest.raises(CorruptStateError, match="damaged"):
        restore_state(_model(), data)
