"""The state of a candidate as bytes: every variable of model and optimizer, as safetensors."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from safetensors.numpy import save

from cerebro_nas.errors import CorruptStateError

_META = "cerebro_nas"
_CHECKSUM = "crc32"


def state_variables(model: keras.Model) -> list[Any]:
    """Every variable that training changes: weights, seeds of random layers, optimizer slots and counters.

    Variables that hold no numbers (a string lookup's table) are part of the architecture, not of the state.
    """
    # `variables` of a compiled model hold metrics' and the optimizer's too; each belongs to exactly one group here.
    # SeedGenerator states are not among `weights`, and without them dropout would differ after a hop.
    model_variables = [v for v in model.variables if not _is_metric(model, v)]
    return model_variables + list(model.optimizer.variables)


def dump_state(model: keras.Model, meta: Mapping[str, Any]) -> bytes:
    """Give the state as safetensors bytes.

    Args:
        model: compiled, with its optimizer built.
        meta: plain values kept in the header (trial, generation, ...).
    """
    arrays = {
        name: np.asarray(variable.numpy(), order="C")
        for name, variable in zip(_names(model), state_variables(model), strict=True)
    }
    entries = {**meta, _CHECKSUM: _checksum(arrays)}
    return bytes(save(arrays, metadata={_META: json.dumps(entries, sort_keys=True)}))


def restore_state(model: keras.Model, data: bytes) -> dict[str, Any]:
    """Set every variable from `dump_state`'s bytes.

    Returns:
        The plain values that were kept with the state.

    Raises:
        CorruptStateError: the bytes are damaged, or belong to another architecture. Nothing was changed.
    """
    try:
        arrays = load(data)
        meta = _meta(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CorruptStateError(f"The state is damaged: {error}. It was not loaded.") from error
    if meta.pop(_CHECKSUM, None) != _checksum(arrays):
        raise CorruptStateError("The state is damaged: its checksum does not match. It was not loaded.")
    names, variables = _names(model), state_variables(model)
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
        variable.assign(arrays[name])
    finalize(model)
    return meta


def finalize(model: keras.Model) -> None:
    """Have normalisation layers take up the statistics that were just set: they use copies made here."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization) and getattr(layer, "adapt_mean", None) is not None:
            layer.finalize_state()


def _meta(data: bytes) -> dict[str, Any]:
    """The plain values in the header: its length comes first (8 bytes, little-endian), then JSON."""
    length = int.from_bytes(data[:8], "little")
    found = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_META])
    if not isinstance(found, dict):
        raise ValueError("the header holds no object")
    return found


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> int:
    # Against accidents on the way between workers, at a gigabyte a second; files have a cryptographic hash as well.
    total = 0
    for name in sorted(arrays):
        total = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), total)
    return total


def _is_metric(model: keras.Model, variable: Any) -> bool:
    return any(variable is other for metric in model.metrics for other in metric.variables)


def _names(model: keras.Model) -> list[str]:
    # Position and kind only: paths hold counters (`seed_generator_2`, `adam_1`) that differ between processes.
    return [f"{index:05d}/{variable.name}" for index, variable in enumerate(state_variables(model))]
