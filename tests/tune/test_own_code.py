"""Layers, losses and transformations of the user's own, on worker processes that import them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import keras
import pytest

from cerebro_nas.backend import LocalBackend
from cerebro_nas.keras import SparkEstimator
from cerebro_nas.storage import LocalStore
from cerebro_nas.tune import GridSearch
from cerebro_nas.tune import hp_choice

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

_SOURCE = """
import keras


@keras.saving.register_keras_serializable(package="own")
class Silent(keras.layers.Layer):
    def call(self, inputs):
        return 0 * inputs


@keras.saving.register_keras_serializable(package="own")
def triple_error(truth, given):
    return keras.ops.mean(3.0 * keras.ops.square(truth - given), axis=-1)


@keras.saving.register_keras_serializable(package="own")
def plus_one(rows):
    return rows.map(lambda x, y: (x, y + 1))


@keras.saving.register_keras_serializable(package="own")
def plus_two(rows):
    return rows.map(lambda x, y: (x, y + 2))
"""


def test_workers_import_what_an_estimator_is_made_of(
    spark: SparkSession, import_source: Callable[[str, str], Any], tmp_path: Path
) -> None:
    own = import_source("own_estimator", _SOURCE)

    def make(params: dict[str, Any]) -> SparkEstimator:
        return SparkEstimator(
            keras.Sequential([keras.Input((2,)), keras.layers.Dense(1), own.Silent()]),
            custom_objects={"Silent": own.Silent},
            optimizer="sgd",
            loss=own.triple_error,
            metrics=["mse"],
            transformation_fn={"one": own.plus_one, "two": own.plus_two}[params["change"]],
        )

    search = GridSearch(
        LocalBackend(num_workers=1),
        LocalStore(prefix_path=tmp_path / "store"),
        make,
        search_space={"change": hp_choice(["one", "two"])},
        num_epochs=1,
        evaluation_metric="loss",
        validation=0.25,
        verbose=0,
    )
    df = spark.createDataFrame([([float(n), 1.0], 4.0) for n in range(60)], ["features", "label"])
    result = search.fit(df)
    found = {row["hp.change"]: row for _, row in result.leaderboard().iterrows()}
    # It always says 0, and labels are 4 before they are changed.
    assert {
        name: (row["metric.val_mse"], row["metric.val_loss"], row["metric.loss"]) for name, row in found.items()
    } == {
        "one": (25.0, 75.0, 75.0),
        "two": (36.0, 108.0, 108.0),
    }
    assert [list(row["label__output"]) for row in result.transform(df.limit(3)).collect()] == [[0.0]] * 3
