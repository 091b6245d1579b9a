"""From a DataFrame to shards in the store: a Spark job over the user's plan, and if it gave much, one over that."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.data import _deal
from cerebro_nas.data import _deal_locally
from cerebro_nas.data._check import check_arguments
from cerebro_nas.data._check import is_vector
from cerebro_nas.data._classes import warn_of_unseen
from cerebro_nas.data._digest import RowDigest
from cerebro_nas.data._digest import digest_of
from cerebro_nas.data._digest import row_hash
from cerebro_nas.data._prepared import fingerprint
from cerebro_nas.data._prepared import save_prepared
from cerebro_nas.data._prepared import schema_of
from cerebro_nas.data._stage import ColumnPart
from cerebro_nas.data._stage import StagedPart
from cerebro_nas.data._stage import StagePlan
from cerebro_nas.data._stage import Stager
from cerebro_nas.data._types import ColumnStatistics
from cerebro_nas.data._types import PreparedData
from cerebro_nas.data._unischema import petastorm_metadata
from cerebro_nas.data._write import ShardWriter
from cerebro_nas.data._write import WritePlan
from cerebro_nas.data._write import row_bytes
from cerebro_nas.errors import DataError
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import ShardSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column
    from pyspark.sql import DataFrame

    from cerebro_nas.storage import Store


@dataclass(frozen=True)
class _Merged:
    """What all partitions found out about a column; `sizes` gives the partitions' rows of each size."""

    name: str
    part: ColumnPart
    sizes: dict[int, int]
    types: tuple[str, ...]


def prepare_data(
    df: DataFrame,
    *,
    store: Store,
    name: str,
    feature_columns: Sequence[str],
    label_columns: Sequence[str],
    validation: float | str = 0.2,
    num_shards: int,
    input_shape: Sequence[int] | None = None,
    seed: int = 0,
) -> PreparedData:
    """Write a DataFrame as shards, shuffled, with statistics over all rows.

    The files are Parquet in Petastorm's format. Features are stored in the smallest type that keeps them: whole
    numbers from 0 to 255 as uint8, other numbers as float32 (integers that are no uint8 as int64).

    Args:
        df: one row per example.
        store: where to write; a data set of this name that is there already is replaced.
        name: name of the data set.
        feature_columns: numbers, Spark ML vectors, arrays of numbers, or binary tensors (Petastorm's NdarrayCodec).
        label_columns: numbers, strings, or vectors (one-hot, or several numbers to regress on).
        validation: fraction of the rows (at least one row is drawn), or a boolean column that marks them.
        num_shards: training shards; their sizes differ by one row at most.
        input_shape: shape of a row of the single feature column.
        seed: seed of the shuffle; same rows in the same partitions give the same shards.

    Returns:
        The description of what was written.

    Raises:
        DataError: columns, rows or values cannot be used; the message lists every problem.
        StoreError: the store cannot be written.
    """
    check_arguments(
        df,
        feature_columns=feature_columns,
        label_columns=label_columns,
        validation=validation,
        input_shape=input_shape,
        num_shards=num_shards,
    )
    url = store.data_url(name)
    if store.exists(url):
        # Foreign files there are refused now, and not after Spark has worked.
        store.create_owned(url, "data set")
    # Beside the data set, which stays until the rows are known to be good: `df` may even be read from it.
    staging = f"{url}.{uuid.uuid4().hex}"
    column = validation if isinstance(validation, str) else None
    plan = StagePlan(
        directory=staging,
        features=tuple(feature_columns),
        labels=tuple(label_columns),
        validation=column,
        size=None if input_shape is None else math.prod(input_shape),
        seed=seed,
    )
    settings: dict[str, Any] = {
        "feature_columns": list(feature_columns),
        "label_columns": list(label_columns),
        "validation": validation,
        "num_shards": num_shards,
        "input_shape": None if input_shape is None else list(input_shape),
        "seed": seed,
        "schema": schema_of(df, [*feature_columns, *label_columns]),
    }
    store.create_owned(staging, "data set being made")
    try:
        parts, settings["source"] = _stage(df, plan)
        return _finish(df, store, url, plan, parts, input_shape, settings)
    finally:
        store.delete_owned(staging)


def source_digest(
    df: DataFrame, *, feature_columns: Sequence[str], label_columns: Sequence[str], validation: float | str
) -> str:
    """Digest the rows that a data set would be made of, as `PreparedData.settings["source"]` has it.

    It does not depend on the order of the rows. One Spark job; nothing is written.
    """
    columns = [_plain(df, name) for name in (*feature_columns, *label_columns)]
    if isinstance(validation, str):
        columns.append(_named(validation))
    return str(digest_of(df, columns))


def _stage(df: DataFrame, plan: StagePlan) -> tuple[list[StagedPart], str]:
    """Write the rows as they come, and find out what is known of them all; also digest them."""
    names = [*plan.features, *plan.labels]
    columns = [_plain(df, name) for name in names]
    if plan.validation is not None:
        names.append("__is_valid")
        columns.append(_named(plan.validation))
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

    found = _numbered(df, columns).mapInArrow(run, "part string, rows long, xor long, total long").collect()
    digest = RowDigest()
    for row in found:
        digest.merge(RowDigest(row["rows"], row["xor"], row["total"]))
    parts = sorted((StagedPart.from_json(row["part"]) for row in found), key=lambda part: part.partition)
    return parts, str(digest)


def _digested(batches: Iterable[pa.RecordBatch], digest: RowDigest) -> Iterable[pa.RecordBatch]:
    """Batches without their last column, the hashes, which `digest` takes in."""
    for batch in batches:
        hashes = batch.num_columns - 1
        digest.add(batch.column(hashes).to_numpy(zero_copy_only=False))
        yield batch.select(list(range(hashes)))


def _plain(df: DataFrame, name: str) -> Column:
    """Vectors as arrays, which Arrow carries; everything else as it is."""
    column = _named(name)
    if not is_vector(df.schema[name].dataType):
        return column
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    # The conversion fails on null, where a null is to be counted.
    return F.when(column.isNotNull(), vector_to_array(column))


def _numbered(df: DataFrame, columns: Sequence[Column]) -> DataFrame:
    """Columns under plain names: PySpark's `mapInArrow` trips over dots in them."""
    return df.select(*[column.alias(f"c{number}") for number, column in enumerate(columns)])


def _renamed(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterable[pa.RecordBatch]:
    """Batches under their own names again."""
    import pyarrow as pa

    for batch in batches:
        yield pa.RecordBatch.from_arrays(batch.columns, names=list(names))


def _named(name: str) -> Column:
    """The column of this very name, dots included."""
    from pyspark.sql import functions as F

    return F.col("`" + name.replace("`", "``") + "`")


def _finish(
    df: DataFrame,
    store: Store,
    url: str,
    plan: StagePlan,
    parts: list[StagedPart],
    input_shape: Sequence[int] | None,
    settings: dict[str, Any],
) -> PreparedData:
    merged = [_merge(name, parts) for name in (*plan.features, *plan.labels)]
    train, valid = sum(part.train for part in parts), sum(part.valid for part in parts)
    _refuse_faults(merged, plan, sum(part.seen for part in parts), input_shape)
    columns = [_column(found, plan, input_shape) for found in merged]
    fraction = settings["validation"] if plan.validation is None else None
    _refuse_too_few(train, valid, fraction, settings["num_shards"])
    deal = _deal.make_deal(
        train, valid, fraction=fraction, num_shards=settings["num_shards"], row_bytes=sum(map(row_bytes, columns))
    )
    store.delete_owned(url)
    store.create_owned(url, "data set")
    staged = tuple(found.part.dtype for found in merged)
    write_plan = WritePlan(url, tuple(columns), staged, _shards(deal), tuple(plan.labels))
    try:
        written = _write(df, store, write_plan, [part for part in parts if part.path], deal, plan.seed)
        _write_metadata(store, url, columns, written)
        prepared = _describe(url, plan, merged, columns, written, settings)
        warn_of_unseen(plan.labels, prepared.statistics, written)
        save_prepared(store, prepared)
    except BaseException:
        store.delete_owned(url)
        raise
    return prepared


def _describe(
    url: str,
    plan: StagePlan,
    merged: list[_Merged],
    columns: list[ColumnSpec],
    written: list[dict[str, Any]],
    settings: dict[str, Any],
) -> PreparedData:
    shards = tuple(ShardSpec(w["split"], w["index"], w["path"], w["rows"], w["nbytes"], w["sha256"]) for w in written)
    count = len(plan.features)
    return PreparedData(
        url=url,
        fingerprint=fingerprint(settings["schema"], settings, [shard.sha256 for shard in shards]),
        features=tuple(columns[:count]),
        labels=tuple(columns[count:]),
        shards=shards,
        statistics={
            found.name: _statistics(found, column, label=number >= count)
            for number, (found, column) in enumerate(zip(merged, columns, strict=True))
        },
        settings=settings,
    )


def _write_metadata(store: Store, url: str, columns: list[ColumnSpec], written: list[dict[str, Any]]) -> None:
    """Make each split a data set that Petastorm opens."""
    import pyarrow.parquet as pq

    for split in ("train", "valid"):
        files = [w for w in written if w["split"] == split]
        schema = pq.read_schema(Path(url) / files[0]["path"])
        groups = {Path(w["path"]).name: w["row_groups"] for w in files}
        store.write_bytes(f"{url}/{split}/_common_metadata", petastorm_metadata(schema, columns, groups))


def _merge(name: str, parts: list[StagedPart]) -> _Merged:
    total = ColumnPart()
    sizes: dict[int, int] = {}
    types = set()
    seen = 0
    for part in parts:
        found = part.columns[name]
        total.faults.merge(found.faults, seen)
        seen += part.seen
        if found.shape is None:
            continue
        size = math.prod(found.shape)
        sizes[size] = sizes.get(size, 0) + part.train + part.valid
        types.add(found.dtype)
        total.shape, total.dtype = found.shape, found.dtype
        if len(sizes) == 1 and found.dtype != "str":
            total.moments = total.moments.merge(found.moments)
        total.classes = total.classes.merge(found.classes)
    return _Merged(name, total, dict(sorted(sizes.items())), tuple(sorted(types)))


def _refuse_faults(merged: list[_Merged], plan: StagePlan, rows: int, input_shape: Sequence[int] | None) -> None:
    if rows == 0:
        raise DataError("The DataFrame must have rows. Received: 0 rows. Check the filters that made it.")
    problems = []
    for found in merged:
        for kind, count in found.part.faults.counts.items():
            text = f"column {found.name!r}: {kind} in {count} of {rows} rows"
            if kind.startswith("size is not") and found.name in plan.features and input_shape is not None:
                text += f" (input_shape={tuple(input_shape)} asks for that size)"
            problems.append(f"{text}, for example rows {found.part.faults.examples[kind]}")
        if len(found.sizes) > 1:
            problems.append(
                f"column {found.name!r}: rows of differing size, {list(found.sizes)}, in {_counts(found)} rows"
            )
        if len(found.types) > 1:
            problems.append(f"column {found.name!r}: rows of differing type, {list(found.types)}")
        if input_shape is not None and found.name in plan.features and len(found.sizes) == 1:
            size = math.prod(input_shape)
            (has,) = found.sizes
            if has != size:
                problems.append(
                    f"column {found.name!r}: {has} numbers a row, where input_shape="
                    f"{tuple(input_shape)} asks for {size}"
                )
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise DataError(
            f"The data cannot be used:\n{listed}\nReceived: a DataFrame of {rows} rows. Clean or drop those rows "
            "(row numbers count in the order of the DataFrame's partitions)."
        )


def _counts(found: _Merged) -> str:
    return " and ".join(f"{rows}" for rows in found.sizes.values())


def _refuse_too_few(train: int, valid: int, fraction: float | None, num_shards: int) -> None:
    drawn = max(1, round(train * fraction)) if fraction is not None else 0
    if train - drawn < num_shards or valid + drawn < 1:
        raise DataError(
            f"There must be at least one training row for each of the {num_shards} shards and one validation row. "
            f"Received: {train - drawn} training and {valid + drawn} validation rows. Use fewer workers, or more rows."
        )


def _column(found: _Merged, plan: StagePlan, input_shape: Sequence[int] | None) -> ColumnSpec:
    part, label = found.part, found.name in plan.labels
    shape = part.shape or ()
    if not label and input_shape is not None:
        shape = tuple(int(n) for n in input_shape)
    encoding = "scalar" if not shape else "list" if len(shape) == 1 else "npy"
    return ColumnSpec(found.name, shape, _smallest(part, label and not shape), encoding)


def _smallest(part: ColumnPart, scalar_label: bool) -> str:
    """The smallest type that keeps the numbers."""
    if part.dtype == "str":
        return "str"
    moments = part.moments
    if scalar_label:
        return (
            "int64" if moments.integral and abs(moments.maximum) < 2**53 and abs(moments.minimum) < 2**53 else "float64"
        )
    if moments.integral and moments.minimum >= 0 and moments.maximum <= 255:
        return "uint8"
    return "float32" if part.dtype.startswith("float") else part.dtype


def _statistics(found: _Merged, column: ColumnSpec, label: bool) -> ColumnStatistics:
    part, moments = found.part, found.part.moments
    if part.dtype == "str":
        classes = part.classes.sorted()
        rows = sum(count for _, count in classes)
        return ColumnStatistics(column.name, rows, 0, None, None, (), (), *_unzip(classes))
    classes = [(_label(value, column), count) for value, count in part.classes.sorted()] if label else []
    if column.dtype == "float64":
        # Numbers to regress on.
        classes = []
    if label and column.shape and moments.onehot:
        classes = [(index, round(count)) for index, count in enumerate(moments.sums)]
    mean, variance = _per_last_axis(moments.mean, moments.variance, column.shape)
    return ColumnStatistics(
        column.name, moments.rows, 0, moments.minimum, moments.maximum, mean, variance, *_unzip(classes)
    )


def _per_last_axis(
    mean: list[float], variance: tuple[float, ...], shape: tuple[int, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Statistics of flat rows (h*w*c) as statistics of the last axis (c): the law of total variance."""
    if len(shape) < 2 or len(mean) == shape[-1]:
        return tuple(float(m) for m in mean), variance
    means = np.asarray(mean).reshape(-1, shape[-1])
    inner = np.asarray(variance).reshape(-1, shape[-1])
    return tuple(means.mean(axis=0).tolist()), tuple((inner.mean(axis=0) + means.var(axis=0)).tolist())


def _label(value: Any, column: ColumnSpec) -> Any:
    return int(value) if column.dtype == "int64" else value


def _unzip(classes: list[tuple[Any, int]]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    return tuple(value for value, _ in classes), tuple(count for _, count in classes)


def _shards(deal: _deal.Deal) -> tuple[tuple[str, int, int], ...]:
    counts = {"train": deal.train_shards, "valid": deal.valid_shards}
    return tuple((split, i, deal.size(split, i)) for split, count in counts.items() for i in range(count))


def _write(
    df: DataFrame, store: Store, plan: WritePlan, parts: list[StagedPart], deal: _deal.Deal, seed: int
) -> list[dict[str, Any]]:
    staged_types = zip(plan.columns, plan.staged, strict=True)
    staged_bytes = sum(row_bytes(replace(column, dtype=dtype)) for column, dtype in staged_types)
    if _deal_locally.is_small(deal, staged_bytes, seed):
        names = [column.name for column in plan.columns]
        return _checked(ShardWriter(plan).run(_deal_locally.dealt(parts, deal, seed, names)), plan.shards)
    staged = df.sparkSession.read.parquet(*[store.spark_url(part.path) for part in parts])
    return _checked(_write_by_spark(_deal.assign(staged, parts, deal, seed), plan), plan.shards)


def _write_by_spark(dealt: DataFrame, plan: WritePlan) -> list[str]:
    names = [*(column.name for column in plan.columns), "__shard"]

    def run(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        import pyarrow as pa

        for text in ShardWriter(plan).run(_renamed(batches, names)):
            yield pa.RecordBatch.from_pydict({"shard": [text]})

    ordered = dealt.repartition(len(plan.shards), "__shard").sortWithinPartitions("__shard", "__key")
    rows = _numbered(ordered, [_named(name) for name in names]).mapInArrow(run, "shard string").collect()
    return [row["shard"] for row in rows]


def _checked(texts: Iterable[str], shards: tuple[tuple[str, int, int], ...]) -> list[dict[str, Any]]:
    """What was written, in the order of the shards that were dealt."""
    order = {(split, index): number for number, (split, index, _) in enumerate(shards)}
    written = sorted(map(json.loads, texts), key=lambda w: order[w["split"], w["index"]])
    found = tuple((w["split"], w["index"], w["rows"]) for w in written)
    if found != shards:
        raise DataError(
            f"The DataFrame must give the same rows each time. Received: shards {list(found)} where {list(shards)} "
            "were dealt. Write it to a table first."
        )
    return written
