"""What can be said against a DataFrame before Spark does any work: all of it at once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cerebro_nas.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

_NUMBERS = ("ByteType", "ShortType", "IntegerType", "LongType", "FloatType", "DoubleType", "BooleanType")
_FEATURES = (*_NUMBERS, "VectorUDT", "ArrayType", "BinaryType")
_LABELS = (*_NUMBERS, "StringType", "VectorUDT", "ArrayType")


def check_arguments(
    df: DataFrame,
    *,
    feature_columns: Sequence[str],
    label_columns: Sequence[str],
    validation: float | str,
    input_shape: Sequence[int] | None,
    num_shards: int,
) -> None:
    """Check columns and settings against the schema of `df`.

    Raises:
        DataError: something is wrong; the message lists everything that is.
    """
    problems: list[str] = []
    known = list(df.columns)
    wanted = [*feature_columns, *label_columns]
    for name in [*wanted, *([validation] if isinstance(validation, str) else [])]:
        problems += _unknown(name, known)
    for name in sorted({name for name in wanted if wanted.count(name) > 1}):
        problems.append(f"column {name!r} is named more than once among features and labels")
    for name in sorted({name for name in wanted if known.count(name) > 1}):
        problems.append(f"column {name!r} is in the DataFrame {known.count(name)} times; rename one")
    for argument, names in (("feature_columns", feature_columns), ("label_columns", label_columns)):
        if not names:
            problems.append(f"{argument} must name at least one column")
    # Types can be told of every column that is there once, whatever is wrong with others.
    there = [
        [name for name in dict.fromkeys(names) if known.count(name) == 1] for names in (feature_columns, label_columns)
    ]
    problems += _types(df, *there)
    problems += _validation(df, validation)
    problems += _shape(feature_columns, input_shape)
    if num_shards < 1:
        problems.append(f"num_shards must be 1 or more, not {num_shards}")
    if problems:
        raise DataError(
            "The DataFrame cannot be used as asked:\n"
            + "\n".join(f"- {problem}" for problem in problems)
            + f"\nReceived: feature_columns={list(feature_columns)}, label_columns={list(label_columns)}, "
            f"validation={validation!r}, input_shape={input_shape!r} and a DataFrame with {_schema(df)}."
        )


def is_vector(data_type: DataType) -> bool:
    """Whether a column holds Spark ML (or MLlib) vectors."""
    return type(data_type).__name__ == "VectorUDT"


def _unknown(name: str, known: list[str]) -> list[str]:
    if name in known:
        return []
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return [f"there is no column {name!r}{hint}"]


def _types(df: DataFrame, features: Sequence[str], labels: Sequence[str]) -> list[str]:
    problems = []
    for names, allowed, role in ((features, _FEATURES, "feature"), (labels, _LABELS, "label")):
        for name in names:
            data_type = df.schema[name].dataType
            kind = type(data_type).__name__
            if kind not in allowed and "Decimal" not in kind:
                hint = "; index or encode it first (StringIndexer, OneHotEncoder)" if kind == "StringType" else ""
                problems.append(f"{role} column {name!r} has type {data_type.simpleString()}, which is no tensor{hint}")
            elif kind == "ArrayType" and type(data_type.elementType).__name__ not in _NUMBERS:  # type: ignore[attr-defined]
                problems.append(
                    f"{role} column {name!r} has type {data_type.simpleString()}; arrays must hold numbers "
                    "(flatten nested ones and pass input_shape)"
                )
    return problems


def _validation(df: DataFrame, validation: float | str) -> list[str]:
    if isinstance(validation, str):
        if df.columns.count(validation) != 1:
            return []  # said already
        data_type = df.schema[validation].dataType
        if type(data_type).__name__ != "BooleanType":
            return [f"validation column {validation!r} must be boolean, not {data_type.simpleString()}"]
        return []
    if not (math.isfinite(validation) and 0 < validation < 1):
        return [f"validation must be a fraction between 0 and 1, or a boolean column, not {validation!r}"]
    return []


def _shape(features: Sequence[str], input_shape: Sequence[int] | None) -> list[str]:
    if input_shape is None:
        return []
    if not input_shape or min(input_shape) < 1:
        return [f"input_shape must be positive integers, not {input_shape!r}"]
    if len(features) > 1:
        return [f"input_shape is for a single feature column, and there are {len(features)}"]
    return []


def _schema(df: DataFrame) -> str:
    parts = [f"{field.name}: {field.dataType.simpleString()}" for field in df.schema.fields[:20]]
    more = len(df.schema.fields) - len(parts)
    return "columns " + ", ".join(parts) + (f" and {more} more" if more > 0 else "")
