"""Tensors of rows that come in several batches: what differs among them is told, and nothing is mistaken."""

from __future__ import annotations

import io
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cerebro_nas.data import LocalRows
from cerebro_nas.data import PreparedData
from cerebro_nas.data import prepare_data
from cerebro_nas.data._stage import StagedPart
from cerebro_nas.data._stage import StagePlan
from cerebro_nas.data._stage import Stager
from cerebro_nas.errors import DataError
from cerebro_nas.storage import LocalStore

Y = pa.array(np.arange(8) % 2)


def _prepare(store: Path, x: Any, y: Any = Y, **arguments: Any) -> PreparedData:
    rows = LocalRows(pa.table({"x": x, "y": y}))
    return prepare_data(
        rows,
        store=LocalStore(store),
        name="d",
        feature_columns=["x"],
        label_columns=["y"],
        num_shards=1,
        **arguments,
    )


def _npy(shape: tuple[int, ...], dtype: str, first: int = 0) -> pa.Array:
    """Four rows."""
    found = []
    for row in range(4):
        stream = io.BytesIO()
        np.save(stream, np.full(shape, first + row, dtype))
        found.append(stream.getvalue())
    return pa.array(found, pa.binary())


def _nested(shape: tuple[int, ...]) -> pa.Array:
    return pa.array(np.ones((4, *shape)).tolist())


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (_npy((2, 3), "float32"), _npy((3, 2), "float32"), r"a tensor that is not of shape \(2, 3\) in 4 of 8 rows"),
        (_npy((2, 3), "float32"), _npy((2, 2), "float32"), r"a tensor that is not of shape \(2, 3\) in 4 of 8 rows"),
        (_npy((2, 3), "float32"), _npy((2, 3), "int64", 300), "a tensor that is not float32 in 4 of 8 rows"),
        (_npy((2, 3), "uint8"), _npy((2, 3), "int64", 300), "a tensor that is not uint8 in 4 of 8 rows"),
        (_nested((2, 3)), _nested((3, 2)), r"shape is not \(2, 3\) in 4 of 8 rows"),
    ],
)
def test_batches_that_differ_are_faults(tmp_path: Path, first: pa.Array, second: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _prepare(tmp_path, pa.chunked_array([first, second]))


@pytest.mark.parametrize("make", [_nested, lambda shape: _npy(shape, "float32")])
def test_a_given_shape_asks_for_its_size(tmp_path: Path, make: Any) -> None:
    same_size = pa.chunked_array([make((3, 2)), make((2, 3))])
    assert _prepare(tmp_path, same_size, input_shape=(2, 3)).features[0].shape == (2, 3)
    with pytest.raises(DataError, match="size is not 6 in 4 of 8 rows"):
        _prepare(tmp_path, pa.chunked_array([make((2, 2)), make((2, 3))]), input_shape=(2, 3))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_decimals_are_numbers_at_any_depth(tmp_path: Path, depth: int) -> None:
    value: Any = Decimal("1.5")
    for _ in range(depth):
        value = [value, value]
    found = _prepare(tmp_path, pa.array([value] * 8))
    assert (found.features[0].shape, found.features[0].dtype) == ((2,) * depth, "float32")
    assert found.statistics["x"].maximum == 1.5


def test_large_unsigned_numbers_stay_positive(tmp_path: Path) -> None:
    found = _prepare(tmp_path, pa.array([2**64 - 1, 2**63] * 4, pa.uint64()))
    assert found.features[0].dtype == "float32"
    assert found.statistics["x"].minimum == 2.0**63


def _picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), 200, np.uint8)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP"])
def test_pictures_are_known_by_their_bytes(tmp_path: Path, kind: str) -> None:
    found = _prepare(tmp_path, pa.array([_picture(kind)] * 8, pa.binary()))
    assert (found.features[0].shape, found.features[0].encoder) == ((4, 5, 3), {"kind": "image"})


def test_pixels_that_begin_as_a_picture_may_stay_pixels(tmp_path: Path) -> None:
    found = _prepare(tmp_path, pa.array([b"BM" + struct.pack("<I", 99) + bytes(10)] * 8, pa.binary()))
    assert (found.features[0].shape, found.features[0].encoder) == ((16,), None)


class _Parts(LocalRows):
    """Each chunk of the table is a partition of its own."""

    def stage(self, plan: StagePlan) -> tuple[list[StagedPart], str]:
        batches = self._table.to_batches()
        return [Stager(plan, number).run([batch]) for number, batch in enumerate(batches)], "digest"


@pytest.mark.parametrize("make", [_nested, lambda shape: _npy(shape, "float32")])
def test_partitions_of_differing_shape_are_told(tmp_path: Path, make: Any) -> None:
    rows = _Parts(pa.table({"x": pa.chunked_array([make((2, 3)), make((3, 2))]), "y": Y}))
    with pytest.raises(DataError, match=r"rows of differing shape, \[\(2, 3\), \(3, 2\)\]"):
        prepare_data(
            rows, store=LocalStore(tmp_path), name="d", feature_columns=["x"], label_columns=["y"], num_shards=1
        )
