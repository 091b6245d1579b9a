"""A Spark DataFrame as the source of a data set: one job over the user's plan, and one over what that staged."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.data import _deal
from cerebro_nas.data import _deal_locally
from cerebro_nas.data._digest import RowDigest
from cerebro_nas.data._digest import digest_of
from cerebro_nas.data._digest import row_hash
from cerebro_nas.data._rows import Rows
from cerebro_nas.data._stage import StagedPart
from cerebro_nas.data._stage import StagePlan
from cerebro_nas.data._stage import Stager
from cerebro_nas.data._write import ShardWriter
from cerebro_nas.data._write import WritePlan

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

    from cerebro_nas.storage import Store

_NUMBERS = ("ByteType", "ShortType", "IntegerType", "LongType", "FloatType", "DoubleType", "DecimalType")
_PLAIN = {
    **dict.fromkeys(_NUMBERS, "number"),
    "BooleanType": "boolean",
    "StringType": "string",
    "CharType": "string",
    "VarcharType": "string",
    "VectorUDT": "vector",
    "BinaryType": "binary",
    **dict.fromkeys(("DateType", "TimestampType", "TimestampNTZType"), "date"),
}
# What `spark.read.format("image")` gives.
_IMAGE_FIELDS = {"origin", "height", "width", "nChannels", "mode", "data"}


class SparkRows(Rows):
    """The rows of a DataFrame. Nothing is computed before `stage` or `digest`."""

    def __init__(self, df: DataFrame) -> None:
        self._df = df

    @property
    def columns(self) -> list[str]:
        return self._names

    def kind(self, name: str) -> str:
        return _kind(self._types[name])

    def type_name(self, name: str) -> str:
        return str(self._types[name].simpleString())

    def stage(self, plan: StagePlan) -> tuple[list[StagedPart], str]:
        """One job over the user's plan, which is computed once."""
        names = list(plan.columns)
        columns = [self._plain(name) for name in names]
        if plan.validation is not None:
            names.append("__is_valid")
            columns.append(named(plan.validation))
            plan = replace(plan, validation="__is_valid")
        columns.append(row_hash(columns))

        def run(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
            import pyarrow as pa
            from pyspark import TaskContext

            context = TaskContext.get()
            digest = RowDigest()
            rows = _renamed(_digested(batches, digest), names)
            part = Stager(plan, context.partitionId() if context is not None else 0).run(rows)
            seen = {"rows": [digest.rows], "xor": [digest.xor], "total": [digest.total]}
            yield pa.RecordBatch.from_pydict({"part": [part.to_json()], **seen})

        found = _numbered(self._df, columns).mapInArrow(run, "part string, rows long, xor long, total long").collect()
        digest = RowDigest()
        for row in found:
            digest.merge(RowDigest(row["rows"], row["xor"], row["total"]))
        parts = sorted((StagedPart.from_json(row["part"]) for row in found), key=lambda part: part.partition)
        return parts, str(digest)

    def digest(self, columns: Sequence[str], validation: str | None) -> str:
        """One job, which reads everything and keeps nothing; it does not depend on the order of the rows."""
        plain = [self._plain(name) for name in columns]
        return str(digest_of(self._df, plain if validation is None else [*plain, named(validation)]))

    def write(
        self, store: Store, plan: WritePlan, parts: list[StagedPart], deal: _deal.Deal, *, staged_bytes: int, seed: int
    ) -> list[str]:
        """On the driver if it is little, else one job."""
        if _deal_locally.is_small(deal, staged_bytes, seed):
            names = [column.name for column in plan.columns]
            return list(ShardWriter(plan).run(_deal_locally.dealt(parts, deal, seed, names)))
        staged = self._df.sparkSession.read.parquet(*[store.spark_url(part.path) for part in parts])
        return _write_by_spark(_deal.assign(staged, parts, deal, seed), plan)

    # Looked up once for each column, of which there may be thousands.

    @functools.cached_property
    def _names(self) -> list[str]:
        return [field.name for field in self._df.schema]

    @functools.cached_property
    def _types(self) -> dict[str, DataType]:
        return {field.name: field.dataType for field in self._df.schema}

    def _plain(self, name: str) -> Column:
        """Vectors as arrays, which Arrow carries; everything else as it is."""
        column = named(name)
        if self.kind(name) != "vector":
            return column
        from pyspark.ml.functions import vector_to_array
        from pyspark.sql import functions as F

        # The conversion fails on null, where a null is to be counted.
        return F.when(column.isNotNull(), vector_to_array(column))


def named(name: str) -> Column:
    """The column of this very name, dots included."""
    from pyspark.sql import functions as F

    return F.col("`" + name.replace("`", "``") + "`")


def _kind(data_type: DataType) -> str:
    name = type(data_type).__name__
    if name == "ArrayType":
        inner = _kind(data_type.elementType)  # type: ignore[attr-defined]
        return "array" if inner in ("number", "boolean", "array") else "other"
    if name == "StructType":
        return "image" if set(data_type.fieldNames()) == _IMAGE_FIELDS else "other"  # type: ignore[attr-defined]
    return _PLAIN.get(name, "other")


def _digested(batches: Iterable[pa.RecordBatch], digest: RowDigest) -> Iterable[pa.RecordBatch]:
    """Batches without their last column, the hashes, which `digest` takes in."""
    for batch in batches:
        hashes = batch.num_columns - 1
        digest.add(batch.column(hashes).to_numpy(zero_copy_only=False))
        yield batch.select(list(range(hashes)))


def _numbered(df: DataFrame, columns: Sequence[Column]) -> DataFrame:
    """Columns under plain names: PySpark's `mapInArrow` trips over dots in them."""
    return df.select(*[column.alias(f"c{number}") for number, column in enumerate(columns)])


def _renamed(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterable[pa.RecordBatch]:
    """Batches under their own names again."""
    import pyarrow as pa

    for batch in batches:
        yield pa.RecordBatch.from_arrays(batch.columns, names=list(names))


def _write_by_spark(dealt: DataFrame, plan: WritePlan) -> list[str]:
    names = [*(column.name for column in plan.columns), "__shard"]

    def run(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        import pyarrow as pa

        for text in ShardWriter(plan).run(_renamed(batches, names)):
            yield pa.RecordBatch.from_pydict({"shard": [text]})

    ordered = dealt.repartition(len(plan.shards), "__shard").sortWithinPartitions("__shard", "__key")
    rows: list[Any] = _numbered(ordered, [named(name) for name in names]).mapInArrow(run, "shard string").collect()
    return [row["shard"] for row in rows]
