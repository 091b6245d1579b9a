"""From a DataFrame to shards in the store: a Spark job over the user's plan, and if it gave much, one over that."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.data import _deal
from cerebro_nas.data._check import check_arguments
from cerebro_nas.data._classes import warn_of_unseen
from cerebro_nas.data._column import column_of
from cerebro_nas.data._column import statistics_of
from cerebro_nas.data._prepared import fingerprint
from cerebro_nas.data._prepared import save_prepared
from cerebro_nas.data._rows import Rows
from cerebro_nas.data._sources import rows_of
from cerebro_nas.data._stage import ColumnPart
from cerebro_nas.data._stage import StagedPart
from cerebro_nas.data._stage import StagePlan
from cerebro_nas.data._types import PreparedData
from cerebro_nas.data._types import Shapes
from cerebro_nas.data._types import plain_shapes
from cerebro_nas.data._unischema import petastorm_metadata
from cerebro_nas.data._write import WritePlan
from cerebro_nas.data._write import row_bytes
from cerebro_nas.errors import DataError
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import ShardSpec

if TYPE_CHECKING:
    from cerebro_nas.storage import Store

_Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Merged:
    """What all partitions found out about a column; `sizes` gives the partitions' rows of each size."""

    name: str
    part: ColumnPart
    sizes: dict[int, int]
    types: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]


def prepare_data(
    data: Any,
    *,
    store: Store,
    name: str,
    feature_columns: Sequence[str],
    label_columns: Sequence[str],
    validation: float | str = 0.2,
    num_shards: int,
    input_shape: Shapes = None,
    seed: int = 0,
    uses: Mapping[str, str] | None = None,
    weight_column: str | None = None,
    number_labels: Collection[str] = (),
    arrays: Sequence[Sequence[str]] | None = None,
) -> PreparedData:
    """Write rows as shards, shuffled, with statistics over all of them.

    The files are Parquet in Petastorm's format. Features are stored in the smallest type that keeps them: whole
    numbers from 0 to 255 as uint8, other numbers as float32 (integers that are no uint8 as int64). Categories, texts
    and pictures are encoded here, once: the data set holds numbers only.

    Args:
        data: a Spark DataFrame or `LocalRows`, one row per example.
        store: where to write; a data set of this name that is there already is replaced.
        name: name of the data set.
        feature_columns: numbers, booleans, Spark ML vectors, (nested) arrays of numbers, binary tensors (Petastorm's
            NdarrayCodec), pictures (PNG or JPEG files, Spark's `image` structs); strings for those in `uses`.
        label_columns: numbers, strings, or vectors (one-hot, or several numbers to regress on).
        validation: fraction of the rows (at least one row is drawn), or a boolean column that marks them.
        num_shards: training shards; their sizes differ by one row at most.
        input_shape: shape of a row of the single feature column, or shapes by column.
        seed: seed of the shuffle; same rows in the same partitions give the same shards.
        uses: by feature column that is no tensor, what its values are: `"category"` or `"text"`.
        weight_column: column of sample weights, numbers of 0 or more.
        number_labels: label columns whose values are no classes, even if they are whole numbers.
        arrays: where the rows were made of arrays, the columns that each of them became; it is kept for who goes on
            with the data set and knows of no columns.

    Returns:
        The description of what was written.

    Raises:
        DataError: columns, rows or values cannot be used; the message lists every problem.
        StoreError: the store cannot be written.
    """
    rows = rows_of(data)
    columns = {"feature_columns": list(feature_columns), "label_columns": list(label_columns)}
    asked: dict[str, Any] = {**columns, "validation": validation, "num_shards": num_shards}
    check_arguments(rows, **asked, input_shape=input_shape, uses=uses, weight_column=weight_column)
    url = store.data_url(name)
    if store.exists(url):
        # Foreign files there are refused now, and not after Spark has worked.
        store.create_owned(url, "data set")
    shapes = shapes_by_column(input_shape, feature_columns)
    # Beside the data set, which stays until the rows are known to be good: `data` may even be read from it.
    staging = f"{url}.{uuid.uuid4().hex}"
    plan = StagePlan(
        directory=staging,
        features=tuple(feature_columns),
        labels=tuple(label_columns),
        validation=validation if isinstance(validation, str) else None,
        seed=seed,
        shapes=shapes,
        uses=dict(uses or {}),
        weight=weight_column,
    )
    settings = {**asked, "input_shape": plain_shapes(input_shape), "seed": seed}
    settings |= {"uses": dict(uses or {}), "weight_column": weight_column}
    if arrays is not None:
        settings["arrays"] = [list(group) for group in arrays]
    settings["schema"] = rows.schema_of(plan.columns)
    store.create_owned(staging, "data set being made")
    try:
        parts, settings["source"] = rows.stage(plan)
        return _finish(rows, store, url, plan, parts, settings, number_labels)
    finally:
        store.delete_owned(staging)


def source_digest(
    data: Any,
    *,
    feature_columns: Sequence[str],
    label_columns: Sequence[str],
    validation: float | str,
    weight_column: str | None = None,
) -> str:
    """Digest the rows that a data set would be made of, as `PreparedData.settings["source"]` has it.

    Of a DataFrame it does not depend on the order of the rows. One Spark job; nothing is written.
    """
    columns = [*feature_columns, *label_columns, *([] if weight_column is None else [weight_column])]
    return rows_of(data).digest(columns, validation if isinstance(validation, str) else None)


def shapes_by_column(input_shape: Shapes, feature_columns: Sequence[str]) -> _Shapes:
    """The shapes that the user gave, by column."""
    if input_shape is None:
        return {}
    given = input_shape if isinstance(input_shape, Mapping) else {feature_columns[0]: input_shape}
    return {name: tuple(int(size) for size in shape) for name, shape in given.items()}


def _finish(
    rows: Rows,
    store: Store,
    url: str,
    plan: StagePlan,
    parts: list[StagedPart],
    settings: dict[str, Any],
    number_labels: Collection[str],
) -> PreparedData:
    merged = [_merge(name, parts) for name in plan.columns]
    train, valid = sum(part.train for part in parts), sum(part.valid for part in parts)
    _refuse_faults(merged, plan, rows, sum(part.seen for part in parts))
    columns = [column_of(found.name, found.part, plan) for found in merged]
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
        written = _write(rows, store, write_plan, [part for part in parts if part.path], deal, plan.seed)
        _write_metadata(store, url, columns, written)
        prepared = _describe(url, plan, merged, columns, written, settings)
        warn_of_unseen([name for name in plan.labels if name not in number_labels], prepared.statistics, written)
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
    features, labels = len(plan.features), len(plan.features) + len(plan.labels)
    return PreparedData(
        url=url,
        fingerprint=fingerprint(settings["schema"], settings, [shard.sha256 for shard in shards]),
        features=tuple(columns[:features]),
        labels=tuple(columns[features:labels]),
        shards=shards,
        statistics={
            found.name: statistics_of(found.part, column, label=features <= number < labels)
            for number, (found, column) in enumerate(zip(merged, columns, strict=True))
        },
        settings=settings,
        weights=columns[labels] if plan.weight is not None else None,
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
    types, shapes = set(), set()
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
        shapes.add(found.shape)
        total.shape, total.dtype, total.images = found.shape, found.dtype, total.images or found.images
        if len(shapes) == 1 and found.dtype != "str":
            total.moments = total.moments.merge(found.moments)
        total.classes = total.classes.merge(found.classes)
        total.words = total.words.merge(found.words)
    return _Merged(name, total, dict(sorted(sizes.items())), tuple(sorted(types)), tuple(sorted(shapes)))


def _refuse_faults(merged: list[_Merged], plan: StagePlan, rows: Rows, count: int) -> None:
    if count == 0:
        raise DataError(f"There must be rows. Received: {rows.origin} of 0 rows. Check the filters that made it.")
    problems = [problem for found in merged for problem in _faults_of(found, plan.shapes.get(found.name), count)]
    weightless = [found.name for found in merged if found.name == plan.weight and found.part.moments.maximum == 0]
    problems += [f"column {name!r}: all weights are 0, so that there is nothing to learn from" for name in weightless]
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise DataError(
            f"The data cannot be used:\n{listed}\nReceived: {rows.origin} of {count} rows. Clean or drop those rows "
            f"({rows.numbering})."
        )


def _faults_of(found: _Merged, shape: tuple[int, ...] | None, rows: int) -> list[str]:
    problems = []
    for kind in found.part.faults.counts:
        asked = kind.startswith("size is not") and shape is not None
        hint = f" (input_shape={shape} asks for that size)" if asked else ""
        problems.append(found.part.faults.told(found.name, kind, rows, hint))
    if len(found.sizes) > 1:
        problems.append(f"column {found.name!r}: rows of differing size, {list(found.sizes)}, in {_counts(found)} rows")
    elif len(found.shapes) > 1:
        problems.append(f"column {found.name!r}: rows of differing shape, {list(found.shapes)}")
    if len(found.types) > 1:
        problems.append(f"column {found.name!r}: rows of differing type, {list(found.types)}")
    if shape is not None and len(found.sizes) == 1:
        size = math.prod(shape)
        (has,) = found.sizes
        if has != size:
            problems.append(f"column {found.name!r}: {has} numbers a row, where input_shape={shape} asks for {size}")
    return problems


def _counts(found: _Merged) -> str:
    return " and ".join(f"{rows}" for rows in found.sizes.values())


def _refuse_too_few(train: int, valid: int, fraction: float | None, num_shards: int) -> None:
    drawn = max(1, round(train * fraction)) if fraction is not None else 0
    if train - drawn < num_shards or valid + drawn < 1:
        advice = "Use fewer workers, or more rows."
        if fraction is None:
            advice = "Mark other rows in the column that `validation` names, or use fewer workers or more rows."
        raise DataError(
            f"There must be at least one training row for each of the {num_shards} shards and one validation row. "
            f"Received: {train - drawn} training and {valid + drawn} validation rows. {advice}"
        )


def _shards(deal: _deal.Deal) -> tuple[tuple[str, int, int], ...]:
    counts = {"train": deal.train_shards, "valid": deal.valid_shards}
    return tuple((split, i, deal.size(split, i)) for split, count in counts.items() for i in range(count))


def _write(
    rows: Rows, store: Store, plan: WritePlan, parts: list[StagedPart], deal: _deal.Deal, seed: int
) -> list[dict[str, Any]]:
    staged_types = zip(plan.columns, plan.staged, strict=True)
    staged_bytes = sum(row_bytes(replace(column, dtype=dtype)) for column, dtype in staged_types)
    return _checked(rows.write(store, plan, parts, deal, staged_bytes=staged_bytes, seed=seed), plan.shards)


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
