"""Arrow columns as Spark hands them over, turned into tensors; what is wrong with rows is counted, not raised."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_EXAMPLES = 5
_LARGEST = float(np.finfo(np.float32).max)


@dataclass
class Faults:
    """Rows of a column that cannot be used, by kind, with the positions of the first few."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[int]] = field(default_factory=dict)

    def add(self, kind: str, rows: NDArray[Any]) -> None:
        """Count these rows (positions in their partition)."""
        if len(rows):
            self.counts[kind] = self.counts.get(kind, 0) + len(rows)
            known = self.examples.setdefault(kind, [])
            known.extend(int(row) for row in rows[: _EXAMPLES - len(known)])

    def merge(self, other: Faults, shift: int = 0) -> None:
        """Take in those of another part, whose rows begin at `shift`."""
        for kind, count in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
            known = self.examples.setdefault(kind, [])
            known.extend(row + shift for row in other.examples[kind][: _EXAMPLES - len(known)])


@dataclass(frozen=True)
class Extracted:
    """A column of a batch: rows that are good (a mask), and their values, shape (n_good, ...)."""

    good: NDArray[np.bool_]
    values: NDArray[Any]


def extract(column: pa.Array, size: int | None, start: int, faults: Faults, *, label: bool) -> Extracted:
    """Turn a column of a batch into an array.

    Args:
        column: numbers, booleans, strings, lists of numbers, or binary tensors (NumPy's format, which Petastorm's
            NdarrayCodec and CompressedNdarrayCodec use; other bytes are rows of uint8).
        size: numbers that each row must have; None takes the first row's.
        start: position of the batch's first row in its partition.
        faults: where bad rows are counted.
        label: whether it is a label: scalars then keep their range as float64.
    """
    positions = np.arange(start, start + len(column))
    good = ~np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=bool)
    faults.add("null", positions[~good])
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _lists(column, good, size, positions, faults)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _binaries(column, good, positions, faults)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = np.asarray(column.to_pylist(), dtype=object)
        return Extracted(good, texts[good])
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    values = np.asarray(column.drop_null().to_numpy(zero_copy_only=False))
    return _finite(Extracted(good, values), positions, faults, wide=label)


def _lists(
    column: Any, good: NDArray[np.bool_], size: int | None, positions: NDArray[Any], faults: Faults
) -> Extracted:
    lengths = np.zeros(len(column), dtype=np.int64)
    lengths[good] = np.asarray(column.drop_null().value_lengths().to_numpy(zero_copy_only=False))
    empty = good & (lengths == 0)
    faults.add("no numbers", positions[empty])
    good = good & ~empty
    if size is None:
        size = int(lengths[good][0]) if good.any() else 1
    wrong = good & (lengths != size)
    faults.add(f"size is not {size}", positions[wrong])
    good = good & ~wrong
    flat = column.filter(pa.array(good)).flatten()
    if flat.null_count:
        holes = np.asarray(flat.is_null().to_numpy(zero_copy_only=False)).reshape(-1, size).any(axis=1)
        rows = np.flatnonzero(good)
        faults.add("null", positions[rows[holes]])
        good = good.copy()
        good[rows[holes]] = False
        flat = column.filter(pa.array(good)).flatten()
    values = np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(int(good.sum()), size)
    return _finite(Extracted(good, values), positions, faults)


def _binaries(column: Any, good: NDArray[np.bool_], positions: NDArray[Any], faults: Faults) -> Extracted:
    tensors: list[NDArray[Any]] = []
    good = good.copy()
    for row in np.flatnonzero(good):
        tensor = _tensor(column[int(row)].as_py())
        if tensor is None or not tensor.size or tensor.dtype.kind not in "biuf":
            faults.add("an encoded image or unknown bytes; decode it to numbers first", positions[row : row + 1])
            good[row] = False
        elif tensors and (tensor.shape, tensor.dtype) != (tensors[0].shape, tensors[0].dtype):
            expected = f"{tensors[0].dtype} of shape {tensors[0].shape}"
            faults.add(f"a tensor that is not {expected}", positions[row : row + 1])
            good[row] = False
        else:
            tensors.append(tensor)
    values = np.stack(tensors) if tensors else np.empty((0, 1), dtype=np.uint8)
    return _finite(Extracted(good, values), positions, faults)


def _tensor(data: bytes) -> NDArray[Any] | None:
    try:
        if data[:6] == b"\x93NUMPY":
            return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
        if data[:4] == b"PK\x03\x04":
            with np.load(io.BytesIO(data), allow_pickle=False) as members:
                return np.asarray(members[members.files[0]])
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error, KeyError, IndexError):
        return None
    if data[:4] == b"\x89PNG" or data[:3] == b"\xff\xd8\xff":
        return None
    return np.frombuffer(data, dtype=np.uint8)


def _finite(found: Extracted, positions: NDArray[Any], faults: Faults, *, wide: bool = False) -> Extracted:
    values = found.values
    if values.dtype.kind != "f" or not len(values):
        return found
    table = values.reshape(len(values), -1)
    fine = np.isfinite(table).all(axis=1)
    if not wide and table.dtype == np.float64:
        # They are stored as float32, which has no number as large.
        fine &= (np.abs(table) <= _LARGEST).all(axis=1)
    if fine.all():
        return found
    good = found.good.copy()
    rows = np.flatnonzero(good)
    faults.add("NaN or infinite", positions[rows[~fine]])
    good[rows[~fine]] = False
    return Extracted(good, values[fine])
