"""What can be said against a DataFrame before Spark does any work: all of it at once."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.data._sources import rows_of
from cerebro_nas.data._types import Shapes
from cerebro_nas.errors import DataError

if TYPE_CHECKING:
    from cerebro_nas.data._rows import Rows

_NUMBERS = ("number", "boolean")
_TENSORS = (*_NUMBERS, "vector", "array", "binary", "image")
_USES = {"category": (*_NUMBERS, "string"), "text": ("string",)}
_LABELS = (*_NUMBERS, "string", "vector", "array")


def check_arguments(
    data: Any,
    *,
    feature_columns: Sequence[str],
    label_columns: Sequence[str],
    validation: float | str,
    input_shape: Shapes = None,
    num_shards: int,
    uses: Mapping[str, str] | None = None,
    weight_column: str | None = None,
) -> None:
    """Check columns and settings against the schema of `data`, a DataFrame or `LocalRows`.

    The arguments are those of `prepare_data`.

    Raises:
        DataError: something is wrong; the message lists everything that is.
    """
    rows = rows_of(data)
    extra = [] if weight_column is None else [weight_column]
    problems: list[str] = []
    # There may be thousands of columns.
    known = Counter(rows.columns)
    wanted = Counter([*feature_columns, *label_columns, *extra])
    for name in [*wanted.elements(), *([validation] if isinstance(validation, str) else [])]:
        problems += _unknown(name, known)
    for name in sorted(name for name, times in wanted.items() if times > 1):
        problems.append(f"column {name!r} is named more than once among features, labels and weights")
    for name in sorted(name for name in wanted if known[name] > 1):
        problems.append(f"column {name!r} is in the DataFrame {known[name]} times; rename one")
    for argument, names in (("feature_columns", feature_columns), ("label_columns", label_columns)):
        if not names:
            problems.append(f"{argument} must name at least one column")
    # Types can be told of every column that is there once, whatever is wrong with others.
    features, labels, weights = (
        [name for name in dict.fromkeys(names) if known[name] == 1] for names in (feature_columns, label_columns, extra)
    )
    problems += _types(rows, features, labels, weights, uses or {})
    problems += _validation(rows, validation)
    problems += _shape(feature_columns, input_shape)
    if num_shards < 1:
        problems.append(f"num_shards must be 1 or more, not {num_shards}")
    if problems:
        raise DataError(
            f"The {rows.origin.removeprefix('a ')} cannot be used as asked:\n"
            + "\n".join(f"- {problem}" for problem in problems)
            + f"\nReceived: feature_columns={list(feature_columns)}, label_columns={list(label_columns)}, "
            f"validation={validation!r}, input_shape={input_shape!r} and {rows.origin} with {_schema(rows)}."
        )


def _unknown(name: str, known: Collection[str]) -> list[str]:
    if name in known:
        return []
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return [f"there is no column {name!r}{hint}"]


def _types(
    rows: Rows, features: Sequence[str], labels: Sequence[str], weights: Sequence[str], uses: Mapping[str, str]
) -> list[str]:
    problems = []
    for names, role in ((features, "feature"), (labels, "label"), (weights, "weight")):
        for name in names:
            use = uses.get(name, "tensor") if role == "feature" else role
            allowed = {"tensor": _TENSORS, "label": _LABELS, "weight": ("number",), **_USES}[use]
            kind = rows.kind(name)
            if kind in allowed:
                continue
            what = {"tensor": "which is no tensor", "weight": "which is no number"}.get(use, f"which is no {use}")
            problems.append(f"{role} column {name!r} has type {rows.type_name(name)}, {what}{_advice(rows, kind, use)}")
    return problems


def _advice(rows: Rows, kind: str, use: str) -> str:
    if kind == "date":
        return (
            f"; turn it into numbers or categories first, with {rows.date_tools} and the like, according to what "
            "should be learned from it"
        )
    if kind == "string" and use == "tensor":
        return "; feed it to a `StructuredDataInput` (categories) or a `TextInput` (sentences), or encode it first"
    if kind == "other" and use in ("tensor", "label"):
        return "; arrays must hold numbers"
    if use == "text":
        return "; a `TextInput` takes one column of strings, or of arrays of token numbers"
    return ""


def _validation(rows: Rows, validation: float | str) -> list[str]:
    if isinstance(validation, str):
        if rows.columns.count(validation) != 1:
            return []  # said already
        if rows.kind(validation) != "boolean":
            return [f"validation column {validation!r} must be boolean, not {rows.type_name(validation)}"]
        return []
    if not (math.isfinite(validation) and 0 < validation < 1):
        return [f"validation must be a fraction between 0 and 1, or a boolean column, not {validation!r}"]
    return []


def _shape(features: Sequence[str], input_shape: Shapes) -> list[str]:
    if input_shape is None:
        return []
    if isinstance(input_shape, Mapping):
        odd = [name for name in input_shape if name not in features]
        wrong = [f"input_shape is for feature columns, and {name!r} is none" for name in odd]
        return wrong + [problem for shape in input_shape.values() for problem in _positive(shape)]
    if len(features) > 1:
        return [
            f"input_shape is for a single feature column, and there are {len(features)}; pass a dict by column's name"
        ]
    return _positive(input_shape)


def _positive(shape: Sequence[int]) -> list[str]:
    return [] if shape and min(shape) >= 1 else [f"input_shape must be positive integers, not {shape!r}"]


def _schema(rows: Rows) -> str:
    names = list(dict.fromkeys(rows.columns))
    parts = [f"{name}: {rows.type_name(name)}" for name in names[:20] if rows.columns.count(name) == 1]
    more = len(rows.columns) - len(parts)
    return "columns " + ", ".join(parts) + (f" and {more} more" if more > 0 else "")
