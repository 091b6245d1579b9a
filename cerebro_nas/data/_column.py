"""From what the first pass found out about a column to how it is stored, and to its statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.data._types import ColumnStatistics
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import build_vocabulary

if TYPE_CHECKING:
    from cerebro_nas.data._stage import ColumnPart
    from cerebro_nas.data._stage import StagePlan

MAX_CATEGORIES = 10_000
MAX_TOKENS = 20_000
MAX_TOKENS_PER_TEXT = 100
# Whole numbers beyond it have neighbours that float64 cannot tell from them.
_EXACT = 2**53


def column_of(name: str, part: ColumnPart, plan: StagePlan) -> ColumnSpec:
    """How a column is stored."""
    use = plan.uses.get(name)
    if use == "category":
        values = sorted(part.words.most_frequent(MAX_CATEGORIES))
        return ColumnSpec(name, (), "int32", "scalar", {"kind": "categories", "values": values})
    if use == "text":
        counts = [(word, times) for word, (times, _) in part.words.counts.items()]
        # Numbers 0 and 1 stand for the end of a text and for words that are not in the vocabulary.
        vocabulary = build_vocabulary(counts, MAX_TOKENS - 2)
        length = max(1, min(part.words.longest, MAX_TOKENS_PER_TEXT))
        return ColumnSpec(
            name, (length,), "int32", "list", {"kind": "tokens", "vocabulary": vocabulary, "length": length}
        )
    if name == plan.weight:
        return ColumnSpec(name, (), "float32", "scalar")
    label = name in plan.labels
    shape = plan.shapes.get(name) or part.shape or ()
    encoding = "scalar" if not shape else "list" if len(shape) == 1 else "npy"
    encoder = {"kind": "image"} if part.images else None
    return ColumnSpec(name, shape, _smallest(part, label and not shape), encoding, encoder)


def statistics_of(part: ColumnPart, column: ColumnSpec, *, label: bool) -> ColumnStatistics:
    """Statistics of a column over all rows."""
    encoder = column.encoder or {}
    if encoder.get("kind") == "categories":
        return _of_categories(part, column.name, encoder["values"])
    if encoder.get("kind") == "tokens":
        rows = tuple(part.words.counts[word][1] for word in encoder["vocabulary"])
        return ColumnStatistics(column.name, part.words.rows, 0, None, None, (), (), tuple(encoder["vocabulary"]), rows)
    moments = part.moments
    if part.dtype == "str":
        classes = part.classes.sorted()
        counted = sum(count for _, count in classes)
        return ColumnStatistics(column.name, counted, 0, None, None, (), (), *_unzip(classes))
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


def _of_categories(part: ColumnPart, name: str, values: list[str]) -> ColumnStatistics:
    """Those of the positions that the values are stored as."""
    counts = [part.words.counts[value][1] for value in values]
    rows = part.words.rows
    weighted = np.asarray([*counts, rows - sum(counts)], dtype=np.float64) / rows
    positions = np.arange(len(weighted), dtype=np.float64)
    mean = float(weighted @ positions)
    variance = float(weighted @ (positions - mean) ** 2)
    largest = float(np.flatnonzero(weighted)[-1])
    return ColumnStatistics(name, rows, 0, 0.0, largest, (mean,), (variance,), tuple(values), tuple(counts))


def _smallest(part: ColumnPart, scalar_label: bool) -> str:
    """The smallest type that keeps the numbers."""
    if part.dtype == "str":
        return "str"
    moments = part.moments
    if scalar_label:
        exact = moments.integral and abs(moments.maximum) < _EXACT and abs(moments.minimum) < _EXACT
        return "int64" if exact else "float64"
    if moments.integral and moments.minimum >= 0 and moments.maximum <= 255:
        return "uint8"
    return "float32" if part.dtype.startswith("float") else part.dtype


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
