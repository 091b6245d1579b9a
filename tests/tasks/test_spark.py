"""`AutoModel` on Spark DataFrames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pytest

import cerebro_nas as ak
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.errors import ConfigError

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

Make = Callable[..., ak.AutoModel]
ROWS = 60


@pytest.fixture(scope="module")
def df(spark: SparkSession) -> DataFrame:
    draw = np.random.default_rng(0)
    rows = [(row.tolist(), "up" if row[0] > row[1] else "down") for row in draw.normal(size=(ROWS, 4))]
    return spark.createDataFrame(rows, "x array<double>, y string").coalesce(1).cache()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def of(backend: Any = None, **bound: Any) -> ak.AutoModel:
        node = ak.Input()
        block = ak.DenseBlock(num_layers=1, num_units=8, dropout=0.0, use_batchnorm=False)
        head = ak.ClassificationHead(dropout=0.0)(block(node))
        model = ak.AutoModel(node, head, directory=tmp_path, max_trials=1, tuner="random")
        model.resource_bind(backend or SimulatedBackend(2), **bound)
        return model

    return of


def test_columns_come_from_y_or_from_resource_bind(make: Make, df: DataFrame) -> None:
    model = make(feature_columns=["x"])
    history = model.fit(df, "y", epochs=2, verbose=0)
    assert history.epoch == [0, 1]
    prepared = model._model._prepared
    assert prepared is not None
    assert [column.name for column in prepared.labels] == ["y"]
    # A fraction of the rows was drawn to validate on, and trained on in the end.
    assert 2 <= prepared.valid_rows <= 30
    again = make(feature_columns=["x"], label_columns=["y"])
    assert again.fit(df, epochs=2, verbose=0).history == history.history


def test_another_dataframe_to_validate_on(make: Make, df: DataFrame) -> None:
    model = make(feature_columns=["x"], label_columns=["y"])
    model.fit(df, validation_data=df.limit(7), epochs=1, verbose=0)
    prepared = model._model._prepared
    assert prepared is not None
    assert (prepared.train_rows, prepared.valid_rows) == (ROWS, 7)
    with pytest.raises(ConfigError, match="`validation_data` must be a Spark DataFrame"):
        model.fit(df, validation_data=(np.zeros((1, 4)), np.zeros(1)), epochs=1, verbose=0)


def test_predictions_come_as_a_dataframe(make: Make, df: DataFrame) -> None:
    model = make(LocalBackend(2, threads_per_worker=1), feature_columns=["x"], label_columns=["y"])
    model.fit(df, epochs=1, verbose=0)
    found = model.predict(df.limit(5))
    assert "y__prediction" in found.columns
    assert {row["y__prediction"] for row in found.collect()} <= {"up", "down"}
    loss, accuracy = model.evaluate(df, verbose=0)
    assert loss > 0
    assert 0 <= accuracy <= 1
    # The labels as they stand in the data, and an array of them for arrays.
    shown = model.predict(np.zeros((3, 4)), verbose=0)
    assert shown.shape == (3, 1)
    assert set(shown.ravel()) <= {"up", "down"}
