"""Decoding shards: Arrow columns to NumPy tensors, without a copy where the layout allows it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

import numpy as np

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import StoreError
from cerebro_nas.storage._names import local_path

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


class Column(Protocol):
    """What is read of a column's description (`cerebro_nas.worker.ColumnSpec`)."""

    @property
    def name(self) -> str:
        """Column in the file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row's tensor."""

    @property
    def dtype(self) -> str:
        """NumPy name of the stored type."""

    @property
    def encoding(self) -> str:
        """`"scalar"`, `"list"` or `"npy"`."""


class ShardFile(Protocol):
    """What is read of a shard's description (`cerebro_nas.worker.ShardSpec`)."""

    @property
    def path(self) -> str:
        """File, relative to the data set's directory."""

    @property
    def rows(self) -> int:
        """Rows it must have."""


def read_shard(url: str, shard: ShardFile, columns: Sequence[Column]) -> dict[str, NDArray[Any]]:
    """Read columns of a shard, as arrays of shape (rows, *column.shape).

    Raises:
        StoreError: the file cannot be read.
        CorruptStateError: it has other rows or columns than the description says.
    """
    pieces = list(read_shard_pieces(url, shard, columns))
    return {column.name: _joined([piece[column.name] for piece in pieces], column) for column in columns}


def read_shard_pieces(url: str, shard: ShardFile, columns: Sequence[Column]) -> Iterator[dict[str, NDArray[Any]]]:
    """Read columns of a shard, one row group after another, so that no more than one is in memory twice.

    Raises:
        StoreError: the file cannot be read.
        CorruptStateError: it has other rows or columns than the description says.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = local_path(url) / shard.path
    names = [column.name for column in columns]
    try:
        with pq.ParquetFile(path) as file:
            rows = file.metadata.num_rows
            if rows != shard.rows:
                raise CorruptStateError(f"Shard {path} has {rows} rows where {shard.rows} were written.")
            missing = sorted(set(names) - set(file.schema_arrow.names))
            if missing:
                raise CorruptStateError(f"Shard {path} has no column {', '.join(map(repr, missing))}.")
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group, columns=names)
                yield {column.name: decode_column(table.column(column.name), column) for column in columns}
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"Shard {path} could not be read: {error}.") from error
    finally:
        # Arrow keeps what it frees; a worker has better use for it.
        pa.default_memory_pool().release_unused()


def _joined(parts: list[NDArray[Any]], column: Column) -> NDArray[Any]:
    if not parts:
        return np.empty((0, *column.shape), dtype=object if column.dtype == "str" else column.dtype)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def decode_column(values: pa.ChunkedArray, column: Column) -> NDArray[Any]:
    """Turn an Arrow column into an array of shape (n, *column.shape).

    Raises:
        CorruptStateError: there are nulls, or rows of another size.
    """
    if values.null_count:
        raise CorruptStateError(f"Column {column.name!r} holds {values.null_count} null(s), and none were written.")
    decode = {"scalar": _scalar, "list": _list, "npy": _npy}[column.encoding]
    return _joined([decode(chunk, column) for chunk in values.chunks if len(chunk)], column)


def _scalar(chunk: pa.Array, column: Column) -> NDArray[Any]:
    if column.dtype == "str":
        return np.asarray(chunk.to_pylist(), dtype=object)
    return np.asarray(_numbers(chunk), dtype=column.dtype)


def _numbers(array: pa.Array) -> NDArray[Any]:
    """The values of an array without nulls, where possible without a copy.

    Arrow's own `to_numpy` imports pandas for it, a third of a second in a worker that has no other use for pandas.
    """
    import pyarrow as pa

    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    values = np.frombuffer(array.buffers()[1], dtype=array.type.to_pandas_dtype())
    return values[array.offset : array.offset + len(array)]


def _list(chunk: pa.Array, column: Column) -> NDArray[Any]:
    size = int(np.prod(column.shape, dtype=np.int64))
    flat = chunk.flatten()
    lengths = _numbers(chunk.value_lengths())
    if flat.null_count or (lengths != size).any():
        raise CorruptStateError(f"Column {column.name!r} has rows that are not of {size} numbers.")
    return np.asarray(_numbers(flat), dtype=column.dtype).reshape(len(chunk), *column.shape)


def _npy(chunk: pa.Array, column: Column) -> NDArray[Any]:
    """Rows hold .npy files of one shape: the header is read once and skipped in all."""
    first = chunk[0].as_py()
    head = io.BytesIO(first)
    tensor = np.load(head, allow_pickle=False)
    if tensor.shape != column.shape or tensor.dtype != np.dtype(column.dtype):
        raise CorruptStateError(
            f"Column {column.name!r} holds {tensor.dtype} of shape {tensor.shape} where {column.dtype} of shape "
            f"{column.shape} was written."
        )
    width, offset_type = len(first), np.int64 if "large" in str(chunk.type) else np.int32
    offsets = np.frombuffer(chunk.buffers()[1], dtype=offset_type)[chunk.offset : chunk.offset + len(chunk) + 1]
    if (np.diff(offsets) != width).any():
        raise CorruptStateError(f"Column {column.name!r} has rows of differing size.")
    raw = np.frombuffer(chunk.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]].reshape(len(chunk), width)
    header = raw[:, : width - tensor.nbytes]
    if np.isfortran(tensor) or (header != header[0]).any():
        # Another memory order, in one row or in all: then each row is read for itself.
        return np.stack([np.load(io.BytesIO(item.as_py()), allow_pickle=False) for item in chunk])
    body: NDArray[Any] = np.ascontiguousarray(raw[:, width - tensor.nbytes :]).view(tensor.dtype)
    return np.reshape(body, (len(chunk), *column.shape))
