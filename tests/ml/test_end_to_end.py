"""Real searches as stages of pipelines: fitted, evaluated, saved, and loaded by another process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import keras_tuner
import pytest
from pyspark.ml import Pipeline
from pyspark.ml import PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import CrossValidator
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import functions as F

from cerebro_nas.errors import DataError
from cerebro_nas.ml import HyperHyperEstimator

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # PySpark leaves sockets and pools of threads to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed running multiprocessing pool:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function Pool:pytest.PytestUnraisableExceptionWarning"),
]

ROOT = Path(__file__).parents[2]

# What another process does with a saved pipeline.
PREDICT = """
import json, sys
from pyspark.ml import PipelineModel
from cerebro_nas.backend import local_spark_session
spark = local_spark_session(1)
df = spark.read.parquet(sys.argv[2])
rows = PipelineModel.load(sys.argv[1]).transform(df).select("id", "predictedLabel").collect()
print(json.dumps({str(row["id"]): row["predictedLabel"] for row in rows}))
"""


def _hyperparameters(**fixed: Any) -> keras_tuner.HyperParameters:
    entries = keras_tuner.HyperParameters()
    for name, value in {"learning_rate": 0.01, "optimizer": "adam", **fixed}.items():
        entries.Fixed(name, value)
    return entries


@pytest.fixture
def table(spark: SparkSession) -> DataFrame:
    """Rows whose class is told by their sign; each has a weight, and a tenth is marked for validation."""
    rows = []
    for number in range(200):
        x, y = (number % 20 - 9.5) / 5, (number // 20 - 4.5) / 3
        side = "left" if x < 0 else "right"
        rows.append((number, x, y, side, "up" if x + y > 0 else "down", 1.0 + number % 2, number % 10 == 0))
    types = "id int, x double, y double, side string, way string, weight double, checked boolean"
    return spark.createDataFrame(rows, types)


def test_fitted_saved_and_loaded_elsewhere(table: DataFrame, tmp_path: Path) -> None:
    store = tmp_path / "store"
    estimator = HyperHyperEstimator(
        task="StructuredDataClassifier",
        featuresCols=["x", "side", "y"],
        labelCol="way",
        weightCol="weight",
        validationIndicatorCol="checked",
        hyperparameters=_hyperparameters(),
        objective="val_accuracy",
        tuner="random",
        maxTrials=2,
        epochs=15,
        batchSize=16,
        numWorkers=2,
        store=str(store),
    )
    model = Pipeline(stages=[estimator]).fit(table)
    fitted: Any = model.stages[0]
    assert len(fitted.summary.leaderboard()) == 2
    assert list(store.iterdir()) == []
    rows = model.transform(table).collect()
    right = sum(row["predictedLabel"] == row["way"] for row in rows)
    assert right > 150
    assert all(row["prediction"] == float(row["predictedLabel"] == "up") for row in rows)

    model.save(str(tmp_path / "saved"))
    table.write.parquet(str(tmp_path / "rows"))
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, str(tmp_path / "saved"), str(tmp_path / "rows")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {str(row["id"]): row["predictedLabel"] for row in rows}


def test_cross_validation_over_real_searches(table: DataFrame, tmp_path: Path) -> None:
    numbers = table.withColumn("label", F.col("x") - 2 * F.col("y"))
    estimator = HyperHyperEstimator(
        task="StructuredDataRegressor",
        hyperparameters=_hyperparameters(),
        maxTrials=1,
        epochs=1,
        batchSize=16,
        numWorkers=1,
        seed=3,
    )
    grid = ParamGridBuilder().addGrid(estimator.epochs, [1, 15]).build()
    pipeline = Pipeline(stages=[VectorAssembler(inputCols=["x", "y"], outputCol="features"), estimator])
    search = CrossValidator(
        estimator=pipeline, estimatorParamMaps=grid, evaluator=RegressionEvaluator(), numFolds=2, parallelism=2, seed=1
    )
    found = search.fit(numbers)
    few, many = found.avgMetrics
    assert many < few
    found.bestModel.write().overwrite().save(str(tmp_path / "best"))  # type: ignore[attr-defined]
    again = PipelineModel.load(str(tmp_path / "best"))
    assert RegressionEvaluator().evaluate(again.transform(numbers)) < few


def test_data_that_cannot_be_used_is_told_and_leaves_nothing(table: DataFrame, tmp_path: Path) -> None:
    store = tmp_path / "store"
    estimator = HyperHyperEstimator(
        task="StructuredDataClassifier", featuresCols=["x", "z"], labelCol="way", numWorkers=1, store=str(store)
    )
    with pytest.raises(DataError, match="there is no column 'z'"):
        estimator.fit(table)
    assert not store.exists() or list(store.iterdir()) == []


def test_the_example(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "spark_ml_pipeline.py"), "--trials", "2", "--epochs", "8"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    found = re.search(r"pipeline loaded from runs/wine: (\d\.\d+)", done.stdout)
    assert found, done.stdout + done.stderr
    # With so few epochs it may miss the mark; then it says so and its exit status does too.
    assert done.returncode == int(float(found[1]) < 0.85)
    assert (tmp_path / "runs" / "wine" / "metadata").exists()
