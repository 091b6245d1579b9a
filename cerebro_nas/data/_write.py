"""Second pass, on the executors (small data: on the driver): rows that were dealt become the final Parquet files."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cerebro_nas.data._summary import MAX_CLASSES
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import encode_column

_ROW_GROUPS = 4
_ROW_GROUP_BYTES = 16 << 20
_HASHED_BYTES = 1 << 20


@dataclass(frozen=True)
class WritePlan:
    """What the second pass writes.

    Attributes:
        directory: directory of the data set.
        columns: final form of each column; `staged` the type of its staged numbers.
        shards: (split, index, rows) by number.
        labels: columns whose classes are noted for each shard.
    """

    directory: str
    columns: tuple[ColumnSpec, ...]
    staged: tuple[str, ...]
    shards: tuple[tuple[str, int, int], ...]
    labels: tuple[str, ...] = ()


class ShardWriter:
    """Runs over rows sorted by shard."""

    def __init__(self, plan: WritePlan) -> None:
        self._plan = plan
        self._number = -1
        self._rows: list[pa.RecordBatch] = []
        self._writer: pq.ParquetWriter | None = None
        self._temporary = Path()
        self._nbytes = 0
        self._groups = 0
        self._written = 0
        self._classes: dict[str, set[Any]] = {}

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[str]:
        """Write the shards and yield a JSON text for each."""
        for batch in batches:
            numbers = np.asarray(batch.column(batch.schema.get_field_index("__shard")))
            cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
            for begin, end in zip(cuts, cuts[1:], strict=False):
                if begin == end:
                    continue
                if int(numbers[begin]) != self._number:
                    yield from self._finish()
                    self._begin(int(numbers[begin]))
                self._rows.append(batch.slice(begin, end - begin))
                self._flush(whole_groups_only=True)
        yield from self._finish()

    def _begin(self, number: int) -> None:
        self._number = number
        self._nbytes = self._groups = self._written = 0
        self._classes = {}
        split, index, _ = self._plan.shards[number]
        directory = Path(self._plan.directory) / split
        directory.mkdir(parents=True, exist_ok=True)
        # Spark ignores names that begin with a dot or an underscore, should the task die here.
        self._temporary = directory / f".part-{index:05d}-{uuid.uuid4().hex}.tmp"

    def _group_rows(self) -> int:
        rows = self._plan.shards[self._number][2]
        width = max(1, sum(row_bytes(column) for column in self._plan.columns))
        return max(1, min(-(-rows // _ROW_GROUPS), _ROW_GROUP_BYTES // width or 1))

    def _flush(self, whole_groups_only: bool) -> None:
        size = self._group_rows()
        held = sum(batch.num_rows for batch in self._rows)
        if not held or (whole_groups_only and held < size):
            return
        table = pa.Table.from_batches(self._rows)
        stop = held - held % size if whole_groups_only else held
        for begin in range(0, stop, size):
            self._write(table.slice(begin, min(size, stop - begin)))
        self._rows = table.slice(stop).to_batches() if stop < held else []

    def _write(self, staged: pa.Table) -> None:
        arrays = {}
        for column, dtype in zip(self._plan.columns, self._plan.staged, strict=True):
            values = _values(staged.column(column.name), column, dtype)
            self._nbytes += values.nbytes
            if column.name in self._plan.labels:
                self._classes.setdefault(column.name, set()).update(classes_in(values))
            arrays[column.name] = encode(values, column)
        table = pa.table(arrays)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._temporary, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._groups += 1
        self._written += table.num_rows

    def _finish(self) -> Iterator[str]:
        if self._number < 0:
            return
        self._flush(whole_groups_only=False)
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        split, index, _ = self._plan.shards[self._number]
        path = self._temporary.with_name(f"part-{index:05d}.parquet")
        digest = _sha256(self._temporary)
        self._temporary.replace(path)
        yield json.dumps(
            {
                "split": split,
                "index": index,
                "path": f"{split}/{path.name}",
                "rows": self._written,
                "nbytes": self._nbytes,
                "sha256": digest,
                "row_groups": self._groups,
                "classes": {name: sorted(found)[:MAX_CLASSES] for name, found in self._classes.items()},
            }
        )
        self._number = -1


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        # A shard may be larger than memory.
        while piece := file.read(_HASHED_BYTES):
            found.update(piece)
    return found.hexdigest()


def encode(values: NDArray[Any], column: ColumnSpec) -> pa.Array:
    """Turn rows of shape (n, *column.shape) into the column's Arrow form."""
    if column.encoding == "scalar":
        return pa.array(values.tolist(), pa.string()) if column.dtype == "str" else pa.array(values)
    if column.encoding == "list":
        size = int(np.prod(column.shape))
        offsets = pa.array(np.arange(0, size * len(values) + 1, size, dtype=np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(values).reshape(-1)))
    return pa.array(_npy(np.ascontiguousarray(values)), pa.binary())


def _npy(values: NDArray[Any]) -> list[bytes]:
    stream = io.BytesIO()
    np.save(stream, values[0], allow_pickle=False)
    # Rows of one shape and type have one header, and `np.save` takes most of its time for that.
    header = stream.getvalue()[: -values[0].nbytes]
    return [header + row.tobytes() for row in values]


def _values(staged: pa.ChunkedArray, column: ColumnSpec, dtype: str) -> NDArray[Any]:
    if column.encoder is not None and column.encoder["kind"] != "image":
        return encode_column(staged, column)
    if column.dtype == "str":
        return np.asarray(staged.to_pylist(), dtype=object)
    if not pa.types.is_binary(staged.type) and not pa.types.is_large_binary(staged.type):
        return np.asarray(staged.to_numpy()).astype(column.dtype)
    raw = b"".join(staged.to_pylist())
    return np.frombuffer(raw, dtype=dtype).reshape(len(staged), *column.shape).astype(column.dtype)


def classes_in(values: NDArray[Any]) -> list[Any]:
    """Distinct labels of rows: scalars themselves, of vectors the positions that are not zero."""
    if values.ndim > 1:
        return [int(index) for index in np.flatnonzero(values.reshape(len(values), -1).any(axis=0))]
    found: list[Any] = np.unique(values.astype(str) if values.dtype == object else values).tolist()
    return found[:MAX_CLASSES]


def row_bytes(column: ColumnSpec) -> int:
    """Bytes of a decoded row (8 for a string, whose length is not known)."""
    return int(np.prod(column.shape, dtype=np.int64)) * (
        8 if column.dtype == "str" else np.dtype(column.dtype).itemsize
    )
