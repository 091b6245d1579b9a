"""The state of a candidate as bytes: every variable of model and optimizer, as safetensors."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.worker._allowed import parse_json
from cerebro_nas.worker._outline import outline_text
from cerebro_nas.worker._safetensors import pack
from cerebro_nas.worker._safetensors import raw_bytes
from cerebro_nas.worker._safetensors import unpack

_META = "cerebro_nas"
_OUTLINE = "cerebro_nas_parts"
_CHECKSUM = "crc32"


def state_variables(model: keras.Model) -> list[Any]:
    """Every variable that training changes: weights, seeds of random layers, optimizer slots and counters.

    Variables that hold no numbers (a string lookup's table) are part of the architecture, not of the state.
    """
    # `variables` of a compiled model hold metrics' and the optimizer's too; each belongs to exactly one group here.
    # SeedGenerator states are not among `weights`, and without them dropout would differ after a hop.
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [v for v in model.variables if id(v) not in metrics] + list(model.optimizer.variables)


def dump_state(model: keras.Model, meta: Mapping[str, Any]) -> bytes:
    """Give the state as safetensors bytes.

    Args:
        model: compiled, with its optimizer built.
        meta: plain values kept in the header (trial, generation, ...).
    """
    variables = state_variables(model)
    arrays = {name: _read(variable) for name, variable in zip(_names(variables), variables, strict=True)}
    entries = {**meta, _CHECKSUM: _checksum(arrays)}
    return pack(arrays, {_META: json.dumps(entries, sort_keys=True), _OUTLINE: outline_text(model)})


def restore_state(model: keras.Model, data: bytes) -> dict[str, Any]:
    """Set every variable from `dump_state`'s bytes.

    Returns:
        The plain values that were kept with the state.

    Raises:
        CorruptStateError: the bytes are damaged, or belong to another architecture. Nothing was changed.
    """
    arrays, meta = read_state(data)
    variables = state_variables(model)
    names = _names(variables)
    if set(names) != set(arrays):
        odd = sorted(set(names) ^ set(arrays))[:5]
        raise CorruptStateError(
            f"The state is of another model: it has {len(arrays)} variables where {len(names)} are needed "
            f"(different: {odd}). It was not loaded."
        )
    for name, variable in zip(names, variables, strict=True):
        found = arrays[name]
        if found.shape != tuple(variable.shape) or str(found.dtype) != str(variable.dtype):
            raise CorruptStateError(
                f"The state is of another model: {name} is {found.dtype}{found.shape} where "
                f"{variable.dtype}{tuple(variable.shape)} is needed. It was not loaded."
            )
    for name, variable in zip(names, variables, strict=True):
        write_variable(variable, arrays[name])
    finalize(model)
    return meta


def read_state(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays in `dump_state`'s bytes, by names that sort in the order of the variables, and the plain values.

    Raises:
        CorruptStateError: the bytes are damaged.
    """
    try:
        arrays, metadata = unpack(data)
        meta = _meta(metadata)
    except (ValueError, KeyError) as error:
        raise CorruptStateError(f"The state is damaged: {error}. It was not loaded.") from error
    if meta.pop(_CHECKSUM, None) != _checksum(arrays):
        raise CorruptStateError("The state is damaged: its checksum does not match. It was not loaded.")
    return dict(arrays), meta


def read_outline(data: bytes) -> str:
    """What the state's model is made of, as `outline_text` gave it; empty if the state does not tell.

    Raises:
        CorruptStateError: the bytes are damaged.
    """
    try:
        return unpack(data)[1].get(_OUTLINE, "")
    except ValueError as error:
        raise CorruptStateError(f"The state is damaged: {error}. It was not loaded.") from error


def finalize(model: keras.Model) -> None:
    """Have normalisation layers take up the statistics that were just set: they use copies made here."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization) and getattr(layer, "adapt_mean", None) is not None:
            layer.finalize_state()


def _read(variable: Any) -> NDArray[Any]:
    """The numbers of a variable, as a view of its memory that lasts until it is trained on."""
    # The operation itself: what Keras and TensorFlow put around it costs more than the reading of a small variable.
    value = tf.raw_ops.ReadVariableOp(resource=variable.value.handle, dtype=variable.value.dtype)
    # bfloat16 is no type that Python's buffers know.
    found: NDArray[Any] = value.numpy() if value.dtype == tf.bfloat16 else np.asarray(memoryview(value))
    return found


def write_variable(variable: Any, array: NDArray[Any]) -> None:
    """Set the numbers of a variable; shape and type must be its own."""
    # `tf.constant` copies; given the array itself, TensorFlow may keep the state's bytes for as long as the variable.
    tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=tf.constant(array))


def _meta(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The plain values in the header."""
    found = parse_json(metadata[_META])
    if not isinstance(found, dict):
        raise ValueError("the header holds no object")
    return found


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> int:
    # Against accidents on the way between workers, at gigabytes a second; files have a cryptographic hash as well.
    total = 0
    for name in sorted(arrays):
        total = zlib.crc32(raw_bytes(arrays[name]), total)
    return total


def _names(variables: Sequence[Any]) -> list[str]:
    # Position and kind only: paths hold counters (`seed_generator_2`, `adam_1`) that differ between processes.
    return [f"{index:05d}/{variable.name}" for index, variable in enumerate(variables)]
