"""The README's snippet runs as it stands there, on small data and with fewer and shorter trials."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SEARCH, AUTOKERAS, SPARK_ML, TUNER = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def smaller(code: str, changes: dict[str, str]) -> str:
    """The snippet with what is too much for a test; everything else of it is executed as written."""
    for written, changed in changes.items():
        assert code.count(written) == 1, written
        code = code.replace(written, changed)
    return code


def run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 (our own README)
    return names


def small_data(spark: SparkSession) -> DataFrame:
    from pyspark.ml.linalg import Vectors

    draw = np.random.default_rng(0)
    rows = []
    for number in range(64):
        pixels = {int(i): float(draw.integers(1, 256)) for i in draw.choice(784, 80, replace=False)}
        rows.append((Vectors.sparse(784, pixels), Vectors.dense(np.eye(10)[number % 10])))
    return spark.createDataFrame(rows, ["features", "label_OHE"])


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # of AutoKeras and Keras, as a user's own script would leave them
def test_the_snippet_runs(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = smaller(SEARCH, {"max_trials=20": "max_trials=1", "epochs=5": "epochs=1"})
    monkeypatch.chdir(tmp_path)
    names = run(code, {"sc": spark.sparkContext, "train_df": small_data(spark)})
    assert len(names["rel"].records) >= 1
    assert 0.0 <= names["rel"].leaderboard()["score"].iloc[0] <= 1.0
    assert "learning_rate" in capsys.readouterr().out
    run(TUNER, names)
    assert "initial_hps" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # as above
def test_the_snippet_for_those_who_come_from_autokeras_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    x_train, x_test = draw.normal(size=(80, 3)), draw.normal(size=(5, 3))
    names = {"x_train": x_train, "y_train": np.where(x_train[:, 0] > 0, "a", "b"), "x_test": x_test}
    monkeypatch.chdir(tmp_path)
    found = run(smaller(AUTOKERAS, {"max_trials=10": "max_trials=1", "epochs=20": "epochs=1"}), names)["clf"]
    assert set(np.ravel(found.predict(x_test))) <= {"a", "b"}


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # as above
def test_the_snippet_for_spark_ml_runs(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
    draw = np.random.default_rng(0).normal(size=(80, 4))
    df = spark.createDataFrame([(*map(float, row), "a" if row[0] > 0 else "b") for row in draw], columns)
    monkeypatch.chdir(tmp_path)
    code = smaller(SPARK_ML, {"maxTrials=10": "maxTrials=1", "epochs=20": "epochs=1"})
    found = {row["predictedLabel"] for row in run(code, {"df": df})["model"].transform(df).collect()}
    assert found <= {"a", "b"}
