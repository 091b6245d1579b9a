"""DataFrames, arrays, pandas and the exported model give the same answers, also after a second search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import autokeras as ak
import numpy as np
import pandas as pd
import pytest
from keras_tuner import HyperParameters

from cerebro_nas import HyperHyperModel
from cerebro_nas import ModelSelectionResult
from cerebro_nas.backend import LocalBackend
from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

COLUMNS = ["age", "a.b"]


def _search(spark: SparkSession, store: Path, rate: float) -> tuple[HyperHyperModel, ModelSelectionResult]:
    draw = np.random.default_rng(0)
    # Whole numbers kept as doubles, as ages and counts come.
    rows = [(float(a), float(b), float(a - 2 * b)) for a, b in draw.integers(0, 90, (80, 2))]
    df = spark.createDataFrame(rows, [*COLUMNS, "y"])
    inputs = ak.Input()
    graph = ak.DenseBlock(num_layers=1, use_batchnorm=False, dropout=0.0)(ak.Normalization()(inputs))
    model = HyperHyperModel(inputs, ak.RegressionHead(dropout=0.0)(graph), max_trials=1, overwrite=True, seed=0)
    model.resource_bind(LocalBackend(1), store, label_columns="y", feature_columns=COLUMNS, verbose=0)
    hp = HyperParameters()
    hp.Fixed("learning_rate", rate)
    model.tuner_bind("random", hyperparameters=hp)
    return model, model.fit(df, epochs=2)


@pytest.fixture(scope="module")
def searched(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[HyperHyperModel, Any]:
    """Two searches of one name, the answers of the first asked for in between."""
    store = tmp_path_factory.mktemp("store")
    first, result = _search(spark, store, 0.1)
    first.predict(np.ones((1, 2)))
    assert len(result.transform(spark.createDataFrame([(1.0, 1.0)], COLUMNS)).collect()) == 1
    return _search(spark, store, 0.001)[0], first


def test_a_search_of_the_same_name_answers_with_its_own_model(searched: Any, spark: SparkSession) -> None:
    model, first = searched
    rows = np.array([[20.0, 30.0], [40.0, 3.0]])
    expected = model.export_model().predict(rows, verbose=0).reshape(-1)
    assert np.allclose(model.predict(rows), expected, rtol=1e-5)
    found = model.predict(spark.createDataFrame(rows.tolist(), COLUMNS)).toPandas()["y__prediction"]
    assert np.allclose(found, expected, rtol=1e-5)
    assert not np.allclose(first.predict(rows), expected)


def test_numbers_unlike_those_of_training(searched: Any, spark: SparkSession) -> None:
    """Stored as bytes, but neither a fraction, nor a negative number, nor one above 255 may wrap."""
    model, _ = searched
    rows = np.array([[30.9, 1.0], [-0.5, 1.0], [300.0, 1.0], [30.0, 1.0]])
    arrays = model.predict(rows)
    frame = model.predict(spark.createDataFrame(rows.tolist(), COLUMNS)).toPandas()["y__prediction"]
    assert np.allclose(arrays, frame, rtol=1e-5)
    assert np.allclose(model.export_model().predict(rows, verbose=0).reshape(-1), arrays, rtol=1e-5)
    assert len(set(np.round(arrays, 4))) == 4


def test_evaluation_knows_columns_with_dots(searched: Any, spark: SparkSession) -> None:
    model, _ = searched
    rows = [(20.0, 30.0, 1.0), (40.0, 3.0, 2.0)]
    by_frame = model.evaluate(spark.createDataFrame(rows, [*COLUMNS, "y"]))
    by_array = model.evaluate([[20.0, 30.0], [40.0, 3.0]], [1.0, 2.0])
    assert np.allclose(by_frame, by_array, rtol=1e-5)


def test_pandas_goes_by_name(searched: Any) -> None:
    model, _ = searched
    frame = pd.DataFrame({"a.b": [3.0, 30.0], "other": [0, 0], "age": [40.0, 20.0]})
    assert np.allclose(model.predict(frame), model.predict(frame[COLUMNS].to_numpy()))
    with pytest.raises(ConfigError, match="without 'age'"):
        model.predict(frame[["a.b"]])


def test_rows_of_another_width(searched: Any) -> None:
    with pytest.raises(ConfigError, match=r"rows of shape \(2,\).*shape \(3, 1\)"):
        searched[0].predict(np.ones((3, 1)))
