from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import types as T

from cerebro_nas.data import check_arguments
from cerebro_nas.errors import DataError


@dataclass
class Frame:
    """All that a check may ask of a DataFrame: its schema, which costs no Spark job (or JVM)."""

    schema: T.StructType

    @property
    def columns(self) -> list[str]:
        return self.schema.fieldNames()


FRAME = Frame(
    T.StructType(
        [
            T.StructField("features", VectorUDT()),
            T.StructField("pixels", T.ArrayType(T.FloatType())),
            T.StructField("nested", T.ArrayType(T.ArrayType(T.FloatType()))),
            T.StructField("words", T.ArrayType(T.StringType())),
            T.StructField("label", T.StringType()),
            T.StructField("number", T.DoubleType()),
            T.StructField("when", T.TimestampType()),
            T.StructField("held_out", T.BooleanType()),
            T.StructField("twice", T.LongType()),
            T.StructField("twice", T.LongType()),
        ]
    )
)


def _check(**changed: Any) -> None:
    arguments: dict[str, Any] = {
        "feature_columns": ["features"],
        "label_columns": ["label"],
        "validation": 0.2,
        "input_shape": None,
        "num_shards": 2,
    }
    check_arguments(FRAME, **{**arguments, **changed})


@pytest.mark.parametrize(
    "changed", [{}, {"validation": "held_out"}, {"input_shape": (8, 8)}, {"label_columns": ["pixels"]}]
)
def test_good_arguments(changed: dict[str, Any]) -> None:
    _check(**changed)


@pytest.mark.case(29)
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"feature_columns": ["featurs"]}, "no column 'featurs'; did you mean 'features'"),
        ({"feature_columns": []}, "feature_columns must name at least one column"),
        ({"label_columns": []}, "label_columns must name at least one column"),
        ({"feature_columns": ["twice"]}, "'twice' is in the DataFrame 2 times"),
        ({"feature_columns": ["pixels", "pixels"]}, "'pixels' is named more than once"),
        ({"label_columns": ["features"]}, "'features' is named more than once"),
        ({"feature_columns": ["label"], "label_columns": ["pixels"]}, "StructuredDataInput"),
        ({"feature_columns": ["when"]}, "timestamp, which is no tensor; turn .* with Spark's `unix_timestamp`"),
        ({"feature_columns": ["words"]}, "arrays must hold numbers"),
        ({"input_shape": (8, 0)}, "input_shape must be positive"),
        ({"input_shape": ()}, "input_shape must be positive"),
        ({"validation": 0.0}, "validation must be a fraction"),
        ({"validation": 1.0}, "validation must be a fraction"),
        ({"validation": float("nan")}, "validation must be a fraction"),
        ({"validation": "label"}, "must be boolean"),
        ({"validation": "held"}, "did you mean 'held_out'"),
        ({"num_shards": 0}, "num_shards must be 1 or more"),
    ],
)
def test_bad_arguments(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        _check(**changed)


@pytest.mark.case(29)
def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(DataError) as caught:
        _check(feature_columns=["featurs"], label_columns=["lable"], input_shape=(0,), validation=2.0, num_shards=0)
    text = str(caught.value)
    for part in ("'featurs'", "'lable'", "input_shape must", "num_shards must", "validation must", "Received: "):
        assert part in text


@pytest.mark.case(29)
def test_types_are_told_beside_names_that_are_wrong() -> None:
    with pytest.raises(DataError) as caught:
        _check(feature_columns=["featurs", "when", "words", "twice"], label_columns=["lable"])
    text = str(caught.value)
    for part in (
        "no column 'featurs'; did you mean 'features'?",
        "no column 'lable'; did you mean 'label'?",
        "feature column 'when' has type timestamp",
        "feature column 'words' has type array<string>",
        "column 'twice' is in the DataFrame 2 times",
    ):
        assert text.count(part) == 1


@pytest.mark.case(29)
@pytest.mark.parametrize(
    ("column", "kind"), [("number", "double"), ("held_out", "boolean"), ("words", "array<string>")]
)
def test_numbers_are_no_texts(column: str, kind: str) -> None:
    message = f"'{column}' has type {kind}, which is no text; a `TextInput` takes one column of strings, or of arrays"
    with pytest.raises(DataError, match=f"{message}(?s:.)*no column 'lable'|no column 'lable'(?s:.)*{message}"):
        _check(feature_columns=[column], label_columns=["lable"], uses={column: "text"})


def test_thousands_of_columns_are_looked_up_once() -> None:
    class Wide(T.StructType):
        reads = 0

        def __iter__(self) -> Any:
            Wide.reads += 1
            return super().__iter__()

        def __getitem__(self, key: Any) -> Any:
            Wide.reads += 1
            return super().__getitem__(key)

    names = [f"c{number}" for number in range(500)]
    frame: Any = Frame(Wide([T.StructField(name, T.FloatType()) for name in names]))
    check_arguments(frame, feature_columns=names[1:], label_columns=names[:1], validation=0.2, num_shards=1)
    assert Wide.reads < 10
