"""A search as users write it: Spark, a data frame, `HyperHyperModel.fit`; with workers as processes of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CEREBRO_NAS_CLASS_CACHE", "0")

import autokeras as ak
from pyspark.ml.linalg import Vectors
from sklearn.datasets import load_digits

from cerebro_nas import HyperHyperModel
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import local_spark_session
from cerebro_nas.storage import LocalStore

_ROWS = 200


def search(directory: str, marker: str = "") -> None:
    """Search on the digits below `directory`; the file `marker` tells that Spark is there."""
    spark = local_spark_session(2, app_name="chaos", memory="1g")
    features, labels = load_digits(return_X_y=True)
    pairs = zip(features[:_ROWS], labels[:_ROWS], strict=True)
    df = spark.createDataFrame([(Vectors.dense(row), int(label)) for row, label in pairs], ["x", "number"])
    inputs = ak.ImageInput()
    blocks = ak.DenseBlock(num_layers=1, use_batchnorm=False, dropout=0.0)(ak.Normalization()(inputs))
    model = HyperHyperModel(inputs, ak.ClassificationHead(dropout=0.0)(blocks), max_trials=3, seed=1)
    model.resource_bind(
        backend=LocalBackend(2, threads_per_worker=1),
        store=LocalStore(Path(directory) / "store"),
        label_columns=["number"],
        feature_columns=["x"],
        evaluation_metric="accuracy",
        verbose=2,
    )
    model.tuner_bind("randomsearch", visit_order="fixed")
    if marker:
        Path(marker).touch()
    result = model.fit(df, batch_size=16, epochs=2, input_shape=(8, 8, 1))
    table = result.leaderboard()
    columns = [name for name in table.columns if name not in ("cost.seconds", "cost.units", "cost.latency_ms")]
    table[columns].sort_values("trial").to_csv(Path(directory) / "rows.csv", index=False)
    spark.stop()


if __name__ == "__main__":
    search(*sys.argv[1:])
