"""First pass over the rows, on the executors: rows become raw tensors on disk, and statistics come back.

Each partition writes one file into the staging directory and returns one row, so Spark computes the user's plan once.
A task that is tried again writes another file; only files that a successful task names are read.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cerebro_nas.data._faults import Faults
from cerebro_nas.data._summary import Classes
from cerebro_nas.data._summary import Moments
from cerebro_nas.data._summary import Words
from cerebro_nas.data._tensors import Extracted
from cerebro_nas.data._tensors import extract
from cerebro_nas.data._tensors import extract_texts
from cerebro_nas.data._tensors import extract_weights
from cerebro_nas.data._tensors import of_one_type
from cerebro_nas.worker import tokenize

# Words of a partition that the driver is told, the most frequent: half as many again as a column may have. What is
# frequent in all rows is frequent in their parts; more would be gigabytes where there are many columns and partitions.
_SENT_WORDS = {"category": 15_000, "text": 30_000}


@dataclass(frozen=True)
class StagePlan:
    """What the first pass does.

    Attributes:
        directory: staging directory.
        features: feature columns; `labels` label columns.
        validation: boolean column of validation rows, or None.
        seed: seed of the shuffle.
        shapes: shape of a row, by feature column, where the user gave it.
        uses: by feature column that is no tensor, what its values are: `"category"` or `"text"`.
        weight: column of sample weights, or None.
    """

    directory: str
    features: tuple[str, ...]
    labels: tuple[str, ...]
    validation: str | None
    seed: int
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    uses: dict[str, str] = field(default_factory=dict)
    weight: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Everything that becomes a column of the data set."""
        return (*self.features, *self.labels, *(() if self.weight is None else (self.weight,)))


@dataclass
class ColumnPart:
    """What a partition found out about a column.

    Attributes:
        shape: shape of a row as it came, None without rows.
        dtype: NumPy type of the staged numbers, `"str"` for strings.
        words: of a column of categories or texts.
        images: whether there were encoded images.
    """

    shape: tuple[int, ...] | None = None
    dtype: str = ""
    moments: Moments = field(default_factory=Moments)
    classes: Classes = field(default_factory=Classes)
    faults: Faults = field(default_factory=Faults)
    words: Words = field(default_factory=Words)
    images: bool = False

    def to_plain(self) -> dict[str, Any]:
        """As JSON values."""
        plain = asdict(self)
        # JSON keys are strings, labels need not be.
        plain["classes"]["counts"] = list(self.classes.counts.items())
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> ColumnPart:
        """From `to_plain`."""
        counts = {value: count for value, count in plain["classes"]["counts"]}
        return cls(
            shape=None if plain["shape"] is None else tuple(plain["shape"]),
            dtype=plain["dtype"],
            moments=Moments(**plain["moments"]),
            classes=Classes(counts, plain["classes"]["overflow"]),
            faults=Faults(**plain["faults"]),
            words=Words(**plain["words"]),
            images=plain["images"],
        )


@dataclass
class StagedPart:
    """What a partition wrote: rows of the training and of the validation split (all are training rows before the
    split is drawn), and what it found out.
    """

    partition: int
    path: str
    seen: int
    train: int
    valid: int
    columns: dict[str, ColumnPart]

    def to_json(self) -> str:
        """As text."""
        plain = {**self.__dict__, "columns": {name: part.to_plain() for name, part in self.columns.items()}}
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> StagedPart:
        """From `to_json`."""
        plain = json.loads(text)
        plain["columns"] = {name: ColumnPart.from_plain(part) for name, part in plain["columns"].items()}
        return cls(**plain)


class Stager:
    """Runs in an executor, over the batches of one partition."""

    def __init__(self, plan: StagePlan, partition: int) -> None:
        self._plan = plan
        self._columns = {name: ColumnPart() for name in plan.columns}
        path = Path(plan.directory) / f"part-{partition:06d}-{uuid.uuid4().hex}.parquet"
        self._part = StagedPart(partition, str(path), 0, 0, 0, self._columns)
        self._writer: pq.ParquetWriter | None = None
        self._batches = 0

    def run(self, batches: Iterable[pa.RecordBatch]) -> StagedPart:
        """Write all batches and return what was found."""
        try:
            for batch in batches:
                if batch.num_rows:
                    self._add(batch)
        finally:
            if self._writer is not None:
                self._writer.close()
        if self._writer is None:
            self._part.path = ""
        for name, use in self._plan.uses.items():
            self._columns[name].words.keep(_SENT_WORDS[use])
        return self._part

    def _add(self, batch: pa.RecordBatch) -> None:
        start = self._part.seen
        self._part.seen += batch.num_rows
        found = {}
        good = np.ones(batch.num_rows, dtype=bool)
        for name, part in self._columns.items():
            column = batch.column(batch.schema.get_field_index(name))
            extracted = found[name] = self._extract(name, column, start)
            part.images |= extracted.images
            good &= extracted.good
        rows = int(good.sum())
        if not rows:
            return
        order = np.random.default_rng([self._plan.seed, self._part.partition, self._batches]).permutation(rows)
        self._batches += 1
        arrays: dict[str, pa.Array] = {}
        for name, extracted in found.items():
            values = extracted.values[good[extracted.good]][order]
            arrays[name] = self._enter(name, values)
        arrays["__part"] = pa.array(np.full(rows, self._part.partition, dtype=np.int32))
        self._split(arrays, batch, good, order)
        self._write(pa.table(arrays))

    def _extract(self, name: str, column: pa.Array, start: int) -> Extracted:
        faults = self._columns[name].faults
        if name in self._plan.uses:
            return extract_texts(column, start, faults)
        if name == self._plan.weight:
            return extract_weights(column, start, faults)
        label = name in self._plan.labels
        given = name in self._plan.shapes
        found = extract(column, self._shape(name), start, faults, label=label, given=given)
        staged = "" if found.values.dtype == object else str(_staged(found.values[:1], label).dtype)
        return of_one_type(found, self._columns[name].dtype, staged, start, faults) if staged else found

    def _shape(self, name: str) -> tuple[int, ...] | None:
        """The shape that rows must have; None before there were any."""
        return self._plan.shapes.get(name) or self._columns[name].shape or None

    def _enter(self, name: str, values: NDArray[Any]) -> pa.Array:
        """Take up the statistics of a column's rows and give them as Arrow: raw bytes, or scalars as they are."""
        part = self._columns[name]
        label = name in self._plan.labels
        part.shape = tuple(values.shape[1:])
        if values.dtype == object:
            part.dtype = "str"
            use = self._plan.uses.get(name)
            if use is None:
                part.classes.add(values)
            else:
                part.words.add([tokenize(text) for text in values] if use == "text" else [[text] for text in values])
            return pa.array(values.tolist(), pa.string())
        values = _staged(values, label)
        part.dtype = str(np.promote_types(part.dtype, values.dtype)) if part.dtype else str(values.dtype)
        part.moments = part.moments.merge(Moments.of(values))
        if values.ndim == 1:
            if label:
                part.classes.add(values)
            return pa.array(values)
        return _raw(values)

    def _split(
        self, arrays: dict[str, pa.Array], batch: pa.RecordBatch, good: NDArray[Any], order: NDArray[Any]
    ) -> None:
        name = self._plan.validation
        if name is None:
            flags = np.zeros(len(order), dtype=bool)
        else:
            column = batch.column(batch.schema.get_field_index(name)).fill_null(False)
            flags = np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)[good][order]
        # Each split is numbered for itself, on from the batches before.
        index = np.where(flags, self._part.valid + np.cumsum(flags) - 1, self._part.train + np.cumsum(~flags) - 1)
        self._part.valid += int(flags.sum())
        self._part.train += int((~flags).sum())
        arrays["__valid"] = pa.array(flags)
        arrays["__idx"] = pa.array(index.astype(np.int64))

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._part.path, table.schema, compression="zstd")
        self._writer.write_table(table)


def _staged(values: NDArray[Any], label: bool) -> NDArray[Any]:
    """Numbers as they are staged: doubles of features as float32, which is what networks compute in."""
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        # A scalar label may be a large whole number that float32 cannot hold.
        return values.astype(np.float64 if label and values.ndim == 1 else np.float32)
    if values.dtype == np.uint64:
        # The largest of them are no int64.
        return values.astype(np.float64 if label and values.ndim == 1 else np.float32)
    return values.astype(np.uint8) if values.dtype == np.uint8 else values.astype(np.int64)


def _raw(values: NDArray[Any]) -> pa.Array:
    """Rows as binary of one size, without a copy."""
    values = np.ascontiguousarray(values)
    width = values.nbytes // len(values)
    offsets = np.arange(0, values.nbytes + 1, width, dtype=np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.large_binary(), len(values), buffers).cast(pa.binary())
