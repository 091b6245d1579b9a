"""Search on clicks: 13 skewed counts and 26 columns of strings with up to millions of values, on an embedded Spark.

The table is made by make_criteo.py, beside this file, in the shape of Criteo's logs. Spark fills the holes and takes
logarithms, splits, prepares, predicts and evaluates; no row passes through the driver. The baseline is Spark's own:
logistic regression on hashed values.

    python examples/criteo.py
    python examples/criteo.py --rows 1000000 --trials 20 --workers 4 --store /tmp/criteo
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.backend import SparkBackend
from cerebro_nas.backend import local_spark_session
from cerebro_nas.storage import LocalStore
from cerebro_nas.tracking import format_leaderboard
from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries

if TYPE_CHECKING:
    from keras_tuner import HyperParameters
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

    from examples.make_criteo import CATEGORIES
    from examples.make_criteo import NUMBERS
    from examples.make_criteo import click_table
else:
    from make_criteo import CATEGORIES
    from make_criteo import NUMBERS
    from make_criteo import click_table

# By input's name.
FEATURES = {"counts": list(NUMBERS), "categories": list(CATEGORIES)}
HASHES = 2**16


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Architecture search on a table of clicks with an embedded Spark.")
    parser.add_argument("--rows", type=int, default=40_000, help="rows of the table (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=6, help="candidates to train (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs per candidate at most (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of split, search and weights (default: %(default)s)")
    parser.add_argument(
        "--store", type=Path, default=Path("runs/criteo"), help="folder for data and models (default: %(default)s)"
    )
    return parser.parse_args()


def load_libraries() -> None:
    """What takes seconds to import. Spark starts meanwhile, so the functions below import what they use themselves."""
    load_tensorflow()
    from cerebro_nas import HyperHyperModel  # noqa: F401 (it brings AutoKeras and Keras)


def load_table(spark: SparkSession, rows: int, path: Path) -> tuple[DataFrame, DataFrame]:
    """Rows to search with and rows to hold out, with logarithms of counts and a word for what is not there."""
    from pyspark.sql import functions as F

    path.parent.mkdir(parents=True, exist_ok=True)
    table = click_table(spark, rows, chance=True).fillna(0, list(NUMBERS)).fillna("none", list(CATEGORIES))
    # Written once: what is made of it below would compute it anew each time.
    table.withColumns({name: F.log1p(name) for name in NUMBERS}).write.mode("overwrite").parquet(str(path))
    train, test = spark.read.parquet(str(path)).randomSplit([0.8, 0.2], seed=0)
    return train, test


def search_space() -> tuple[list[Any], list[Any]]:
    """A table of vectors for the categories, beside the counts; dense layers behind both."""
    import autokeras as ak
    import keras

    class CategoryVectors(ak.Block):  # type: ignore[misc]  # AutoKeras ships no types
        """Vectors for categories, which come as numbers; values beyond the size of the table share vectors."""

        def build(self, hp: HyperParameters, inputs: Any = None) -> Any:
            (numbers,) = keras.tree.flatten(inputs)
            columns = numbers.shape[-1]
            size = hp.Choice("size", [500, 2000], default=2000)
            width = hp.Choice("width", [4, 8], default=8)
            # All columns in one table, one after the other.
            rows = keras.ops.mod(numbers, size) + size * np.arange(columns, dtype="float32")
            return keras.layers.Flatten()(keras.layers.Embedding(size * columns, width)(rows))

    counts = ak.StructuredDataInput(name="counts")
    categories = ak.StructuredDataInput(name="categories")
    merged = ak.Merge("concatenate")([ak.Normalization()(counts), CategoryVectors(name="vectors")(categories)])
    return [counts, categories], [ak.ClassificationHead(metrics=["AUC"])(ak.DenseBlock()(merged))]


def hyperparameters() -> HyperParameters:
    from keras_tuner import HyperParameters

    hp = HyperParameters()
    hp.Choice("optimizer", ["adam", "adam_weight_decay"])
    hp.Choice("learning_rate", [0.003, 0.001])
    return hp


def baseline(train: DataFrame, test: DataFrame) -> DataFrame:
    """Spark's logistic regression on hashed values; `score` is its chance of a click."""
    from pyspark.ml import Pipeline
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.feature import FeatureHasher
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    hasher = FeatureHasher(inputCols=[*NUMBERS, *CATEGORIES], outputCol="features", numFeatures=HASHES)
    # Standardised, values that are seen once would count most.
    linear = LogisticRegression(maxIter=50, regParam=0.001, standardization=False)
    found = Pipeline(stages=[hasher, linear]).fit(train).transform(test)
    return found.withColumn("score", vector_to_array(F.col("probability"))[1])


def report(name: str, table: DataFrame, score: str) -> str:
    """Area under the curve, which Spark computes."""
    from pyspark.ml.evaluation import BinaryClassificationEvaluator

    area = BinaryClassificationEvaluator(rawPredictionCol=score, labelCol="label").evaluate(table)
    return f"{name:35} AUC {area:.4f}"


def main() -> int:
    arguments = parse_arguments()
    quiet_libraries()  # TensorFlow and Spark are talkative when they load
    started = time.monotonic()
    spark = local_spark_session(arguments.workers, meanwhile=load_libraries)
    train, test = load_table(spark, arguments.rows, arguments.store / "table.parquet")
    print(f"{train.count()} rows to search with, {test.count()} held out.")

    from pyspark.sql import functions as F

    from cerebro_nas import HyperHyperModel

    inputs, outputs = search_space()
    model = HyperHyperModel(inputs, outputs, project_name="criteo", overwrite=True, seed=arguments.seed)
    model.resource_bind(
        backend=SparkBackend(spark_context=spark.sparkContext, num_workers=arguments.workers),
        store=LocalStore(prefix_path=arguments.store),
        feature_columns=FEATURES,
        label_columns=["label"],
    )
    model.tuner_bind(
        "greedy",
        hyperparameters=hyperparameters(),
        objective="val_AUC",
        max_trials=arguments.trials,
        exploration=0.3,
    )
    result = model.fit(train, batch_size=256, epochs=arguments.epochs)
    print()
    print(format_leaderboard(result.leaderboard(), top=5))

    model.export_model(arguments.store / "best.keras")
    found = result.transform(test).withColumn("score", F.col("label__output")[0].cast("double")).cache()
    print()
    print("Held-out rows (counts as logarithms):")
    shown = found.select("I1", "I5", "C3", "C17", "label", "label__prediction", "score").limit(5).toPandas()
    print(shown.round(3).to_string(index=False))
    print()
    print(report("best network", found, "score"))
    print(report("Spark's logistic regression", baseline(train, test), "score"))
    print(report("the rule that the labels follow", test, "chance"))
    spark.stop()
    print(f"Took {time.monotonic() - started:.0f} s in all.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
