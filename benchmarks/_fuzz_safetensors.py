"""Fuzzing what reads the bytes of a state: the format, and setting a model's variables from it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._fuzzing import BrokenPromiseError
from benchmarks._fuzzing import Reader
from benchmarks._mutate import mutate_bytes
from benchmarks._mutate import mutate_json
from benchmarks._mutate import to_json
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.worker._safetensors import pack
from cerebro_nas.worker._safetensors import unpack


def readers(directory: Path) -> list[Reader]:
    """The readers of states.

    Args:
        directory: for files; none are needed.
    """
    del directory
    model = _model()
    state = _state(model)
    several = pack(
        {
            "a": np.arange(6, dtype=np.float32).reshape(2, 3),
            "b": np.zeros((), np.int64),
            "c": np.ones((4, 0), np.uint8),
            "d": np.array([True, False]),
        },
        {"cerebro_nas": "{}"},
    )

    def mutated(draw: random.Random) -> bytes:
        data = draw.choice((several, state))
        return _odd_header(draw, data) if draw.random() < 0.7 else mutate_bytes(draw, data, [several, state])

    restore = _Restore(model, state)
    return [
        Reader("unpack", mutated, _unpack, (ValueError,), weight=40),
        Reader("restore_state", lambda draw: restore.make(draw), restore.read, (CorruptStateError,)),
    ]


def _odd_header(draw: random.Random, data: bytes) -> bytes:
    """A header that says odd things, with its length as it should be, before the same numbers."""
    length = int.from_bytes(data[:8], "little")
    header = to_json(mutate_json(draw, json.loads(data[8 : 8 + length])))
    if draw.random() < 0.1:
        header = mutate_bytes(draw, header, most=1)
    body = data[8 + length :]
    if draw.random() < 0.2:
        body = mutate_bytes(draw, body, most=1)
    return len(header).to_bytes(8, "little") + header + body


def _unpack(data: bytes) -> object:
    arrays, metadata = unpack(data)
    if sum(array.nbytes for array in arrays.values()) > len(data):
        raise BrokenPromiseError("The arrays are larger than the bytes that they came from.")
    again, same = unpack(pack(arrays, metadata))
    if same != metadata or {k: (v.dtype, v.shape) for k, v in again.items()} != {
        k: (v.dtype, v.shape) for k, v in arrays.items()
    }:
        raise BrokenPromiseError("What was read is not what is written of it.")
    return arrays


def _model() -> Any:
    import keras
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    inputs = keras.Input((8,))
    hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def _state(model: Any) -> bytes:
    from cerebro_nas.worker import dump_state

    return dump_state(model, {"trial": "t", "generation": 3})


class _Restore:
    """A model that is given changed states, and must be as it was after each that was refused."""

    def __init__(self, model: Any, state: bytes) -> None:
        self._model = model
        self._state = state

    def make(self, draw: random.Random) -> bytes:
        """A changed state; half of them keep the numbers' checksum right, so that they get further."""
        if draw.random() < 0.5:
            return _odd_header(draw, self._state)
        if draw.random() < 0.5:
            return mutate_bytes(draw, self._state, [self._state])
        return _other_shapes(draw, self._state)

    def read(self, data: bytes) -> object:
        """Set the variables."""
        from cerebro_nas.worker import restore_state

        try:
            meta = restore_state(self._model, data)
        except CorruptStateError:
            if _state(self._model) != self._state:
                raise BrokenPromiseError("A state that was refused changed the model.") from None
            raise
        restore_state(self._model, self._state)
        return meta


def _other_shapes(draw: random.Random, state: bytes) -> bytes:
    """The state of another model, whole by its own account."""
    import zlib

    arrays, metadata = unpack(state)
    changed = dict(arrays)
    name = draw.choice(sorted(changed))
    kind = draw.randrange(4)
    if kind == 0:
        changed.pop(name)
    elif kind == 1:
        changed[name] = changed[name].reshape(-1)
    elif kind == 2:
        changed[name] = changed[name].astype(draw.choice((np.float64, np.int32, np.uint8)))
    else:
        changed[name + "x"] = changed.pop(name)
    total = 0
    for key in sorted(changed):
        total = zlib.crc32(np.ascontiguousarray(changed[key]).tobytes(), total)
    meta = json.loads(metadata["cerebro_nas"])
    return pack(changed, {"cerebro_nas": json.dumps({**meta, "crc32": total})})
