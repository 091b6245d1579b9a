"""What users hand over as arrays, as the model takes it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.errors import ConfigError
from cerebro_nas.results._inference import to_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cerebro_nas.results._bundle import ModelSource
    from cerebro_nas.worker import ColumnSpec


def model_inputs(x: Any, source: ModelSource) -> list[NDArray[Any]]:
    """Give one array per input, of the shape that the model takes.

    Args:
        x: an array (a list of them for several inputs), or a pandas DataFrame with the feature columns.
        source: says what the inputs are.

    Raises:
        ConfigError: there are more or fewer arrays than inputs, or one has another shape; columns are missing.
    """
    if hasattr(x, "columns") and hasattr(x, "to_numpy"):
        return source.assemble(_columns(x, source))
    arrays = per_head(x, len(source.inputs), "x")
    return [_shaped(array, group) for array, group in zip(arrays, source.inputs, strict=True)]


def per_head(values: Any, count: int, name: str) -> list[NDArray[Any]]:
    """Give one array for each of `count` inputs or outputs.

    Raises:
        ConfigError: `values` is not a list of that many.
    """
    if count == 1:
        single = isinstance(values, (list, tuple)) and len(values) == 1 and isinstance(values[0], np.ndarray)
        return [np.asarray(values[0] if single else values)]
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise ConfigError(
            f"`{name}` must be a list of {count} arrays. "
            f"Received: {name} of type {type(values).__name__} and length {len(values)}. Pass one array for each."
        )
    return [np.asarray(value) for value in values]


def _columns(frame: Any, source: ModelSource) -> dict[str, NDArray[Any]]:
    specs = [spec for group in source.inputs for spec in group]
    missing = [spec.name for spec in specs if spec.name not in frame.columns]
    if missing:
        raise ConfigError(
            f"The DataFrame must have the feature columns {[spec.name for spec in specs]}. "
            f"Received: columns={list(frame.columns)}, without {missing}. Add them, or pass an array."
        )
    return {spec.name: to_tensor(frame[spec.name], spec) for spec in specs}


def _shaped(array: NDArray[Any], group: tuple[ColumnSpec, ...]) -> NDArray[Any]:
    shape = group[0].shape if len(group) == 1 and group[0].shape else (len(group),)
    if array.ndim and array.shape[1:] != shape and math.prod(array.shape[1:]) == math.prod(shape):
        return array.reshape(len(array), *shape)
    if not array.ndim or array.shape[1:] != shape:
        raise ConfigError(
            f"`x` must hold rows of shape {shape}, as in training. Received: x with shape {array.shape}. "
            "Pass an array of shape (rows, ...)."
        )
    return array
