"""What a fitted model adds on Spark, what evaluators make of it, and saving."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Pipeline
from pyspark.ml import PipelineModel
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.feature import IndexToString
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import Vectors

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.ml import HyperHyperEstimator
from cerebro_nas.ml import HyperHyperEstimatorModel
from cerebro_nas.ml._packed import Packed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

pytestmark = [
    # PySpark leaves sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

MakePacked = Callable[..., Packed]
TEXTS = ("cat", "dog", "eel")
SIDE = ["features", "label"]


def _frame(spark: SparkSession, rows: Any, labels: list[Any]) -> DataFrame:
    values = [(Vectors.dense(row), label) for row, label in zip(rows.tolist(), labels, strict=True)]
    return spark.createDataFrame(values, SIDE).coalesce(1)


def _labels(kind: tuple[Any, ...], count: int) -> list[Any]:
    return [kind[number % len(kind)] for number in range(count)]


def test_without_a_model_it_says_so() -> None:
    uses: list[Callable[[Any], object]] = [
        lambda model: model.labels,
        lambda model: model.keras(),
        lambda model: model.save("x"),
        lambda model: model.transform(None),
    ]
    for use in uses:
        with pytest.raises(ConfigError, match="There is no model yet"):
            use(HyperHyperEstimatorModel())


def test_what_is_known_of_the_trial(make_packed: MakePacked) -> None:
    model = HyperHyperEstimatorModel(make_packed("onehot", TEXTS))
    assert (model.labels, model.numClasses, model.trial, model.bestEpoch) == (list(TEXTS), 3, "7", 2)
    assert (model.hyperparameters, model.history) == ({"learning_rate": 0.01}, {"loss": [3.0, 2.0, 1.0]})
    assert not model.hasSummary
    with pytest.raises(ConfigError, match="There is no summary"):
        _ = model.summary
    assert model.keras().count_params() == 15


def test_columns_are_named_in_the_order_of_training(make_packed: MakePacked) -> None:
    model = HyperHyperEstimatorModel(make_packed("onehot", TEXTS, columns=("a", "b", "c", "d")))
    model.setFeaturesCols([["w", "x"], ["y", "z"]])
    assert model._feature_names() == ["w", "x", "y", "z"]
    with pytest.raises(ConfigError, match=r"must name 4 column\(s\).*Received: featuresCols=\['features'\]"):
        HyperHyperEstimatorModel(model._packed)._feature_names()


@pytest.mark.spark
@pytest.mark.timeout(300)  # the first to start Spark's Python workers, which load TensorFlow
def test_string_labels(make_packed: MakePacked, spark: SparkSession, rows: Any) -> None:
    packed = make_packed("onehot", TEXTS)
    model = HyperHyperEstimatorModel(packed)
    labels = [*_labels(TEXTS, len(rows) - 1), "fox"]
    found = model.transform(_frame(spark, rows, labels))
    added = ["prediction", "probability", "rawPrediction", "predictedLabel", "labelIndex"]
    assert found.columns == SIDE + added
    given = found.collect()
    probabilities = np.array([row["probability"].toArray() for row in given])
    expected = packed.source.load("", "").predict(rows, verbose=0)
    assert np.allclose(probabilities, expected, atol=1e-6)
    assert [row["prediction"] for row in given] == expected.argmax(axis=1).tolist()
    assert [row["predictedLabel"] for row in given] == packed.model().predict(rows).tolist()
    assert np.allclose([row["rawPrediction"].toArray() for row in given], np.log(expected), atol=1e-4)
    assert [row["labelIndex"] for row in given] == [*_labels((0.0, 1.0, 2.0), len(rows) - 1), 3.0]
    accuracy = MulticlassClassificationEvaluator(metricName="accuracy", labelCol="labelIndex").evaluate(found)
    assert accuracy == pytest.approx(np.mean([row["predictedLabel"] == row["label"] for row in given]))
    named = IndexToString(inputCol="prediction", outputCol="again").transform(found)
    assert [row["again"] for row in named.select("again").collect()] == [row["predictedLabel"] for row in given]


@pytest.mark.spark
def test_two_strings(make_packed: MakePacked, spark: SparkSession, rows: Any) -> None:
    packed = make_packed("binary", ("no", "yes"))
    found = HyperHyperEstimatorModel(packed).transform(_frame(spark, rows, _labels(("yes", "no"), len(rows))))
    given = found.collect()
    expected = packed.source.load("", "").predict(rows, verbose=0)[:, 0]
    assert np.allclose(
        [row["probability"].toArray() for row in given], np.stack([1 - expected, expected], 1), atol=1e-6
    )
    assert [row["prediction"] for row in given] == [float(p > 0.5) for p in expected]
    assert [row["predictedLabel"] for row in given] == ["yes" if p > 0.5 else "no" for p in expected]
    from sklearn.metrics import roc_auc_score

    area = BinaryClassificationEvaluator(labelCol="labelIndex").evaluate(found)
    assert area == pytest.approx(roc_auc_score([row["label"] == "yes" for row in given], expected))


@pytest.mark.spark
@pytest.mark.parametrize("classes", [(0, 1, 2), (3, 7, 9), (0.5, 1.5, 2.5)])
def test_numbers_are_predicted_as_they_are(
    make_packed: MakePacked, spark: SparkSession, rows: Any, classes: tuple[Any, ...]
) -> None:
    packed = make_packed("onehot", classes)
    found = HyperHyperEstimatorModel(packed).transform(_frame(spark, rows, _labels(classes, len(rows))))
    assert found.columns == [*SIDE, "prediction", "probability", "rawPrediction"]
    given = found.collect()
    assert [row["prediction"] for row in given] == packed.model().predict(rows).tolist()
    accuracy = MulticlassClassificationEvaluator(metricName="accuracy").evaluate(found)
    assert accuracy == pytest.approx(np.mean([row["prediction"] == row["label"] for row in given]))


@pytest.mark.spark
def test_booleans_have_an_index(make_packed: MakePacked, spark: SparkSession, rows: Any) -> None:
    found = HyperHyperEstimatorModel(make_packed("binary", (0, 1))).transform(
        _frame(spark, rows, _labels((True, False), len(rows)))
    )
    assert found.columns == [*SIDE, "prediction", "probability", "rawPrediction", "labelIndex"]
    assert [row["labelIndex"] for row in found.collect()] == _labels((1.0, 0.0), len(rows))


@pytest.mark.spark
@pytest.mark.parametrize("vector", [Vectors.dense, list])
def test_one_hot_labels_have_an_index(make_packed: MakePacked, spark: SparkSession, rows: Any, vector: Any) -> None:
    labels = [vector(row) for row in np.eye(3)[[number % 3 for number in range(len(rows))]].tolist()]
    found = HyperHyperEstimatorModel(make_packed("onehot", (0, 1, 2))).transform(_frame(spark, rows, labels))
    assert [row["labelIndex"] for row in found.collect()] == _labels((0.0, 1.0, 2.0), len(rows))


@pytest.mark.spark
def test_numbers_to_regress_on(make_packed: MakePacked, spark: SparkSession, rows: Any) -> None:
    packed = make_packed("values")
    labels = [float(row.sum()) for row in rows]
    found = HyperHyperEstimatorModel(packed).transform(_frame(spark, rows, labels))
    assert found.columns == [*SIDE, "prediction"]
    expected = packed.model().predict(rows)
    assert np.allclose([row["prediction"] for row in found.collect()], expected, atol=1e-5)
    error = RegressionEvaluator(metricName="mae").evaluate(found)
    assert error == pytest.approx(np.mean(np.abs(expected - np.array(labels))), rel=1e-4)


@pytest.mark.spark
def test_several_numbers_are_a_vector(make_packed: MakePacked, spark: SparkSession, rows: Any) -> None:
    packed = make_packed("values", (), 2)
    found = HyperHyperEstimatorModel(packed).transform(_frame(spark, rows, [0.0] * len(rows)))
    given = np.array([row["prediction"].toArray() for row in found.collect()])
    assert np.allclose(given, packed.model().predict(rows), atol=1e-5)


@pytest.mark.spark
def test_several_labels_at_once_are_a_vector(make_packed: MakePacked, spark: SparkSession, rows: Any) -> None:
    packed = make_packed("multilabel", (0, 1, 2), 3)
    model = HyperHyperEstimatorModel(packed)
    assert (model.labels, model.numClasses) == ([0, 1, 2], 3)
    found = model.transform(_frame(spark, rows, [Vectors.dense([1.0, 0.0, 1.0])] * len(rows)))
    # Several labels have no position among the labels.
    assert found.columns == [*SIDE, "prediction", "probability", "rawPrediction"]
    given = found.collect()
    expected = packed.source.load("", "").predict(rows, verbose=0)
    assert np.allclose([row["probability"].toArray() for row in given], expected, atol=1e-6)
    assert np.allclose([row["rawPrediction"].toArray() for row in given], np.log(expected), atol=1e-4)
    predicted = np.array([row["prediction"].toArray() for row in given])
    assert predicted.tolist() == (expected > 0.5).tolist() == packed.model().predict(rows).tolist()
    plain = packed.model().transform(_frame(spark, rows, [0.0] * len(rows)))
    assert dict(plain.dtypes)["label__prediction"] == "array<double>"
    assert [row["label__prediction"] for row in plain.collect()] == predicted.tolist()


@pytest.mark.spark
def test_names_of_columns(make_packed: MakePacked, spark: SparkSession, rows: Any) -> None:
    model = HyperHyperEstimatorModel(make_packed("onehot", TEXTS)).setFeaturesCol("the.row").setLabelCol("the.name")
    frame = _frame(spark, rows, _labels(TEXTS, len(rows))).toDF("the.row", "the.name")
    model.setPredictionCol("p").setProbabilityCol("").setRawPredictionCol("").setPredictedLabelCol("name")
    assert model.transform(frame).columns == ["the.row", "the.name", "p", "name", "labelIndex"]
    short = model.transform(frame, {model.labelIndexCol: "", model.predictedLabelCol: ""})
    assert short.columns == ["the.row", "the.name", "p"]
    assert model.transform(frame.select("`the.row`")).columns == ["the.row", "p", "name"]
    for params in ({model.predictionCol: "the.name"}, {model.predictionCol: "name"}):
        with pytest.raises(ConfigError, match="must be new and different"):
            model.transform(frame, params)
    with pytest.raises(ConfigError, match="without 'the.row'"):
        model.transform(frame.select("`the.name`"))


@pytest.mark.spark
def test_the_network_is_asked_once_for_a_row(make_packed: MakePacked, spark: SparkSession, rows: Any) -> None:
    found = HyperHyperEstimatorModel(make_packed("onehot", TEXTS)).transform(
        _frame(spark, rows, _labels(TEXTS, len(rows)))
    )
    plan = found._jdf.queryExecution().executedPlan().toString()
    assert plan.count("ArrowEvalPython") == 1
    assert plan.count("predict(") == 1


@pytest.mark.spark
def test_saved_loaded_and_saved_over_itself(
    make_packed: MakePacked, spark: SparkSession, rows: Any, tmp_path: Path
) -> None:
    frame = _frame(spark, rows, _labels(TEXTS, len(rows)))
    model = HyperHyperEstimatorModel(make_packed("onehot", TEXTS)).setPredictionCol("p")
    expected = model.transform(frame).collect()
    shutil.rmtree(tmp_path / "states")
    path = str(tmp_path / "saved")
    model.save(path)
    again = HyperHyperEstimatorModel.load(path)
    assert (again.uid, again.getPredictionCol(), again.labels) == (model.uid, "p", list(TEXTS))
    assert again._packed == model._packed
    # What it was loaded from is removed before it is written.
    again.write().overwrite().save(path)
    assert HyperHyperEstimatorModel.load(path).transform(frame).collect() == expected
    with pytest.raises(ConfigError, match="must be where a HyperHyperEstimator was saved.*HyperHyperEstimatorModel"):
        HyperHyperEstimator.load(path)


@pytest.mark.spark
@pytest.mark.case(24)
def test_a_damaged_copy_is_refused(make_packed: MakePacked, spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    HyperHyperEstimatorModel(make_packed("onehot", TEXTS)).save(str(path))
    (text,) = (path / "metadata").glob("part-*.txt")
    whole = text.read_text(encoding="utf-8")
    (path / "metadata" / f".{text.name}.crc").unlink()
    damages = {
        '"sha256":"': '"sha256":"0',
        '"uid"': '"other"',
        '"paramMap":{': '"paramMap":{"noSuch":1,',
        '"cerebroNas"': '"else"',
    }
    for part, instead in damages.items():
        text.write_text(whole.replace(part, instead), encoding="utf-8")
        with pytest.raises(CorruptStateError, match="is damaged"):
            HyperHyperEstimatorModel.load(str(path))
    text.write_text(whole[:-20], encoding="utf-8")
    with pytest.raises(CorruptStateError, match="metadata in .* is damaged"):
        HyperHyperEstimatorModel.load(str(path))


@pytest.mark.spark
def test_a_pipeline_model_is_saved_with_it(
    make_packed: MakePacked, spark: SparkSession, rows: Any, tmp_path: Path
) -> None:
    names = ["a", "b", "c", "d"]
    frame = spark.createDataFrame([tuple(map(float, row)) for row in rows], names).coalesce(1)
    assembler = VectorAssembler(inputCols=names, outputCol="features")
    stages = [assembler, HyperHyperEstimatorModel(make_packed("onehot", TEXTS))]
    pipeline = Pipeline(stages=stages).fit(frame)  # type: ignore[arg-type]
    expected = pipeline.transform(frame).collect()
    pipeline.save(str(tmp_path / "pipeline"))
    again = PipelineModel.load(str(tmp_path / "pipeline"))
    again.write().overwrite().save(str(tmp_path / "pipeline"))
    assert PipelineModel.load(str(tmp_path / "pipeline")).transform(frame).collect() == expected
