"""This project's side, through its public API: a custom AutoKeras block, a grid of candidates, a Spark DataFrame."""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import argparse  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", choices=("spark", "local"), default="spark")
    parser.add_argument("--slots", type=int, default=4, help="task slots of the embedded Spark")
    parser.add_argument("--shards", type=int, help="training shards; by default one for each worker")
    parser.add_argument("--copies", type=int, default=1, help="how often each point of the grid is trained")


def main() -> None:
    arguments = common.parse_arguments(add_arguments)
    common.limit_threads()
    from cerebro_nas.backend import local_spark_session
    from cerebro_nas.tracking import load_tensorflow

    spark = local_spark_session(arguments.slots, meanwhile=load_tensorflow)
    backend = make_backend(arguments, spark)
    # Workers load TensorFlow while this process builds the search and looks at its data.
    backend.launch()
    model = bound_model(arguments, backend)
    result = model.fit(
        read(spark, arguments.data),
        batch_size=arguments.batch_size,
        epochs=arguments.epochs,
        input_shape=(28, 28, 1),
    )
    log = list(result.schedule_log)
    to_wall_clock = time.time() - time.monotonic()
    usage = backend.usage()
    common.save_result(
        arguments.out,
        "cerebro_nas",
        accuracies(result),
        ready=min(entry.started for entry in log) + to_wall_clock,
        last=max(entry.finished for entry in log) + to_wall_clock,
        utilisation=result.schedule.utilisation,
        makespan=result.schedule.makespan,
        lower_bound=result.schedule.lower_bound,
        seconds=parts(log),
        bytes_hopped=usage.bytes_hopped,
        worker_peak_bytes=max(usage.peak_memory_bytes.values()),
    )
    spark.stop()


def read(spark: Any, data: Path) -> Any:
    """Both splits as one DataFrame, with a column that tells them apart."""
    from pyspark.sql import functions as F

    train = spark.read.parquet(str(data / "train.parquet")).withColumn("is_valid", F.lit(False))
    valid = spark.read.parquet(str(data / "valid.parquet")).withColumn("is_valid", F.lit(True))
    return train.union(valid)


def make_backend(arguments: argparse.Namespace, spark: Any) -> Any:
    """Workers of one thread each."""
    from cerebro_nas.backend import LocalBackend
    from cerebro_nas.backend import SparkBackend

    if arguments.backend == "spark":
        return SparkBackend(spark.sparkContext, arguments.workers, threads_per_worker=1)
    return LocalBackend(arguments.workers, threads_per_worker=1)


def bound_model(arguments: argparse.Namespace, backend: Any) -> Any:
    """The search, bound to its backend, store and grid."""
    from cerebro_nas import HyperHyperModel
    from cerebro_nas.storage import LocalStore

    inputs, outputs = search_space(arguments.copies)
    model = HyperHyperModel(inputs, outputs, project_name="w8", overwrite=True, seed=0)
    model.resource_bind(
        backend=backend,
        store=LocalStore(prefix_path=arguments.scratch),
        validation="is_valid",
        feature_columns="features",
        label_columns="label",
        evaluation_metric="accuracy",
        verbose=0,
        num_shards=arguments.shards,
    )
    candidates = common.load_candidates(arguments.candidates)
    model.tuner_bind("grid", hyperparameters=optimizers(candidates), max_trials=len(candidates))
    return model


def search_space(copies: int) -> tuple[Any, Any]:
    """The network of every side as a block; `copies` adds a choice that changes nothing but the seed."""
    import autokeras as ak
    import keras

    class SmallCnn(ak.Block):  # type: ignore[misc,unused-ignore]
        def build(self, hp: Any, inputs: Any = None) -> Any:
            node = inputs[0] if isinstance(inputs, list) else inputs
            width, kernel = hp.Choice("width", [8, 16]), hp.Choice("kernel", [3, 5])
            if copies > 1:
                hp.Choice("copy", list(range(copies)))
            for filters in (width, 2 * width):
                node = keras.layers.Conv2D(filters, kernel, padding="same", activation="relu")(node)
                node = keras.layers.MaxPooling2D()(node)
            return keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(node))

    images = ak.ImageInput()
    return images, ak.ClassificationHead(dropout=0)(SmallCnn(name="cnn")(images))


def optimizers(candidates: list[dict[str, Any]]) -> Any:
    """Adam with the learning rates of the candidates."""
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.Fixed("optimizer", "adam")
    hp.Choice("learning_rate", sorted({candidate["learning_rate"] for candidate in candidates}))
    return hp


def accuracies(result: Any) -> dict[str, float]:
    """Validation accuracy after the last epoch, by the candidates' names."""
    found = {}
    for _, row in result.leaderboard().iterrows():
        copy = int(row.get("hp.cnn/copy", 0))
        name = f"w{row['hp.cnn/width']}-k{row['hp.cnn/kernel']}-lr{row['hp.learning_rate']:g}"
        found[name + (f"-{copy}" if copy else "")] = float(row["metric.val_accuracy"])
    return found


def parts(log: list[Any]) -> dict[str, float]:
    """Seconds of all units by part."""
    found: dict[str, float] = {}
    for entry in log:
        for name, value in entry.detail.items():
            if name.endswith("_s"):
                found[name] = found.get(name, 0.0) + float(value)
        found["all"] = found.get("all", 0.0) + entry.finished - entry.started
    return found


if __name__ == "__main__":
    main()
