"""Labels to evaluate with, as they stand in the data; rows without one are counted, not raised."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.data import usable
from cerebro_nas.errors import ConfigError
from cerebro_nas.results._columns import NOT_FINITE
from cerebro_nas.results._columns import NULL
from cerebro_nas.results._columns import is_null
from cerebro_nas.results._columns import whole_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cerebro_nas.data import Faults
    from cerebro_nas.results._bundle import OutputSpec

_ROWS = (list, tuple, np.ndarray)


def to_labels(
    values: Any, output: OutputSpec, faults: Faults, start: int = 0, nulls: NDArray[np.bool_] | None = None
) -> NDArray[Any]:
    """Turn labels into one array.

    Args:
        values: an array, or a column as pandas gives it.
        output: what they are labels of.
        faults: where rows are counted that have no label; there may then be fewer labels than rows.
        start: position of the first row.
        nulls: rows that are known to have none; by default what stands for none in an array of objects.

    Raises:
        ConfigError: rows of numbers are not of one length.
    """
    labels = np.asarray(values)
    if nulls is None:
        nulls = _nulls(labels)
    there = whole_rows(~nulls)
    faults.add(NULL, np.flatnonzero(~there) + start)
    labels = _numbers(_stacked(labels[there], output), output)
    rows = np.flatnonzero(there) + start
    faults.add(NOT_FINITE, rows[~whole_rows(usable(labels, wide=True))])
    return labels


def _nulls(labels: NDArray[Any]) -> NDArray[np.bool_]:
    if labels.dtype != object:
        return np.zeros(len(labels), dtype=np.bool_)
    return np.array([is_null(label) for label in labels.ravel().tolist()], dtype=np.bool_).reshape(labels.shape)


def _stacked(labels: NDArray[Any], output: OutputSpec) -> NDArray[Any]:
    """Rows of numbers in a column are an array each."""
    if labels.dtype != object or labels.ndim != 1 or not len(labels) or not isinstance(labels[0], _ROWS):
        return labels
    try:
        return np.stack([np.asarray(label) for label in labels])
    except ValueError as error:
        raise ConfigError(
            f"Labels should be rows of one length, as the model was trained on. "
            f"Received: {error} in {output.column!r}. Pad or cut them, or remove those rows."
        ) from error


def _numbers(labels: NDArray[Any], output: OutputSpec) -> NDArray[Any]:
    """Objects as the numbers they are, where a number is wanted; `encode` says what is none."""
    if not output.is_numbers or labels.dtype != object:
        return labels
    try:
        return labels.astype(np.float64)
    except (TypeError, ValueError):
        return labels
