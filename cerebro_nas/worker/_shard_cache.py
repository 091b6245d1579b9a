"""Shards as tensors: decoded once, kept as memory-mapped files, and in memory as far as the budget goes."""

from __future__ import annotations

import mmap
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Used by `read_shard_pieces`, which imports them late: here they load while the worker waits for its search.
import pyarrow.compute  # noqa: F401
import pyarrow.parquet  # noqa: F401
import tensorflow as tf
from numpy.typing import NDArray

from cerebro_nas.errors import DataError
from cerebro_nas.storage import read_shard_pieces
from cerebro_nas.worker._mapped_rows import take_rows
from cerebro_nas.worker._spec import ColumnSpec
from cerebro_nas.worker._spec import SearchSpec
from cerebro_nas.worker._spec import ShardSpec

_ASSEMBLED_ROWS = 2048


@dataclass(frozen=True)
class Tensors:
    """Inputs and targets of a shard, memory-mapped: one array per input or output, n rows each.

    Where rows have weights, they come last among the targets, float32 of shape (n,).
    """

    inputs: tuple[NDArray[Any], ...]
    targets: tuple[NDArray[Any], ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.inputs[0])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(array.nbytes for array in (*self.inputs, *self.targets))

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in memory; at least 1."""
        return max(1, self.nbytes // max(1, self.rows))

    def take(self, rows: NDArray[np.int32]) -> Tensors:
        """The given rows, copied."""
        return Tensors(tuple(take_rows(x, rows) for x in self.inputs), tuple(take_rows(y, rows) for y in self.targets))


class ShardCache:
    """The shards that a worker has met.

    Args:
        search: says where shards are and how columns become inputs and targets.
        scratch: directory for the decoded files.
        budget: bytes of shards that are kept as tensors in memory; the least recently used go first.
    """

    def __init__(self, search: SearchSpec, scratch: Path, budget: int) -> None:
        self._search = search
        self._scratch = scratch
        self._budget = budget
        self._specs = {(spec.split, spec.index): spec for spec in search.shards}
        self._mapped: dict[tuple[str, int], Tensors] = {}
        self._resident: OrderedDict[tuple[str, int], tuple[tuple[Any, ...], tuple[Any, ...]]] = OrderedDict()

    def held(self) -> list[tuple[str, int]]:
        """Shards that are decoded, as (split, index)."""
        return sorted(self._mapped)

    def load(self, split: str, index: int) -> Tensors:
        """Decode a shard unless that was done already.

        Raises:
            StoreError: it cannot be read.
            DataError: it holds labels that are none of the classes.
        """
        key = (split, index)
        if key not in self._mapped:
            self._mapped[key] = self._decode(self._specs[key])
        return self._mapped[key]

    def resident(self, split: str, index: int) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
        """The shard as tensors in memory; None if it is larger than the budget."""
        key = (split, index)
        if key in self._resident:
            self._resident.move_to_end(key)
            return self._resident[key]
        tensors = self.load(split, index)
        if tensors.nbytes > self._budget:
            return None
        while self._resident and self._resident_bytes() + tensors.nbytes > self._budget:
            self._resident.popitem(last=False)
        found = tuple(map(tf.constant, tensors.inputs)), tuple(map(tf.constant, tensors.targets))
        for array in (*tensors.inputs, *tensors.targets):
            # The tensor is a copy: the file's pages need not stay in this process as well.
            _release_pages(array)
        self._resident[key] = found
        return found

    def _resident_bytes(self) -> int:
        return sum(self._mapped[key].nbytes for key in self._resident)

    def _decode(self, spec: ShardSpec) -> Tensors:
        search = self._search
        columns = {column.name: column for group in search.features for column in group}
        columns.update({column.name: column for column in search.labels})
        if search.weights is not None:
            columns[search.weights.name] = search.weights
        decoded = _Decoded(self._scratch / f"{spec.split}-{spec.index:05d}", spec.rows)
        for found in read_shard_pieces(search.data_url, spec, list(columns.values())):
            inputs = [_assemble(group, found) for group in search.features]
            targets = [
                encode_targets(found[column.name], target)
                for column, target in zip(search.labels, search.targets, strict=True)
            ]
            decoded.add([*inputs, *targets, *_weights(search, found, train=spec.split == "train")])
        return decoded.tensors(len(search.features))


class _Decoded:
    """The arrays of a shard, written to files piece by piece."""

    def __init__(self, stem: Path, rows: int) -> None:
        self._stem = stem
        self._rows = rows
        self._done = 0
        self._arrays: list[NDArray[Any]] = []

    def add(self, pieces: list[NDArray[Any]]) -> None:
        if not self._arrays:
            self._arrays = [self._open(number, piece) for number, piece in enumerate(pieces)]
        count = len(pieces[0])
        for array, piece in zip(self._arrays, pieces, strict=True):
            array[self._done : self._done + count] = piece
        self._done += count

    def tensors(self, inputs: int) -> Tensors:
        """What was written, the first `inputs` arrays being inputs."""
        for array in self._arrays:
            array.flags.writeable = False
        return Tensors(tuple(self._arrays[:inputs]), tuple(self._arrays[inputs:]))

    def _open(self, number: int, piece: NDArray[Any]) -> NDArray[Any]:
        path = self._stem.with_name(f"{self._stem.name}-{number}.npy")
        shape = (self._rows, *piece.shape[1:])
        return np.lib.format.open_memmap(path, mode="w+", dtype=piece.dtype, shape=shape)


def _release_pages(array: NDArray[Any]) -> None:
    pages: Any = array.base
    if isinstance(pages, mmap.mmap) and sys.platform.startswith("linux"):
        pages.madvise(mmap.MADV_DONTNEED)


def is_weighted(search: SearchSpec) -> bool:
    """Whether rows have weights."""
    return search.weights is not None or any("weights" in target for target in search.targets)


def _weights(search: SearchSpec, found: dict[str, NDArray[Any]], *, train: bool) -> list[NDArray[np.float32]]:
    """The weights of rows, if they have any: those of their own times, in training, those of their classes."""
    if not is_weighted(search):
        return []
    weights = np.ones(len(next(iter(found.values()))), dtype=np.float32)
    if search.weights is not None:
        weights *= found[search.weights.name]
    for column, target in zip(search.labels, search.targets, strict=True):
        if train and "weights" in target:
            weights *= np.asarray(target["weights"], dtype=np.float32)[_positions(found[column.name], target)]
    return [weights]


def encode_targets(labels: NDArray[Any], target: dict[str, Any]) -> NDArray[np.float32]:
    """Turn stored labels into targets, float32 of shape (n, k) (see `SearchSpec.targets`).

    Raises:
        DataError: a label is none of the classes.
    """
    if target["kind"] == "values":
        return np.ascontiguousarray(labels.reshape(len(labels), -1), dtype=np.float32)
    positions = _positions(labels, target)
    if target["as"] == "binary":
        return positions.astype(np.float32).reshape(-1, 1)
    return np.eye(len(target["classes"]), dtype=np.float32)[positions]


def _positions(labels: NDArray[Any], target: dict[str, Any]) -> NDArray[np.intp]:
    """Positions of labels among the classes, or of the largest element of rows that are encoded already."""
    if labels.ndim > 1 and labels.shape[-1] == 1:
        single: NDArray[np.intp] = (labels.reshape(len(labels)) > 0.5).astype(np.intp)
        return single
    if labels.ndim > 1:
        found: NDArray[np.intp] = labels.reshape(len(labels), -1).argmax(axis=1)
        return found
    classes = np.asarray(target["classes"], dtype=object if labels.dtype == object else None)
    positions = np.searchsorted(classes, labels)
    known = classes[np.minimum(positions, len(classes) - 1)] == labels
    if not known.all():
        unknown = sorted({str(label) for label in labels[~known].tolist()})[:10]
        raise DataError(f"Labels {unknown} of a shard are none of the classes. Prepare the data anew.")
    return positions


def chunks(order: NDArray[np.int32], batch_size: int, row_bytes: int, budget: int) -> Iterator[NDArray[np.int32]]:
    """Cut an order of rows into pieces of whole batches that fit into `budget` bytes each."""
    size = max(1, budget // row_bytes // batch_size) * batch_size
    for begin in range(0, len(order), size):
        yield order[begin : begin + size]


def _assemble(group: tuple[ColumnSpec, ...], columns: dict[str, NDArray[Any]]) -> NDArray[Any]:
    if len(group) == 1 and group[0].shape:
        return columns[group[0].name]
    stacked = np.empty((len(columns[group[0].name]), len(group)), np.float32)
    # Rows at a time, so that the columns' parts and the part that they fill fit into the processor's cache.
    for begin in range(0, len(stacked), _ASSEMBLED_ROWS):
        rows = slice(begin, begin + _ASSEMBLED_ROWS)
        for number, column in enumerate(group):
            stacked[rows, number] = columns[column.name][rows]
    return stacked
