"""What users hand over as arrays, as the model takes it."""

from __future__ import annotations

import math
from collections.abc import Collection
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.data import usable
from cerebro_nas.errors import ConfigError
from cerebro_nas.results._bundle import assemble
from cerebro_nas.results._columns import HOLES
from cerebro_nas.results._columns import NOT_FINITE
from cerebro_nas.results._columns import no_numbers
from cerebro_nas.results._columns import whole_rows
from cerebro_nas.results._inference import check_columns
from cerebro_nas.results._inference import tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cerebro_nas.results._bundle import ModelSource
    from cerebro_nas.results._unusable import Unusable
    from cerebro_nas.worker import ColumnSpec


def model_inputs(x: Any, source: ModelSource, unusable: Unusable) -> list[NDArray[Any]]:
    """Give one array per input, of the shape that the model takes.

    Args:
        x: an array (a list of them for several inputs), or a pandas DataFrame with the feature columns.
        source: says what the inputs are.
        unusable: where rows are counted that cannot be used; if there are any, what is returned lacks some.

    Raises:
        ConfigError: there are more or fewer arrays than inputs, or one has another shape; columns are missing.
    """
    if len(source.inputs) == 1 and isinstance(x, (list, tuple)) and len(x) == 1 and _is_array(x[0]):
        x = x[0]
    if hasattr(x, "columns") and hasattr(x, "to_numpy"):
        columns = _columns(x, [spec for group in source.inputs for spec in group], unusable)
        unusable.rows = len(x)
        return [_assembled(group, columns, unusable) for group in source.inputs]
    if len(source.inputs) > 1 and isinstance(x, (list, tuple)) and len(x) == len(source.inputs):
        parts = list(x)
    else:
        parts = [x] if len(source.inputs) == 1 else per_head(x, len(source.inputs), "x")
    found = [_input(part, group, source, unusable) for part, group in zip(parts, source.inputs, strict=True)]
    unusable.rows = len(parts[0])
    return found


def per_head(values: Any, count: int, name: str) -> list[NDArray[Any]]:
    """Give one array for each of `count` inputs or outputs.

    Raises:
        ConfigError: `values` is not a list of that many.
    """
    if count == 1:
        single = isinstance(values, (list, tuple)) and len(values) == 1 and _is_array(values[0])
        return [np.asarray(values[0] if single else values)]
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise ConfigError(
            f"`{name}` must be a list of {count} arrays. "
            f"Received: {name} of type {type(values).__name__} and length {len(values)}. Pass one array for each."
        )
    return [np.asarray(value) for value in values]


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "iloc")


def _input(x: Any, group: tuple[ColumnSpec, ...], source: ModelSource, unusable: Unusable) -> NDArray[Any]:
    """The values of one input."""
    if hasattr(x, "columns") and hasattr(x, "to_numpy"):
        others = {spec.name for other in source.inputs if other is not group for spec in other}
        return _assembled(group, _columns(x, group, unusable, others), unusable)
    if isinstance(x, (list, tuple)) and all(isinstance(value, str) for value in x):
        # NumPy would give each of them the room of the longest.
        x = np.array(x, dtype=object)
    array = np.asarray(x)
    if all(spec.encoder is None for spec in group):
        if array.dtype.kind in "OUS":
            return _counted(_shaped(_numbers(array), group), group, unusable, HOLES)
        return _counted(_shaped(array, group), group, unusable)
    if len(group) == 1 and array.ndim == 1:
        array = array.reshape(-1, 1)
    if group[0].shape and len(array.shape) > 2:
        # Pictures that are decoded already.
        return _counted(_shaped(array, group), group, unusable)
    if array.ndim != 2 or array.shape[1] != len(group):
        raise ConfigError(
            f"`x` must hold rows of {len(group)} value(s), {', '.join(repr(spec.name) for spec in group)}, as in "
            f"training. Received: x with shape {array.shape}. Pass an array of shape (rows, {len(group)})."
        )
    columns = tensors([array[:, number].tolist() for number in range(len(group))], group, unusable)
    return _assembled(group, columns, unusable)


def _numbers(array: NDArray[Any]) -> NDArray[np.float32]:
    """Tables of mixed types hold numbers as objects, or as texts."""
    try:
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise no_numbers(error) from error


def _counted(
    array: NDArray[Any], group: tuple[ColumnSpec, ...], unusable: Unusable, kind: str = NOT_FINITE
) -> NDArray[Any]:
    """The array, its numbers that are none counted by column."""
    fine = usable(array)
    if not fine.all():
        # By name: a column may be there twice.
        columns = {spec.name: fine if spec.shape else fine[:, number] for number, spec in enumerate(group)}
        for name, rows in columns.items():
            unusable.of(name).add(kind, np.flatnonzero(~whole_rows(rows)))
    return array


def _assembled(group: tuple[ColumnSpec, ...], columns: dict[str, NDArray[Any]], unusable: Unusable) -> NDArray[Any]:
    # Of columns that lack rows there is no table, nor will anybody ask for it.
    return np.empty(0) if unusable else assemble(group, columns)


def _columns(
    frame: Any, specs: Sequence[ColumnSpec], unusable: Unusable, others: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    # Frames without a header have numbers for names.
    there = {str(name): name for name in frame.columns}
    names = {spec.name: _name_in(there, spec.name, others) for spec in specs}
    check_columns(list(names.values()), there)
    return tensors([frame[there[names[spec.name]]] for spec in specs], specs, unusable)


def _name_in(there: Collection[str], name: str, others: Collection[str]) -> str:
    """What a column is called in its frame: one that another input has too got the name of its input put before it."""
    own = name.partition(".")[2]
    return own if name not in there and own in others else name


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
