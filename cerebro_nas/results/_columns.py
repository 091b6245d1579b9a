"""Columns as pandas gives them, turned into arrays; what is wrong with rows is counted, not raised."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.data import usable
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import DataError
from cerebro_nas.worker import encode_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cerebro_nas.data import Faults
    from cerebro_nas.worker import ColumnSpec

_NPY = b"\x93NUMPY"
NULL = "null"
NOT_FINITE = "NaN or infinite"
# On its way through pandas a null among numbers has become NaN.
HOLES = f"{NULL}, {NOT_FINITE}"


def to_tensor(values: Any, spec: ColumnSpec, faults: Faults, start: int = 0) -> NDArray[Any]:
    """Turn a pandas column into an array of shape (n, *spec.shape), without the rows that cannot be used.

    Whole numbers of training may be stored as such, but rows that come later may hold others: small ones and single
    ones become float32, which is what the model's input is.

    Args:
        values: the column.
        spec: what it was in training.
        faults: where rows are counted that miss values, or have another size than those of training.
        start: position of the first row.

    Raises:
        ConfigError: there is something else where training had numbers.
        DataError: values that are encoded are of another kind than those of training.
    """
    if hasattr(values, "columns"):
        # Structs of pictures come as a frame.
        values = values.to_dict("records")
    dtype = "float32" if spec.dtype == "uint8" or (spec.encoder is None and not spec.shape) else spec.dtype
    if spec.encoder is not None:
        return _encoded(list(values), spec, faults, start).astype(dtype, copy=False)
    try:
        with np.errstate(over="ignore"):
            # Numbers too large for float32 become infinite, and are counted as such.
            found = _numbers(values, spec, dtype, faults, start)
    except (TypeError, ValueError) as error:
        raise no_numbers(error) from error
    return found.astype(dtype, copy=False)


def no_numbers(error: Exception) -> ConfigError:
    """The error for features that are no numbers."""
    return ConfigError(
        f"`x` must hold numbers where training had them. Received: {error}. Convert or drop those values."
    )


def is_null(value: Any) -> bool:
    """Whether a value stands for none at all; pandas shows a null among numbers as NaN, and has one of its own."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType"


def whole_rows(fine: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say of each row whether it is fine all through."""
    table = fine.reshape(len(fine), math.prod(fine.shape[1:]))
    return np.asarray(table.all(axis=1), dtype=np.bool_)


def _encoded(values: list[Any], spec: ColumnSpec, faults: Faults, start: int) -> NDArray[Any]:
    there = [not is_null(value) for value in values]
    if not all(there):
        faults.add(NULL, np.flatnonzero(~np.array(there)) + start)
        values = [value for value, is_there in zip(values, there, strict=True) if is_there]
    if not values:
        return np.empty((0, *spec.shape), dtype=spec.dtype)
    try:
        return encode_column(values, spec)
    except ValueError as error:
        raise DataError(f"Column {spec.name!r} holds what it did not hold in training: {error}") from error


def _numbers(values: Any, spec: ColumnSpec, dtype: str, faults: Faults, start: int) -> NDArray[Any]:
    rows, positions = _rows(values, spec, faults, start)
    # Cast to whole numbers, NaN would be one of them.
    array = np.asarray(rows, dtype=dtype if dtype.startswith("float") else None).reshape(len(rows), *spec.shape)
    if array.dtype.kind in "OUS":
        array = array.astype(np.float64)
    fine = usable(array)
    if fine.all():
        return array
    good = whole_rows(fine)
    faults.add(HOLES, positions[~good])
    return array[good]


def _rows(values: Any, spec: ColumnSpec, faults: Faults, start: int) -> tuple[Any, NDArray[np.intp]]:
    """The rows that are of the right size, and their positions."""
    positions = np.arange(start, start + len(values))
    if not spec.shape and isinstance(getattr(values, "dtype", None), np.dtype) and values.dtype.kind in "biuf":
        # One number each for sure.
        return values, positions
    size = math.prod(spec.shape)
    cells = [_cell(value) for value in values]
    sizes = np.fromiter((-1 if cell is None else np.size(cell) for cell in cells), np.int64, len(cells))
    good = sizes == size
    if good.all():
        return cells, positions
    faults.add(NULL, positions[sizes < 0])
    faults.add(f"size is not {size}", positions[~good & (sizes >= 0)])
    return [cell for cell, fine in zip(cells, good.tolist(), strict=True) if fine], positions[good]


def _cell(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return np.load(io.BytesIO(value), allow_pickle=False) if value[:6] == _NPY else np.frombuffer(value, np.uint8)
    if isinstance(value, np.ndarray) and value.dtype == object:
        # Nested arrays come as arrays of arrays.
        return np.stack([_cell(part) for part in value])
    return None if is_null(value) else value
