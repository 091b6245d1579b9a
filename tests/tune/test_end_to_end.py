"""Searches over models of the user's own, from DataFrame to prediction, made small."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import SparkBackend
from cerebro_nas.errors import ResumeMismatchError
from cerebro_nas.keras import SparkEstimator
from cerebro_nas.results import ModelSelectionResult
from cerebro_nas.storage import LocalStore
from cerebro_nas.tune import GridSearch
from cerebro_nas.tune import RandomSearch
from cerebro_nas.tune import TPESearch
from cerebro_nas.tune import hp_choice
from cerebro_nas.tune import hp_loguniform
from cerebro_nas.tune import hp_qloguniform

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    # TensorFlow's variables know NumPy 1 only, which saving them runs into.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

ROWS = 240
SPACE = {"units": hp_choice([8, 24]), "lr": hp_choice([0.01, 0.0001])}


def _digits_estimator(params: dict[str, Any]) -> SparkEstimator:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Flatten(),
            keras.layers.Dense(params["units"], activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    return SparkEstimator(
        model,
        optimizer=keras.optimizers.Adam(params["lr"]),
        loss="sparse_categorical_crossentropy",
        metrics=["acc"],
        batch_size=16,
    )


@pytest.fixture(scope="module")
def digits(spark: SparkSession) -> DataFrame:
    from pyspark.ml.linalg import Vectors

    pixels, labels = load_digits(return_X_y=True)
    rows = [(Vectors.dense(row), int(label)) for row, label in zip(pixels[:ROWS], labels[:ROWS], strict=True)]
    return spark.createDataFrame(rows, ["features", "label"]).cache()


@dataclass(frozen=True)
class Searched:
    """A grid search that has run on Spark."""

    search: GridSearch
    result: ModelSelectionResult
    store: Path


def _grid(backend: Any, store: Path, **given: Any) -> GridSearch:
    arguments: dict[str, Any] = {
        "search_space": SPACE,
        "num_epochs": 3,
        "evaluation_metric": "accuracy",
        "validation": 0.25,
        "verbose": 0,
        **given,
    }
    return GridSearch(backend, LocalStore(prefix_path=store), _digits_estimator, **arguments)


@pytest.fixture(scope="module")
def searched(spark: SparkSession, digits: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    store = tmp_path_factory.mktemp("grid")
    found = _grid(SparkBackend(spark_context=spark.sparkContext, num_workers=2), store)
    return Searched(found, found.fit(digits), store)


def test_every_combination_is_trained_and_the_most_accurate_is_best(searched: Searched) -> None:
    table = searched.result.leaderboard()
    assert list(table["status"]) == ["COMPLETED"] * 4
    assert {(row["hp.units"], row["hp.lr"]) for _, row in table.iterrows()} == {
        (8, 0.01),
        (8, 0.0001),
        (24, 0.01),
        (24, 0.0001),
    }
    assert list(table["score"]) == sorted(table["score"], reverse=True)
    history = searched.result.get_history()
    assert max(history["val_acc"]) == table["score"][0]
    # A hundredth of the rate learns next to nothing in three epochs.
    assert searched.search.params_of(searched.result.best_model)["lr"] == 0.01
    assert table["score"][0] > 0.5


def test_predictions_are_labels(searched: Searched, digits: DataFrame) -> None:
    found = searched.result.transform(digits.limit(50)).collect()
    assert np.mean([row["label__prediction"] == row["label"] for row in found]) > 0.5
    assert all(len(row["label__output"]) == 10 for row in found)


def test_the_sparse_loss_of_the_exported_model_is_the_same_number(searched: Searched, digits: DataFrame) -> None:
    rows = digits.collect()
    x, y = np.array([row["features"].toArray() for row in rows]), np.array([row["label"] for row in rows])
    measured = searched.result.best_model.evaluate(x.reshape(-1, 8, 8, 1), y)
    model = searched.search.export_model(searched.store / "best.keras")
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    plain = model.evaluate(x.reshape(-1, 8, 8, 1), y, verbose=0)
    assert [measured["loss"], measured["acc"]] == pytest.approx(plain, rel=1e-4)


def test_the_same_call_gives_what_has_ended_and_another_is_refused(searched: Searched, digits: DataFrame) -> None:
    again = _grid(LocalBackend(2), searched.store).fit(digits)
    assert again.leaderboard()["score"].tolist() == searched.result.leaderboard()["score"].tolist()
    assert len(again.schedule_log) == len(searched.result.schedule_log)
    changed = _grid(LocalBackend(2), searched.store, search_space={**SPACE, "units": hp_choice([8, 16])})
    with pytest.raises(ResumeMismatchError, match=r"search_space.units: it began with 'hp_choice\(\[8, 24\]\)'"):
        changed.fit(digits)


def test_other_searches_use_the_data_that_is_prepared(searched: Searched) -> None:
    space = {"units": hp_qloguniform(0.6, 1.4, 4), "lr": hp_loguniform(-3, -1)}

    def search(num_models: int) -> TPESearch:
        return TPESearch(
            LocalBackend(1),
            searched.store,
            _digits_estimator,
            space,
            num_models=num_models,
            num_epochs=1,
            parallelism=1,
            n_startup_jobs=1,
            verbose=0,
        )

    before = search(2).fit_on_prepared_data()
    found = search(3)
    result = found.fit_on_prepared_data()
    assert list(result.leaderboard()["status"]) == ["COMPLETED"] * 3
    # More models go on with the search that was there.
    assert [record.hyperparameters for record in result.records[:2]] == [r.hyperparameters for r in before.records]
    for model in result.get_all_models():
        params = found.params_of(model)
        assert params["units"] in (4, 8, 12, 16, 20, 24)
        assert model.keras().layers[-2].units == params["units"]
        assert 1e-3 <= params["lr"] <= 1e-1


# --- several inputs and outputs ---------------------------------------------------------------------------------------


def _house(params: dict[str, Any]) -> SparkEstimator:
    size, place = keras.Input((2,), name="size"), keras.Input((3,), name="place")
    both = keras.layers.Concatenate()([keras.layers.Normalization()(size), place])
    price = keras.layers.Dense(1, name="price")(both)
    kind = keras.layers.Dense(1, activation="sigmoid", name="kind")(both)
    return SparkEstimator(
        keras.Model([size, place], [price, kind]),
        optimizer=keras.optimizers.Adam(params["lr"]),
        loss={"price": "mse", "kind": "binary_crossentropy"},
        metrics={"kind": ["accuracy"], "price": [keras.metrics.RootMeanSquaredError(name="rmse")]},
        batch_size=8,
        callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=30)],
    )


def test_several_inputs_outputs_and_weights(spark: SparkSession, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    table = draw.normal(size=(120, 5))
    rows = [
        (float(row[0]), float(row[1]), row[2:].tolist(), float(row[0] + row[2]), "big" if row[1] > 0 else "small", 1.0)
        for row in table
    ]
    df = spark.createDataFrame(rows, ["rooms", "area", "where", "cost", "class", "weight"])
    found = RandomSearch(
        LocalBackend(1),
        tmp_path,
        _house,
        {"lr": hp_choice([0.1])},
        num_models=1,
        num_epochs=8,
        evaluation_metric="kind_accuracy",
        label_columns={"kind": "class", "price": "cost"},
        feature_columns={"place": ["where"], "size": ["rooms", "area"]},
        sample_weight_column="weight",
        verbose=0,
    )
    found.prepare_data(df)
    assert not (tmp_path / "runs" / "model_selection_random").exists()
    result = found.fit_on_prepared_data()
    assert found.objective == "val_kind_accuracy"
    assert max(result.get_history()["val_kind_accuracy"]) > 0.8
    assert "val_price_rmse" in result.get_history()
    costs, classes = result.best_model.predict([table[:, :2], table[:, 2:]])
    assert np.mean(classes == np.where(table[:, 1] > 0, "big", "small")) > 0.8
    assert np.corrcoef(costs, table[:, 0] + table[:, 2])[0, 1] > 0.8


# --- a single model ---------------------------------------------------------------------------------------------------


def test_one_estimator_is_a_search_of_one(spark: SparkSession, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    table = draw.normal(size=(80, 3))
    rows = [(row.tolist(), int(row[0] > 0), int(number % 5 == 0)) for number, row in enumerate(table)]
    df = spark.createDataFrame(rows, ["x", "y", "held_out"])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    estimator = SparkEstimator(model, optimizer=keras.optimizers.Adam(0.1), loss=loss, batch_size=8)
    result = estimator.fit(
        df,
        backend=LocalBackend(1),
        store=tmp_path,
        num_epochs=5,
        validation="held_out",
        label_columns=["y"],
        feature_columns=["x"],
        verbose=0,
    )
    assert len(result.records) == 1
    description = json.loads((tmp_path / "data" / "estimator" / "statistics.json").read_text())
    assert sum(shard["rows"] for shard in description["shards"] if shard["split"] == "valid") == 16
    # A logit is a number, and the decision is the user's.
    logits = result.best_model.predict(table)
    assert np.mean((logits > 0) == (table[:, 0] > 0)) > 0.8
    assert logits.min() < -0.5
