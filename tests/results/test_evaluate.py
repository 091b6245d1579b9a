"""Evaluation on Spark: what a model says of all rows, whatever the partitions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from cerebro_nas.errors import DataError
from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.results._inference import _measured
from cerebro_nas.results._inference import _part
from cerebro_nas.results._inference import evaluate
from cerebro_nas.results._inference import evaluate_arrays
from cerebro_nas.results._inference import transform
from cerebro_nas.results._parts import Part
from cerebro_nas.results._parts import joined
from cerebro_nas.storage import StateFiles
from cerebro_nas.testing import tiny_search
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import build_model
from cerebro_nas.worker import dump_state

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS = 60


def _stored(folder: Path) -> tuple[ModelSource, str, str]:
    """A regression with metrics that are no means, in a store."""
    _, spec = tiny_search(folder)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    metrics = (keras.metrics.RootMeanSquaredError(), keras.metrics.R2Score(), keras.metrics.MeanAbsoluteError("mae"))
    serialised = tuple(keras.metrics.serialize(metric) for metric in metrics)
    spec = replace(spec, model=model.to_json(), loss=("mse",), metrics=(serialised,))
    states = StateFiles(str(folder / "states"))
    states.write_spec(spec.trial, spec.to_json())
    name = states.write(spec.trial, 1, dump_state(build_model(spec), {"trial": spec.trial, "generation": 1}))
    columns = ((ColumnSpec("x", (3,), "float32", "list"),),)
    source = ModelSource(str(folder / "states"), columns, (OutputSpec("y", "values"),), ("y__output",), 1, 16)
    return source, spec.trial, name


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("partitions", "batch"), [(4, 10_000), (2, 7), (1, 7), (1, 10_000)])
def test_metrics_are_those_of_all_rows(
    spark: SparkSession, tmp_path: Path, partitions: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, trial, name = _stored(tmp_path)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 3)).astype("float32")
    # Sorted, so that partitions are unlike each other.
    y = np.sort(draw.normal(size=ROWS)).astype("float32")
    expected = evaluate_arrays(source.load(trial, name), source, [x], [y], 16)
    rows = [(row, float(label)) for row, label in zip(x.tolist(), y, strict=True)]
    before = spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch")
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(batch))
    try:
        df = spark.createDataFrame(spark.sparkContext.parallelize(rows, partitions), "x array<double>, y double")
        found = evaluate(df, source, trial, name)
    finally:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(before))
    assert list(found) == list(expected) == ["loss", "mae", "r2_score", "root_mean_squared_error"]
    assert found == pytest.approx(expected, rel=1e-4)


def _frame(x: list[Any], y: list[Any], nulls: list[bool] | None = None) -> pd.DataFrame:
    """What a task of `evaluate` gets from Spark."""
    return pd.DataFrame({"c0": x, "c1": y, "n0": nulls or [False] * len(y)})


def test_a_task_counts_what_it_cannot_use_to_its_end(tmp_path: Path) -> None:
    source, trial, name = _stored(tmp_path)
    good, bad = [1.0, 2.0, 3.0], [1.0, np.nan, 3.0]
    frames = [
        _frame([good], [1.0]),
        _frame([good, bad], [np.nan, np.nan], [True, False]),
        _frame([bad, None], [1.0, np.inf]),
    ]
    (told,) = _measured(frames, source, trial, name)
    assert told["rows"] == 5
    assert json.loads(told["unusable"]) == {
        "x": {
            "counts": {"null, NaN or infinite": 2, "null": 1},
            "examples": {"null, NaN or infinite": [2, 3], "null": [4]},
        },
        "y": {"counts": {"null": 1, "NaN or infinite": 2}, "examples": {"null": [1], "NaN or infinite": [2, 4]}},
    }


def test_a_task_tells_of_labels_that_are_no_numbers(tmp_path: Path) -> None:
    source, trial, name = _stored(tmp_path)
    (told,) = _measured([_frame([[1.0, 2.0, 3.0]], ["abc"])], source, trial, name)
    assert told["kind"] == "ConfigError"
    assert "Labels should be numbers" in told["error"]


def test_a_metric_that_is_none_comes_back_as_one() -> None:
    row = {"rows": 2, "names": ["loss", "mae"], "values": [None, 1.5], "sums": [None, None]}
    found = joined([_part(row), _part({**row, "values": [1.0, 2.5]})])
    assert found is not None
    assert np.isnan(found.found["loss"])
    assert found.found["mae"] == 2.0


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_rows_that_cannot_be_used_are_one_error_for_all_partitions(spark: SparkSession, tmp_path: Path) -> None:
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    source, trial, name = _stored(tmp_path)
    rows: list[Any] = [([1.0, 2.0, 3.0], 1.0)] * 40
    rows[3] = rows[35] = ([1.0, 2.0, 3.0], None)
    rows[20] = ([1.0, float("inf"), 3.0], float("nan"))
    df = spark.createDataFrame(spark.sparkContext.parallelize(rows, 2), "x array<double>, y double")
    with pytest.raises(DataError) as caught:
        evaluate(df, source, trial, name)
    assert str(caught.value) == (
        "The data cannot be used:\n- column 'x': null, NaN or infinite in 1 of 40 rows, for example rows [20]\n"
        "- column 'y': null in 2 of 40 rows, for example rows [3, 35]\n"
        "- column 'y': NaN or infinite in 1 of 40 rows, for example rows [20]\n"
        "Received: a DataFrame of 40 rows. Clean or drop those rows "
        "(row numbers count in the order of the DataFrame's partitions)."
    )
    vectors = df.withColumn("x", F.when(F.col("y") == 1, array_to_vector(F.col("x")))).fillna(0.0)
    with pytest.raises(DataError, match=r"column 'x': null in 3 of 40 rows, for example rows \[3, 20, 35\]\nReceived"):
        evaluate(vectors, source, trial, name)


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_predictions_of_rows_that_cannot_be_used_fail(spark: SparkSession, tmp_path: Path) -> None:
    df = spark.createDataFrame([([1.0, float("nan"), 3.0],)], "x array<double>")
    with pytest.raises(Exception, match="column 'x': null, NaN or infinite in 1 of 1 rows(?s:.*)Received: a batch"):
        transform(df, *_stored(tmp_path)).collect()


def test_parts_count_by_their_rows() -> None:
    def sums(**values: float) -> dict[str, Any]:
        return {name: np.array([value]) for name, value in values.items()}

    one, other = (
        Part(1, {"loss": 1.0, "r2": 5.0}, sums(r2=2.0, gone=1.0)),
        Part(3, {"loss": 5.0, "r2": 1.0}, sums(r2=3.0)),
    )
    whole = joined([one, other])
    assert whole is not None
    assert (whole.rows, whole.found) == (4, {"loss": 4.0, "r2": 2.0})
    assert {name: value.tolist() for name, value in whole.sums.items()} == {"r2": [5.0]}
    assert joined([]) is None
