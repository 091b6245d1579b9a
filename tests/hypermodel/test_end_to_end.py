"""Searches on Spark from DataFrame to prediction, as users run them, made small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import autokeras as ak
import keras
import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.datasets import load_digits

import cerebro_nas
from cerebro_nas import HyperHyperModel
from cerebro_nas.backend import SparkBackend
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import DataError
from cerebro_nas.errors import ResumeMismatchError
from cerebro_nas.errors import StoreError
from cerebro_nas.hopper import Shard
from cerebro_nas.results import ModelSelectionResult
from cerebro_nas.storage import LocalStore

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    # Py4J leaves the socket of a thread that ended to the garbage collector, which says so.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    # TensorFlow's variables know NumPy 1 only, which saving them runs into.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

ROWS, TEST_ROWS = 300, 60
SHAPE = (8, 8, 1)
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Digits:
    """The digits as arrays and as DataFrames: `x` in 0..16, `number`, `word` and the vector `onehot` say which."""

    x: Any
    y: Any
    train: DataFrame
    test: DataFrame


@pytest.fixture(scope="module")
def digits(spark: SparkSession) -> Digits:
    from pyspark.ml.linalg import Vectors

    features, labels = load_digits(return_X_y=True)
    count = ROWS + TEST_ROWS
    rows = [
        (Vectors.dense(row), int(label), WORDS[label], Vectors.dense(np.eye(10)[label]), number)
        for number, (row, label) in enumerate(zip(features[:count], labels[:count], strict=True))
    ]
    df = spark.createDataFrame(rows, ["x", "number", "word", "onehot", "id"]).cache()
    return Digits(
        features[ROWS:count].reshape(-1, *SHAPE),
        labels[ROWS:count],
        df.where(f"id < {ROWS}"),
        df.where(f"id >= {ROWS}"),
    )


def _dense() -> tuple[Any, Any]:
    inputs = ak.ImageInput()
    blocks = ak.DenseBlock(num_layers=1, use_batchnorm=False, dropout=0.0)(ak.Normalization()(inputs))
    return inputs, ak.ClassificationHead(dropout=0.0)(blocks)


def _bound(spark: SparkSession, path: Path, graph: tuple[Any, Any], label: str, **changed: Any) -> HyperHyperModel:
    arguments = {"max_trials": 2, "seed": 2, "overwrite": True, **changed}
    model = HyperHyperModel(*graph, **arguments)
    model.resource_bind(
        backend=SparkBackend(spark_context=spark.sparkContext, num_workers=2),
        store=LocalStore(path / "store"),
        label_columns=[label],
        feature_columns=["x"],
        evaluation_metric="accuracy",
        verbose=0,
    )
    return model


@dataclass(frozen=True)
class Fitted:
    """A search that has run."""

    model: HyperHyperModel
    result: ModelSelectionResult
    path: Path


@pytest.fixture(scope="module")
def fitted(spark: SparkSession, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    path = tmp_path_factory.mktemp("fitted")
    model = _bound(spark, path, _dense(), "number", max_trials=3, project_name="digits")
    model.tuner_bind("random", objective="val_accuracy")
    return Fitted(model, model.fit(digits.train, epochs=2, input_shape=SHAPE), path)


@pytest.fixture
def best(fitted: Fitted) -> Any:
    return fitted.result.keras()


# --- the result -------------------------------------------------------------------------------------------------------


def test_the_leaderboard(fitted: Fitted) -> None:
    table = fitted.result.leaderboard()
    assert len(table) == 3
    assert list(table["status"]) == ["COMPLETED"] * 3
    assert list(table["score"]) == sorted(table["score"], reverse=True)
    columns = list(table.columns)
    assert columns[:4] == ["trial", "score", "status", "reason"]
    assert columns[-5:] == ["cost.latency_ms", "cost.seconds", "cost.epochs", "cost.units", "best_epoch"]
    assert {"metric.loss", "metric.accuracy", "metric.val_loss", "metric.val_accuracy"} <= set(columns)
    assert any(name.startswith("hp.dense_block_1/") for name in columns)
    assert (table["score"] == table["metric.val_accuracy"]).all()
    # Two epochs of two training shards and at least one of validation.
    assert (table["cost.units"] >= 6).all()
    assert (table["cost.parameters"] > 0).all()


def test_what_the_search_left_in_the_store(fitted: Fitted) -> None:
    directory = Path(fitted.result.directory)
    assert directory == fitted.path / "store" / "runs" / "digits"
    lines = (directory / "leaderboard.csv").read_text().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("trial,score,status,reason,")
    assert "<svg" in (directory / "timeline.svg").read_text()
    assert len((directory / "schedule.jsonl").read_text().splitlines()) >= 18
    assert not list(fitted.path.rglob("_staging*"))


def test_the_models(fitted: Fitted) -> None:
    result = fitted.result
    ranked = [row.trial for row in result.leaderboard().itertuples()]
    assert [model.trial for model in result.get_all_models()] == ranked
    assert [model.trial for model in result.get_best_models(2)] == ranked[:2]
    assert result.get_best_model().trial == ranked[0]
    assert repr(result).startswith("ModelSelectionResult(3 trials, best val_accuracy=")
    assert result.stopped_because == "all 3 trials are done"
    sizes = [model.keras().count_params() for model in result.get_all_models()]
    assert sizes == result.leaderboard()["cost.parameters"].tolist()


def test_models_are_loaded_only_when_they_are_asked_for(fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    source = type(fitted.result.best_model.source)
    load = source.load

    def spy(self: Any, trial: str, name: str) -> Any:
        loaded.append(trial)
        return load(self, trial, name)

    monkeypatch.setattr(source, "load", spy)
    models = fitted.result.get_all_models()
    fitted.result.get_best_model()
    first = next(models)
    assert loaded == []
    first.keras()
    assert loaded == [first.trial]


def test_the_history(fitted: Fitted) -> None:
    history = fitted.result.get_history()
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(history)
    assert {len(values) for values in history.values()} == {2}
    assert max(history["val_accuracy"]) == fitted.result.leaderboard()["score"].iloc[0]


def test_summaries_are_printed(fitted: Fitted, capsys: pytest.CaptureFixture[str]) -> None:
    fitted.model.tuner.search_space_summary()
    assert "learning_rate (Choice)" in capsys.readouterr().out
    fitted.model.tuner.results_summary(2)
    text = capsys.readouterr().out
    assert "Showing 2 best trials" in text
    assert text.count("Score:") == 2


# --- prediction -------------------------------------------------------------------------------------------------------


def test_transform_agrees_with_keras(fitted: Fitted, digits: Digits, best: Any) -> None:
    found = fitted.result.transform(digits.test)
    assert found.columns == [*digits.test.columns, "number__output", "number__prediction"]
    rows = found.orderBy("id").collect()
    expected = best.predict(digits.x, verbose=0)
    assert np.allclose([row["number__output"] for row in rows], expected, atol=1e-5)
    assert [row["number__prediction"] for row in rows] == expected.argmax(axis=1).tolist()
    assert [row["number"] for row in rows] == digits.y.tolist()


def test_predict_gives_labels(fitted: Fitted, digits: Digits, best: Any) -> None:
    labels = fitted.model.predict(digits.x)
    assert labels.tolist() == best.predict(digits.x, verbose=0).argmax(axis=1).tolist()
    assert "number__prediction" in fitted.model.predict(digits.test).columns


def test_both_ways_to_evaluate_agree_with_keras(fitted: Fitted, digits: Digits, best: Any) -> None:
    expected = best.evaluate(digits.x, np.eye(10)[digits.y], verbose=0, return_dict=True)
    by_spark = fitted.model.evaluate(digits.test, return_dict=True)
    by_arrays = fitted.model.evaluate(digits.x, digits.y, return_dict=True)
    for found in (by_spark, by_arrays):
        assert list(found) == ["loss", "accuracy"]
        assert found == pytest.approx(expected, rel=1e-4)
    assert fitted.model.evaluate(digits.x, digits.y) == pytest.approx(list(by_arrays.values()))


def test_the_score_is_that_of_the_model(fitted: Fitted, digits: Digits) -> None:
    """The best model has the weights that the score was measured with: training rows are near it, not at chance."""
    found = fitted.model.evaluate(digits.train, return_dict=True)
    assert found["accuracy"] > 0.3


def test_other_output_columns(fitted: Fitted, digits: Digits) -> None:
    try:
        found = fitted.result.set_output_columns(["probabilities"]).transform(digits.test)
        assert found.columns[-2:] == ["probabilities", "number__prediction"]
    finally:
        fitted.result.set_output_columns(["number__output"])


def test_a_frame_without_the_features_is_refused(fitted: Fitted, digits: Digits) -> None:
    with pytest.raises(ConfigError, match="without 'x'"):
        fitted.result.transform(digits.test.drop("x"))
    with pytest.raises(ConfigError, match="without 'number'"):
        fitted.model.evaluate(digits.test.drop("number"))


def test_no_rows(fitted: Fitted, digits: Digits) -> None:
    nothing = digits.test.where("id < 0")
    assert fitted.result.transform(nothing).collect() == []
    with pytest.raises(DataError, match="at least one row"):
        fitted.model.evaluate(nothing)


def test_an_unseen_label(fitted: Fitted, digits: Digits) -> None:
    from pyspark.sql import functions as F

    told = r"Labels should be among the classes.*Received: \['77'\] in 'number'"
    with pytest.raises(ConfigError, match=told):
        fitted.model.evaluate(digits.x, np.full(TEST_ROWS, 77))
    with pytest.raises(ConfigError, match=told):
        fitted.model.evaluate(digits.test.withColumn("number", F.lit(77)))


def test_rows_that_do_not_fit(fitted: Fitted, digits: Digits) -> None:
    from pyspark.sql import functions as F

    short = digits.test.withColumn("x", F.array(F.lit(1.0), F.lit(2.0)))
    with pytest.raises(DataError, match=rf"- column 'x': size is not 64 in {TEST_ROWS} of {TEST_ROWS} rows"):
        fitted.model.evaluate(short)


def test_export(fitted: Fitted, digits: Digits, tmp_path: Path) -> None:
    model = fitted.model.export_model(tmp_path / "best.keras")
    again = keras.models.load_model(tmp_path / "best.keras", compile=False)
    assert np.allclose(again.predict(digits.x, verbose=0), model.predict(digits.x, verbose=0), atol=1e-6)
    assert model.loss is not None


# --- prepared data ----------------------------------------------------------------------------------------------------


def test_prepared_data_is_used_again_and_only_for_the_same(
    spark: SparkSession, fitted: Fitted, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cerebro_nas import data

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the data was prepared again")

    monkeypatch.setattr(data, "prepare_data", refuse)
    model = _bound(spark, fitted.path, _dense(), "word", max_trials=1, project_name="digits", directory=fitted.path)
    with pytest.raises(DataError, match="was prepared from something else:\n- label_columns"):
        model.fit_on_prepared_data(epochs=1)
    model = _bound(spark, fitted.path, _dense(), "number", max_trials=1, project_name="digits", directory=fitted.path)
    with pytest.raises(DataError, match="- input_shape"):
        model.fit_on_prepared_data(epochs=1, input_shape=(4, 16, 1))
    with pytest.raises(DataError, match="- schema"):
        model.fit_on_prepared_data(digits.train.withColumn("number", digits.train["number"].cast("string")), epochs=1)
    result = model.fit_on_prepared_data(digits.train, epochs=1, input_shape=SHAPE)
    assert list(result.leaderboard()["status"]) == ["COMPLETED"]


def test_no_prepared_data(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        _bound(spark, tmp_path, _dense(), "number").fit_on_prepared_data(epochs=1)


@pytest.mark.case(33)
def test_another_search_of_the_name_is_refused(spark: SparkSession, fitted: Fitted, digits: Digits) -> None:
    def search(graph: Any, objective: str = "val_accuracy") -> HyperHyperModel:
        model = _bound(spark, fitted.path, graph, "number", project_name="digits", overwrite=False, max_trials=3)
        model.tuner_bind("random", objective=objective)
        return model

    inputs, _ = _dense()
    wider = inputs, ak.ClassificationHead(dropout=0.0)(ak.DenseBlock(num_layers=2)(ak.Normalization()(inputs)))
    with pytest.raises(ResumeMismatchError, match=r"graph: dense_block_\d.num_layers: it began with 1. Received: 2\n"):
        search(wider).fit(digits.train, epochs=2, input_shape=SHAPE)
    with pytest.raises(
        ResumeMismatchError, match=r"objective: it began with 'val_accuracy' \(max\). Received: 'val_loss' \(min\)"
    ):
        search(_dense(), "val_loss").fit(digits.train, epochs=2, input_shape=SHAPE)
    with pytest.raises(ResumeMismatchError, match="data: source: it began with '.* rows .*'. Received"):
        search(_dense()).fit(digits.train.where("id > 0"), epochs=2, input_shape=SHAPE)
    assert (Path(fitted.result.directory) / "leaderboard.csv").exists()


def test_the_same_search_again_gives_what_it_gave(spark: SparkSession, fitted: Fitted, digits: Digits) -> None:
    model = _bound(spark, fitted.path, _dense(), "number", project_name="digits", overwrite=False, max_trials=3)
    model.tuner_bind("random", objective="val_accuracy")
    again = model.fit(digits.train.repartition(3), epochs=2, input_shape=SHAPE)
    assert again.leaderboard().equals(fitted.result.leaderboard())
    assert np.allclose(model.predict(digits.x), fitted.model.predict(digits.x))


def test_the_space_is_shown_without_training(
    spark: SparkSession, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _bound(spark, tmp_path, _dense(), "number")
    space = model.test_tuner_space(digits.train, input_shape=SHAPE)
    names = [entry.name for entry in space.space]
    assert "learning_rate" in names
    assert all(name in capsys.readouterr().out for name in names[:1])
    with pytest.raises(ConfigError, match="There is no model yet"):
        _ = model.result


# --- kinds of labels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["onehot", "word"])
def test_labels_as_vectors_and_as_words(
    spark: SparkSession, digits: Digits, tmp_path: Path, no_leaks: None, label: str
) -> None:
    model = _bound(spark, tmp_path, _dense(), label, max_trials=1)
    result = model.fit(digits.train, epochs=2, input_shape=SHAPE)
    rows = result.transform(digits.test).orderBy("id").collect()
    probabilities = result.keras().predict(digits.x, verbose=0)
    assert np.allclose([row[f"{label}__output"] for row in rows], probabilities, atol=1e-5)
    names = sorted(WORDS) if label == "word" else list(range(10))
    expected = [names[position] for position in probabilities.argmax(axis=1)]
    assert [row[f"{label}__prediction"] for row in rows] == expected
    assert model.predict(digits.x).tolist() == expected
    labels = [WORDS[y] for y in digits.y] if label == "word" else np.eye(10)[digits.y]
    by_arrays = model.evaluate(digits.x, np.array(labels), return_dict=True)
    assert model.evaluate(digits.test, return_dict=True) == pytest.approx(by_arrays, rel=1e-4)
    right = [name == labels[n] if label == "word" else name == digits.y[n] for n, name in enumerate(expected)]
    assert by_arrays["accuracy"] == pytest.approx(np.mean(right), abs=1e-6)


def test_regression_on_a_table_of_numbers(spark: SparkSession, tmp_path: Path) -> None:
    data = load_diabetes()
    names = list(data.feature_names)
    rows = [(*map(float, row), float(y)) for row, y in zip(data.data[:200], data.target[:200], strict=True)]
    df = spark.createDataFrame(rows, [*names, "target"])
    inputs = ak.Input()
    outputs = ak.RegressionHead()(ak.DenseBlock(num_layers=1, use_batchnorm=False, dropout=0.0)(inputs))
    model = HyperHyperModel(inputs, outputs, max_trials=1, seed=1)
    model.resource_bind(
        backend=SparkBackend(spark_context=spark.sparkContext, num_workers=2),
        store=str(tmp_path / "store"),
        label_columns="target",
        feature_columns=names,
        verbose=0,
        num_shards=3,
    )
    assert model.objective == "val_loss"
    result = model.fit(df, epochs=2)
    visited = {entry.unit.shard for entry in result.schedule_log if entry.unit.phase == "train"}
    assert visited == {Shard("train", index) for index in range(3)}
    rows_again = result.transform(df).limit(20).collect()
    x = np.array([[row[name] for name in names] for row in rows_again], dtype="float32")
    expected = result.keras().predict(x, verbose=0)
    assert np.allclose([row["target__output"] for row in rows_again], expected, rtol=1e-4)
    assert np.allclose([row["target__prediction"] for row in rows_again], expected[:, 0], rtol=1e-4)
    assert model.predict(x).shape == (20,)
    y = np.array([row["target"] for row in rows_again])
    assert model.evaluate(x, y)[0] == pytest.approx(float(np.mean((expected[:, 0] - y) ** 2)), rel=1e-3)


# --- the published form -----------------------------------------------------------------------------------------------


@pytest.fixture
def noise(spark: SparkSession) -> Callable[[], DataFrame]:
    def make() -> DataFrame:
        from pyspark.ml.linalg import Vectors

        draw = np.random.default_rng(0)
        rows = [
            (Vectors.dense(draw.integers(0, 256, 784).astype(float)), Vectors.dense(np.eye(10)[n % 10]))
            for n in range(40)
        ]
        return spark.createDataFrame(rows, ["features", "label_OHE"])

    return make


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default", "ignore:unclosed <socket:ResourceWarning")
def test_the_published_example(spark: SparkSession, noise: Callable[[], DataFrame], tmp_path: Path) -> None:
    input_node = ak.ImageInput()
    output_node = ak.Normalization()(input_node)
    output_node1 = ak.ConvBlock()(output_node)
    output_node2 = ak.ResNetBlock(version="v2")(output_node)
    output_node = ak.Merge()([output_node1, output_node2])
    output_node = ak.ClassificationHead()(output_node)
    am = HyperHyperModel(inputs=input_node, outputs=output_node, overwrite=True, max_trials=1, seed=0)
    am.resource_bind(
        backend=SparkBackend(spark_context=spark.sparkContext, num_workers=2),
        store=LocalStore(tmp_path),
        evaluation_metric="accuracy",
        label_columns=["label_OHE"],
        feature_columns=["features"],
        verbose=0,
    )
    am.tuner_bind(tuner="randomsearch", hyperparameters=None, objective="val_accuracy", max_trials=1, overwrite=True)
    result = am.fit(noise(), epochs=1, input_shape=(28, 28, 1))
    assert list(result.leaderboard()["status"]) == ["COMPLETED"]
    assert result.transform(noise()).count() == 40


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default", "ignore:unclosed <socket:ResourceWarning")
def test_the_short_form(spark: SparkSession, noise: Callable[[], DataFrame], tmp_path: Path) -> None:
    am = HyperHyperModel(ak.ImageInput(), ak.ClassificationHead(), max_trials=1, max_model_size=200_000, seed=0)
    am.resource_bind(
        SparkBackend(spark=spark, num_workers=2), str(tmp_path), 0.2, "accuracy", "label_OHE", "features", 0
    )
    result = am.fit(noise(), epochs=1, input_shape=(28, 28, 1))
    done = result.leaderboard().query("status == 'COMPLETED'")
    assert len(done) == 1
    assert done["cost.parameters"].iloc[0] <= 200_000


# --- one core, and nothing left ---------------------------------------------------------------------------------------

_ONE_CORE = """
import json, os, sys, tempfile, threading
from pathlib import Path

def main(path):
    tempfile.tempdir = os.environ["TMPDIR"]
    import autokeras as ak, numpy as np, psutil
    from pyspark.sql import SparkSession
    from cerebro_nas import HyperHyperModel
    from cerebro_nas.backend import SparkBackend
    from cerebro_nas.backend.spark import ensure_java
    ensure_java()
    spark = SparkSession.builder.master("local").config("spark.ui.enabled", "false").getOrCreate()
    draw = np.random.default_rng(0)
    df = spark.createDataFrame([(draw.random(16).tolist(), n % 2) for n in range(60)], "x array<double>, y int")
    df.count()
    inputs = ak.ImageInput()
    head = ak.ClassificationHead(dropout=0.0)(ak.DenseBlock(num_layers=1, use_batchnorm=False, dropout=0.0)(inputs))
    model = HyperHyperModel(inputs, head, max_trials=2, seed=0)
    me = psutil.Process()
    def left():
        threads = [t.name for t in threading.enumerate() if not type(t).__module__.startswith("py4j")]
        # What Spark keeps: its JVM and, below it, the daemon of Python workers.
        children = [c for c in me.children(recursive=True) if c.status() != psutil.STATUS_ZOMBIE]
        commands = [" ".join(c.cmdline()) for c in children]
        ports = [c.laddr.port for c in me.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        kept = ("pyspark.daemon", "SparkSubmit", "resource_tracker")
        return sorted(threads), sorted(c for c in commands if not any(k in c for k in kept)), sorted(ports)
    before = left()
    model.resource_bind(SparkBackend(spark_context=spark.sparkContext, num_workers=1), path + "/store",
        evaluation_metric="accuracy", label_columns="y", feature_columns="x", verbose=0)
    result = model.fit(df, epochs=1, input_shape=(4, 4, 1))
    after = left()
    predictions = [row["y__prediction"] for row in result.transform(df).collect()]
    told = {"statuses": list(result.leaderboard()["status"]), "predictions": sorted(set(predictions)),
        "rows": len(predictions), "before": before, "after": after}
    print("TOLD" + json.dumps(told))
    spark.stop()

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.timeout(240)
def test_one_core_does_one_thing_after_another(tmp_path: Path) -> None:
    """With `master("local")` there is one slot, which preparation, the search and prediction need in turn."""
    script, scratch = tmp_path / "one_core.py", tmp_path / "tmp"
    script.write_text(_ONE_CORE)
    scratch.mkdir()
    root = str(Path(cerebro_nas.__file__).parents[1])
    environment = {**os.environ, "TMPDIR": str(scratch), "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, env=environment, timeout=220
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("TOLD")]
    told = json.loads(line.removeprefix("TOLD"))
    assert told["statuses"] == ["COMPLETED"] * 2
    assert told["rows"] == 60
    assert set(told["predictions"]) <= {0, 1}
    assert told["after"] == told["before"]
    assert [path for path in scratch.rglob("*") if "cerebro" in path.name] == []
