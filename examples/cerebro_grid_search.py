"""Cerebro's model selection for a Keras model of one's own: handwritten digits on an embedded Spark.

Whoever comes from Cerebro changes the four imports below. The data set is scikit-learn's: 1,797 images of 8x8 pixels. A
fifth is held out before the search and seen by nothing but the last step.

    python examples/cerebro_grid_search.py
    python examples/cerebro_grid_search.py --search tpe --trials 12 --epochs 10
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pyspark.ml.linalg import Vectors
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from cerebro_nas.backend import SparkBackend
from cerebro_nas.backend import local_spark_session
from cerebro_nas.keras import SparkEstimator
from cerebro_nas.storage import LocalStore
from cerebro_nas.tracking import format_leaderboard
from cerebro_nas.tune import GridSearch
from cerebro_nas.tune import RandomSearch
from cerebro_nas.tune import TPESearch
from cerebro_nas.tune import hp_choice
from cerebro_nas.tune import hp_loguniform
from cerebro_nas.tune import hp_quniform

if TYPE_CHECKING:
    from cerebro_nas.results import ModelSelectionResult

WANTED_ACCURACY = 0.9


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Grid, random or TPE search over a Keras model of one's own.")
    parser.add_argument("--search", choices=("grid", "random", "tpe"), default="grid", help="(default: %(default)s)")
    parser.add_argument("--trials", type=int, default=8, help="candidates of random and tpe (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="epochs per candidate (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--store", type=Path, default=Path("runs/cerebro"), help="folder for data and models (default: %(default)s)"
    )
    return parser.parse_args()


def estimator_gen_fn(params: dict[str, Any]) -> SparkEstimator:
    """One candidate: `params` has a value for each name of the search space."""
    import keras

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),  # rows of 64 numbers get this shape
            keras.layers.Rescaling(1 / 16),
            keras.layers.Conv2D(params["filters"], 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dropout(params["dropout"]),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    return SparkEstimator(
        model=model,
        optimizer=keras.optimizers.Adam(params["lr"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        batch_size=params["batch_size"],
    )


def make_search(arguments: argparse.Namespace, backend: SparkBackend, store: LocalStore) -> Any:
    """The search that was asked for; they differ in their spaces and in who says how many candidates there are."""
    shared: dict[str, Any] = {
        "backend": backend,
        "store": store,
        "estimator_gen_fn": estimator_gen_fn,
        "num_epochs": arguments.epochs,
        "evaluation_metric": "accuracy",
        "validation": 0.25,
        "label_columns": ["label"],
        "feature_columns": ["features"],
        "overwrite": True,
    }
    if arguments.search == "grid":
        choices = {
            "filters": hp_choice([8, 16]),
            "lr": hp_choice([0.01, 0.003]),
            "dropout": hp_choice([0.0, 0.3]),
            "batch_size": hp_choice([32]),
        }
        return GridSearch(search_space=choices, **shared)
    ranges = {
        "filters": hp_quniform(8, 32, 8),
        "lr": hp_loguniform(-3, -1.5),
        "dropout": hp_choice([0.0, 0.3]),
        "batch_size": hp_choice([16, 32]),
    }
    kind = RandomSearch if arguments.search == "random" else TPESearch
    return kind(search_space=ranges, num_models=arguments.trials, **shared)


def main() -> int:
    arguments = parse_arguments()
    started = time.monotonic()
    pixels, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(pixels, labels, test_size=0.2, stratify=labels, random_state=7)
    spark = local_spark_session(arguments.workers)
    columns = ["features", "label"]
    train_df, test_df = (
        spark.createDataFrame([(Vectors.dense(row), int(label)) for row, label in zip(x, y, strict=True)], columns)
        for x, y in ((train_x, train_y), (test_x, test_y))
    )
    backend = SparkBackend(spark_context=spark.sparkContext, num_workers=arguments.workers)
    search = make_search(arguments, backend, LocalStore(prefix_path=arguments.store))
    result: ModelSelectionResult = search.fit(train_df)
    print()
    print(format_leaderboard(result.leaderboard()))
    print(f"\nBest parameters: {search.params_of(result.best_model)}")

    predicted = result.set_output_columns(["probabilities"]).transform(test_df)
    hits = predicted.where("label__prediction = label").count()
    accuracy = hits / len(test_y)
    print(f"Test accuracy, {len(test_y)} held-out images, predicted on Spark: {accuracy:.4f}")
    search.export_model(arguments.store / "best.keras")
    spark.stop()
    print(f"Best model: {arguments.store / 'best.keras'}")
    print(f"Took {time.monotonic() - started:.0f} s in all.")
    if accuracy < WANTED_ACCURACY:
        print(f"That is below {WANTED_ACCURACY}. More --epochs may help.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
