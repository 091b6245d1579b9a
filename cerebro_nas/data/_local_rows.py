"""A table in memory as the source of a data set: NumPy arrays and pandas frames need no Spark."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from cerebro_nas.data import _deal_locally
from cerebro_nas.data._rows import Rows
from cerebro_nas.data._stage import StagedPart
from cerebro_nas.data._stage import StagePlan
from cerebro_nas.data._stage import Stager
from cerebro_nas.data._write import ShardWriter
from cerebro_nas.data._write import WritePlan
from cerebro_nas.errors import DataError

if TYPE_CHECKING:
    from cerebro_nas.data._deal import Deal
    from cerebro_nas.storage import Store

_BATCH_BYTES = 16 << 20


class LocalRows(Rows):
    """The rows of an Arrow table.

    Args:
        table: one row per example; a column of tensors holds lists of one size, flattened row by row.
    """

    origin = "arrays"
    numbering = "row numbers count from 0, those of `validation_data` after the others"
    date_tools = 'pandas\' `.astype("int64")`, `.dt.year`, `.dt.dayofweek`'

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        # Looked up once for each column, of which there may be thousands.
        self._columns = list(table.column_names)
        self._types = dict(zip(self._columns, table.schema.types, strict=True))

    @property
    def columns(self) -> list[str]:
        return self._columns

    def kind(self, name: str) -> str:
        return _kind(self._types[name])

    def type_name(self, name: str) -> str:
        return str(self._types[name])

    def stage(self, plan: StagePlan) -> tuple[list[StagedPart], str]:
        batches = self._table.to_batches(max_chunksize=self._batch_rows())
        return [Stager(plan, 0).run(batches)], self.digest(plan.columns, plan.validation)

    def digest(self, columns: Sequence[str], validation: str | None) -> str:
        """SHA-256 of the rows in their order."""
        names = [*columns, *([] if validation is None else [validation])]
        found = hashlib.sha256()
        for batch in self._table.select(names).to_batches(max_chunksize=self._batch_rows()):
            sink = _Hashing(found)
            with pa.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_batch(batch)
        return f"{self._table.num_rows} rows {found.hexdigest()[:32]}"

    def write(
        self, store: Store, plan: WritePlan, parts: list[StagedPart], deal: Deal, *, staged_bytes: int, seed: int
    ) -> list[str]:
        if not -(2**63) <= seed < 2**63:
            raise DataError(f"`seed` must fit into 64 bits. Received: seed={seed}. Choose a smaller one.")
        names = [column.name for column in plan.columns]
        return list(ShardWriter(plan).run(_deal_locally.dealt(parts, deal, seed, names)))

    def _batch_rows(self) -> int:
        rows: int = max(1, _BATCH_BYTES * self._table.num_rows // max(1, self._table.nbytes))
        return rows


class _Hashing:
    """A file to which what is written goes into a hash."""

    closed = False

    def __init__(self, hashed: hashlib._Hash) -> None:
        self._hashed = hashed

    def write(self, data: bytes) -> int:
        """Take in these bytes."""
        self._hashed.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""


def _kind(data_type: pa.DataType) -> str:
    if pa.types.is_boolean(data_type):
        return "boolean"
    if pa.types.is_integer(data_type) or pa.types.is_floating(data_type) or pa.types.is_decimal(data_type):
        return "number"
    if pa.types.is_string(data_type) or pa.types.is_large_string(data_type):
        return "string"
    if pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type):
        return "binary"
    if pa.types.is_temporal(data_type):
        return "date"
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type) or pa.types.is_fixed_size_list(data_type):
        return "array" if _kind(data_type.value_type) in ("number", "boolean", "array") else "other"
    return "other"
