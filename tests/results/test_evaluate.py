"""Evaluation on Spark: what a model says of all rows, whatever the partitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.results._inference import evaluate
from cerebro_nas.results._inference import evaluate_arrays
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
