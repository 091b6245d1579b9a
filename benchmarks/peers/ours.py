"""This project's side, through its public API: a custom AutoKeras block, a grid, a Spark DataFrame."""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> None:
    arguments = common.parse_arguments()
    common.limit_threads()
    from cerebro_nas.backend import SparkBackend
    from cerebro_nas.backend import local_spark_session

    spark = local_spark_session(2 * arguments.workers)
    from pyspark.sql import functions as F

    train = spark.read.parquet(str(arguments.data / "train.parquet")).withColumn("is_valid", F.lit(False))
    valid = spark.read.parquet(str(arguments.data / "valid.parquet")).withColumn("is_valid", F.lit(True))
    from cerebro_nas import HyperHyperModel
    from cerebro_nas.storage import LocalStore

    inputs, outputs = search_space()
    model = HyperHyperModel(inputs, outputs, project_name="w8", overwrite=True, seed=0)
    model.resource_bind(
        backend=SparkBackend(spark.sparkContext, arguments.workers, threads_per_worker=1),
        store=LocalStore(prefix_path=arguments.scratch),
        validation="is_valid",
        feature_columns="features",
        label_columns="label",
        evaluation_metric="accuracy",
        verbose=0,
    )
    candidates = common.load_candidates(arguments.candidates)
    model.tuner_bind("grid", hyperparameters=fixed_space(candidates), max_trials=len(candidates))
    result = model.fit(
        train.union(valid), batch_size=arguments.batch_size, epochs=arguments.epochs, input_shape=(28, 28, 1)
    )
    common.save_result(
        arguments.out,
        "cerebro_nas",
        accuracies(result),
        utilisation=result.schedule.utilisation,
        lower=result.schedule.lower_bound,
        makespan=result.schedule.makespan,
    )
    spark.stop()


def search_space() -> tuple[Any, Any]:
    import autokeras as ak
    import keras

    class SmallCnn(ak.Block):  # type: ignore[misc]
        """The network of every side, as a block."""

        def build(self, hp: Any, inputs: Any = None) -> Any:
            node = inputs[0] if isinstance(inputs, list) else inputs
            width, kernel = hp.Choice("width", [8, 16]), hp.Choice("kernel", [3, 5])
            for filters in (width, 2 * width):
                node = keras.layers.Conv2D(filters, kernel, padding="same", activation="relu")(node)
                node = keras.layers.MaxPooling2D()(node)
            return keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(node))

    images = ak.ImageInput()
    return images, ak.ClassificationHead(dropout=0)(SmallCnn()(images))


def fixed_space(candidates: list[dict[str, Any]]) -> Any:
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.Fixed("optimizer", "adam")
    hp.Choice("learning_rate", sorted({c["learning_rate"] for c in candidates}))
    return hp


def accuracies(result: Any) -> dict[str, float]:
    found = {}
    for _, row in result.leaderboard().iterrows():
        hp = row.to_dict()
        found[str(hp)] = float(row["score"])
    return found


if __name__ == "__main__":
    main()
