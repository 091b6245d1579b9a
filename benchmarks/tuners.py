"""Every tuner on the same real search: scikit-learn's digits, an embedded Spark, two workers.

They share one Spark, one preparation of the data and one space of convolutional networks. Scores are of the validation
rows; a tuner that trains in stages spends fewer epochs on most of its trials, so the epochs are shown too.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from benchmarks._table import Table
from benchmarks._table import save

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_EXTRA: dict[str, tuple[str, dict[str, Any]]] = {
    "asha (shards)": ("asha", {"resource": "shards"}),
    "evolution (weights inherited)": ("evolution", {"inherit_weights": True, "population_size": 8, "sample_size": 4}),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tuners", nargs="*", help="names (default: all)")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))


def run(arguments: argparse.Namespace) -> int:
    from cerebro_nas.backend import local_spark_session
    from cerebro_nas.tracking import load_tensorflow
    from cerebro_nas.tracking import quiet_libraries
    from cerebro_nas.tuners import tuner_names

    quiet_libraries()
    spark = local_spark_session(arguments.workers, meanwhile=load_tensorflow)
    known = {**{name: (name, {}) for name in tuner_names()}, **_EXTRA}
    rows = []
    try:
        with tempfile.TemporaryDirectory(prefix="tuners-") as folder:
            for shown in arguments.tuners or known:
                name, options = known[shown]
                rows.append((shown, *_search(spark, Path(folder) / shown.replace(" ", "_"), name, options, arguments)))
                print(*rows[-1], flush=True)
    finally:
        spark.stop()
    made = table(rows, arguments)
    print("\n" + made.markdown())
    save([made], arguments.results, "tuners")
    return 0


def table(rows: list[tuple[object, ...]], arguments: argparse.Namespace) -> Table:
    """Tuners in the order in which they ran."""
    return Table(
        f"{arguments.trials} trials on digits, {arguments.epochs} epochs at most, {arguments.workers} workers",
        ("tuner", "trials", "failed", "epochs trained", "best val_accuracy", "makespan s", "utilisation"),
        tuple(rows),
        ("one run each: scores within half a point of each other say nothing",),
    )


def _search(
    spark: SparkSession, store: Path, name: str, options: dict[str, Any], arguments: argparse.Namespace
) -> tuple[object, ...]:
    import autokeras as ak
    import keras_tuner
    from pyspark.ml.linalg import Vectors
    from sklearn.datasets import load_digits

    from cerebro_nas import HyperHyperModel
    from cerebro_nas.backend import SparkBackend
    from cerebro_nas.storage import LocalStore

    pixels, labels = load_digits(return_X_y=True)
    rows = [(Vectors.dense(image), int(label)) for image, label in zip(pixels, labels, strict=True)]
    images = ak.ImageInput()
    filters = keras_tuner.engine.hyperparameters.Choice("filters", [16, 32, 64])
    node = ak.ConvBlock(kernel_size=3, separable=False, filters=filters)(ak.Normalization()(images))
    model = HyperHyperModel(images, ak.ClassificationHead()(node), project_name="digits", seed=arguments.seed)
    model.resource_bind(
        backend=SparkBackend(spark.sparkContext, arguments.workers, threads_per_worker=1),
        store=LocalStore(prefix_path=store),
        feature_columns="features",
        label_columns="label",
        evaluation_metric="accuracy",
        verbose=0,
        num_shards=4,
    )
    rates = keras_tuner.HyperParameters()
    rates.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    model.tuner_bind(name, hyperparameters=rates, max_trials=arguments.trials, **options)
    result = model.fit(
        spark.createDataFrame(rows, ["features", "label"]), epochs=arguments.epochs, input_shape=(8, 8, 1)
    )
    board = result.leaderboard()
    failed = int(board["status"].isin(["FAILED"]).sum())
    return (
        len(board) - int((board["status"] == "REJECTED").sum()),
        failed,
        int(board["cost.epochs"].sum()),
        round(float(board["score"].iloc[0]), 4),
        round(result.schedule.makespan, 1),
        round(result.schedule.utilisation, 3),
    )
