"""Columns as pandas gives them, turned into tensors, and rows that cannot be used."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cerebro_nas.data import Faults
from cerebro_nas.errors import ConfigError
from cerebro_nas.results._columns import to_tensor
from cerebro_nas.worker import ColumnSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE = ColumnSpec("image", (2, 3), "uint8", "npy")
NUMBER = ColumnSpec("number", (), "float32", "scalar")
TOKENS = ColumnSpec("tokens", (2,), "int32", "list")


def _payload(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _tensor(values: Any, spec: ColumnSpec) -> NDArray[Any]:
    faults = Faults()
    found = to_tensor(values, spec, faults)
    assert faults == Faults()
    return found


@pytest.mark.parametrize("kind", [list, np.array, tuple])
def test_lists_become_tensors(kind: Any) -> None:
    found = _tensor(pd.Series([kind([float(n) for n in range(6)]) for _ in range(4)]), IMAGE)
    assert (found.shape, found.dtype.name) == ((4, 2, 3), "float32")
    assert found[0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_binary_tensors_become_tensors() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert _tensor(pd.Series([_payload(array)] * 2), IMAGE).tolist() == [array.tolist()] * 2


@pytest.mark.parametrize("values", [pd.Series([1, 2]), pd.Series([1, 2], dtype="Int64"), ["1", 2.0]])
def test_numbers_become_tensors(values: Any) -> None:
    found = _tensor(values, NUMBER)
    assert (found.tolist(), found.dtype.name) == ([1.0, 2.0], "float32")


def test_no_rows_are_no_error() -> None:
    assert _tensor(pd.Series([], dtype=object), IMAGE).shape == (0, 2, 3)


def test_single_numbers_keep_their_fractions_whatever_those_of_training_were() -> None:
    spec = ColumnSpec("n", (), "int64", "scalar")
    assert _tensor(pd.Series([2.9, -1.5]), spec).tolist() == pytest.approx([2.9, -1.5])


@pytest.mark.parametrize(
    ("rows", "spec", "counts"),
    [
        ([[1.0] * 6, None], IMAGE, {"null": 1}),
        ([[1.0] * 6, [1.0] * 5], IMAGE, {"size is not 6": 1}),
        ([None, [1.0] * 4, [1.0] * 6], IMAGE, {"null": 1, "size is not 6": 1}),
        ([[np.nan] * 6, [np.inf] * 6, [1.0] * 6], IMAGE, {"null, NaN or infinite": 2}),
        ([[np.nan, 1.0], [2.0, 1.0]], TOKENS, {"null, NaN or infinite": 1}),
        ([np.array([np.nan, 1.0]), np.array([2.0, 1.0])], TOKENS, {"null, NaN or infinite": 1}),
        ([1.0, None], NUMBER, {"null, NaN or infinite": 1}),
        ([1.0, np.inf, 1e39], NUMBER, {"null, NaN or infinite": 2}),
        (pd.array([1, None], dtype="Int64"), NUMBER, {"null": 1}),
    ],
)
def test_rows_that_cannot_be_used_are_counted_and_left_out(rows: Any, spec: ColumnSpec, counts: Any) -> None:
    faults, values = Faults(), pd.Series(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = to_tensor(values, spec, faults, start=10)
    assert faults.counts == counts
    assert found.shape == (len(rows) - sum(counts.values()), *spec.shape)
    assert set(sum(faults.examples.values(), [])) <= set(range(10, 10 + len(rows)))


def test_positions_are_those_of_the_column() -> None:
    faults = Faults()
    to_tensor(pd.Series([None, [np.nan, 1.0], [1.0], [1.0, 1.0], [np.inf, 1.0]]), TOKENS, faults, start=5)
    assert faults.examples == {"null": [5], "size is not 2": [7], "null, NaN or infinite": [6, 9]}


@pytest.mark.parametrize("rows", [["n/a"], [["n/a"] * 2]])
def test_texts_that_are_no_numbers_are_told(rows: Any) -> None:
    with pytest.raises(ConfigError, match="`x` must hold numbers where training had them.*'n/a'"):
        to_tensor(pd.Series(rows), NUMBER if rows == ["n/a"] else TOKENS, Faults())
