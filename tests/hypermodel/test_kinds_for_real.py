"""A search on Spark over categories, texts and pictures at once, with two heads and weights, and what it predicts."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import autokeras as ak
import numpy as np
import pytest
from PIL import Image

from cerebro_nas import HyperHyperModel
from cerebro_nas.backend import SparkBackend
from cerebro_nas.errors import DataError
from cerebro_nas.errors import ResumeMismatchError
from cerebro_nas.results import ModelSelectionResult
from cerebro_nas.storage import LocalStore

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

ROWS = 160
FEATURES = {"review": "text", "facts": ["town", "age", "paid"], "photo": "png"}


def _png(value: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (6, 5), (value, 0, 0)).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    draw = np.random.default_rng(0)
    rows = []
    for number in range(ROWS):
        good = number % 2 == 0
        text = f"A {'splendid, warm' if good else 'dull; cold'} evening no {number % 9}"
        town = ["Bern", "Oslo", "Rome"][number % 3]
        price = float(number % 3 + draw.normal())
        rows.append((text, town, number % 50, good, _png(200 if good else 20), "good" if good else "bad", price, 1.0))
    return spark.createDataFrame(rows, ["text", "town", "age", "paid", "png", "kind", "price", "weight"]).cache()


def _model(spark: SparkSession, path: Path, **changed: Any) -> HyperHyperModel:
    review, facts, photo = (
        ak.TextInput(name="review"),
        ak.StructuredDataInput(name="facts"),
        ak.ImageInput(name="photo"),
    )
    words = ak.Flatten()(ak.Embedding(max_features=12, embedding_dim=32, dropout=0.0)(review))
    table = ak.StructuredDataBlock(normalize=True)(facts)
    pixels = ak.Flatten()(ak.Normalization()(photo))
    merged = ak.DenseBlock(num_layers=1, use_batchnorm=False, dropout=0.0)(
        ak.Merge("concatenate")([words, table, pixels])
    )
    heads = [
        ak.ClassificationHead(name="kind", dropout=0.0)(merged),
        ak.RegressionHead(name="price", dropout=0.0)(merged),
    ]
    model = HyperHyperModel([review, facts, photo], heads, max_trials=2, seed=1, project_name="mixed")
    bound = {"feature_columns": FEATURES, "label_columns": {"price": "price", "kind": "kind"}, **changed}
    backend = SparkBackend(spark_context=spark.sparkContext, num_workers=2)
    model.resource_bind(backend, LocalStore(path / "store"), sample_weight_column="weight", verbose=0, **bound)
    model.tuner_bind("random")
    return model


@dataclass(frozen=True)
class Fitted:
    model: HyperHyperModel
    result: ModelSelectionResult
    path: Path


@pytest.fixture(scope="module")
def fitted(spark: SparkSession, frame: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    path = tmp_path_factory.mktemp("mixed")
    model = _model(spark, path)
    return Fitted(model, model.fit(frame, epochs=4), path)


def test_every_kind_of_column_is_learned_from(fitted: Fitted) -> None:
    assert [record.status_name for record in fitted.result.records] == ["COMPLETED"] * 2
    history = fitted.result.get_history()
    # Each of text, truth value and picture tells the class.
    assert max(history["val_kind_accuracy"]) > 0.9


def test_spark_predicts_labels_as_they_stand_in_the_data(fitted: Fitted, frame: DataFrame) -> None:
    rows = fitted.result.transform(frame).select("kind", "kind__prediction", "price__prediction").collect()
    assert len(rows) == ROWS
    assert {row["kind__prediction"] for row in rows} <= {"good", "bad"}
    assert np.mean([row["kind"] == row["kind__prediction"] for row in rows]) > 0.9
    assert all(isinstance(row["price__prediction"], float) for row in rows)


def test_arrays_give_the_predictions_that_spark_gives(fitted: Fitted, frame: DataFrame) -> None:
    rows = fitted.result.transform(frame).limit(20).collect()
    table = np.array([[row["town"], row["age"], row["paid"]] for row in rows], dtype=object)
    x = {
        "review": np.array([row["text"] for row in rows]),
        "photo": [bytes(row["png"]) for row in rows],
        "facts": table,
    }
    kinds, prices = fitted.model.predict(x)
    assert kinds.tolist() == [row["kind__prediction"] for row in rows]
    assert np.allclose(prices, [row["price__prediction"] for row in rows], atol=1e-5)


def test_evaluation_on_spark_covers_both_heads(fitted: Fitted, frame: DataFrame) -> None:
    found = fitted.model.evaluate(frame, return_dict=True)
    assert {"loss", "kind_accuracy", "price_mean_squared_error"} <= set(found)
    assert found["kind_accuracy"] > 0.9


def test_unseen_categories_and_words_are_no_errors_and_nulls_are(fitted: Fitted, frame: DataFrame) -> None:
    from pyspark.sql import functions as F

    strange = frame.limit(3).withColumn("town", F.lit("Paris")).withColumn("text", F.lit("unheard of"))
    assert len(fitted.result.transform(strange).collect()) == 3
    with pytest.raises(DataError, match="- column 'town': null in 3 of 3 rows"):
        fitted.model.evaluate(strange.withColumn("town", F.lit(None).cast("string")))


def test_another_use_of_the_columns_is_another_search(spark: SparkSession, fitted: Fitted, frame: DataFrame) -> None:
    swapped = {**FEATURES, "facts": ["age", "town", "paid"]}
    with pytest.raises(ResumeMismatchError, match="feature_columns"):
        _model(spark, fitted.path, feature_columns=swapped).fit(frame, epochs=4)
