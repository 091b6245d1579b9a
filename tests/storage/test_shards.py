from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import StoreError
from cerebro_nas.storage import decode_column
from cerebro_nas.storage import read_shard


@dataclass(frozen=True)
class Spec:
    name: str
    shape: tuple[int, ...]
    dtype: str
    encoding: str


@dataclass(frozen=True)
class Shard:
    path: str
    rows: int


def _npy(array: NDArray[Any]) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def _encode(values: NDArray[Any], encoding: str) -> pa.Array:
    if encoding == "npy":
        return pa.array([_npy(row) for row in values], pa.binary())
    if encoding == "list":
        return pa.array([row.tolist() for row in values], pa.list_(pa.from_numpy_dtype(values.dtype)))
    return pa.array(values)


@given(
    st.sampled_from([("npy", (3, 2)), ("npy", (4,)), ("npy", (2, 1, 3)), ("list", (5,)), ("scalar", ())]),
    st.sampled_from(["uint8", "int64", "float32", "float64"]),
    st.integers(0, 6),
    st.lists(st.integers(0, 6), max_size=3),
    st.integers(0, 3),
)
def test_values_come_back_through_any_chunks_and_slices(
    kind: tuple[str, tuple[int, ...]], dtype: str, rows: int, cuts: list[int], skip: int
) -> None:
    encoding, shape = kind
    values = np.arange(rows * int(np.prod(shape))).reshape(rows, *shape).astype(dtype)
    whole = _encode(values, encoding)
    bounds = sorted({0, rows, *(cut for cut in cuts if cut < rows)})
    pieces = [whole.slice(a, b - a) for a, b in zip(bounds, bounds[1:], strict=False)]
    column = pa.chunked_array(pieces, type=whole.type).slice(min(skip, rows))
    found = decode_column(column, Spec("x", shape, dtype, encoding))
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, values[min(skip, rows) :])
    assert found.shape[1:] == shape


def test_strings() -> None:
    found = decode_column(pa.chunked_array([["a", "längere"], ["c"]]), Spec("x", (), "str", "scalar"))
    assert found.tolist() == ["a", "längere", "c"]


@pytest.mark.parametrize(
    ("column", "spec"),
    [
        (pa.chunked_array([[1.0, None]]), Spec("x", (), "float64", "scalar")),
        (pa.chunked_array([[[1.0], None]]), Spec("x", (1,), "float64", "list")),
        (pa.chunked_array([[[1.0, None]]]), Spec("x", (2,), "float64", "list")),
        (pa.chunked_array([[[1.0], [1.0, 2.0, 3.0]]]), Spec("x", (2,), "float64", "list")),
        (pa.chunked_array([[[1.0]]]), Spec("x", (2,), "float64", "list")),
        (pa.chunked_array([[_npy(np.ones(2))]]), Spec("x", (3,), "float64", "npy")),
        (pa.chunked_array([[_npy(np.ones(2, "f4"))]]), Spec("x", (2,), "float64", "npy")),
        (pa.chunked_array([[_npy(np.ones(2)), _npy(np.ones(3))]]), Spec("x", (2,), "float64", "npy")),
    ],
)
def test_what_was_not_written_is_refused(column: pa.ChunkedArray, spec: Spec) -> None:
    with pytest.raises(CorruptStateError, match="'x'"):
        decode_column(column, spec)


def test_a_shard_is_read(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 4, 4)).astype(np.uint8)
    place = tmp_path / "split=x" / "part.parquet"
    place.parent.mkdir()
    table = pa.table({"image": _encode(images, "npy"), "label": np.arange(20), "other": np.zeros(20)})
    pq.write_table(table, place, row_group_size=6)
    columns = [Spec("image", (4, 4), "uint8", "npy"), Spec("label", (), "int64", "scalar")]
    found = read_shard(f"file://{tmp_path}", Shard("split=x/part.parquet", 20), columns)
    assert list(found) == ["image", "label"]
    assert np.array_equal(found["image"], images)
    assert np.array_equal(found["label"], np.arange(20))
    with pytest.raises(CorruptStateError, match="20 rows where 21"):
        read_shard(str(tmp_path), Shard("split=x/part.parquet", 21), columns)


def test_a_shard_that_is_not_there_or_cut_off(tmp_path: Path) -> None:
    columns = [Spec("x", (), "int64", "scalar")]
    with pytest.raises(StoreError):
        read_shard(str(tmp_path), Shard("part.parquet", 1), columns)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "part.parquet")
    (tmp_path / "part.parquet").write_bytes((tmp_path / "part.parquet").read_bytes()[:-9])
    with pytest.raises(StoreError):
        read_shard(str(tmp_path), Shard("part.parquet", 1), columns)


@pytest.mark.skipif(int(pa.__version__.split(".")[0]) < 15, reason="pyarrow 14 imports pandas itself")
def test_reading_needs_no_pandas(tmp_path: Path) -> None:
    """A worker leaves pandas out to start sooner; Arrow imports it for many a conversion."""
    table = pa.table({"x": pa.array([[1.0, 2.0]] * 5, pa.list_(pa.float32())), "y": pa.array(range(5), pa.int32())})
    pq.write_table(table, tmp_path / "part.parquet")
    program = (
        "import sys\n"
        "from cerebro_nas.storage import read_shard\n"
        "from cerebro_nas.worker import ColumnSpec, ShardSpec\n"
        "columns = [ColumnSpec('x', (2,), 'float32', 'list'), ColumnSpec('y', (), 'int32', 'scalar')]\n"
        f"found = read_shard({str(tmp_path)!r}, ShardSpec('train', 0, 'part.parquet', 5, 1), columns)\n"
        "print(found['y'].tolist(), 'pandas' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[0, 1, 2, 3, 4] False\n"
