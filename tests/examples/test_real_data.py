"""The examples on real data, small: each ends well, says how good it is beside a baseline, and leaves a model."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EXAMPLES = Path(__file__).parents[2] / "examples"
NOISE = ("oneDNN", "absl", "WARNING", "Warning", "log4j", "Setting default log level", "Traceback")
SMALL = ("--trials", "2", "--epochs", "2")


def load(name: str) -> ModuleType:
    """An example as a module, without running it."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: str, *arguments: str, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert [noise for noise in NOISE if noise in text] == [], text
    assert "Took" in text
    return text


def figures(text: str, line: str) -> list[float]:
    """The numbers with decimals in the line that begins so."""
    (found,) = re.findall(rf"^{line}.*$", text, flags=re.MULTILINE)
    return [float(number) for number in re.findall(r"-?\d+\.\d+", found)]


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(600)
def test_a_table_of_tumours(tmp_path: Path) -> None:
    text = run("tabular_classification.py", *SMALL, cwd=tmp_path)
    assert "Search ended: all 2 trials are done" in text
    (accuracy,) = figures(text, "best network")
    (never,) = figures(text, "always benign")
    assert accuracy > never
    assert figures(text, "logistic regression")[0] > 0.9
    # Words as they stand in the data, in a column of features and as predictions.
    assert re.search(r"^ *(smooth|fine|rough|coarse) +(malignant|benign) +(malignant|benign)$", text, re.MULTILINE)
    assert (tmp_path / "runs" / "tumours" / "best.keras").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_table_of_patients_without_spark(tmp_path: Path) -> None:
    text = run("tabular_regression.py", "--trials", "2", "--epochs", "20", cwd=tmp_path)
    assert "Search ended: all 2 trials are done" in text
    error, _ = figures(text, "best network")
    assert 0 < error < 100
    assert figures(text, "ridge regression")[1] > 0.3
    assert (tmp_path / "runs" / "diabetes" / "best.keras").exists()


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(600)
def test_docstrings(tmp_path: Path) -> None:
    text = run("text_classification.py", "--rows", "120", *SMALL, cwd=tmp_path)
    # Six libraries, and a few texts that stand in two of them.
    assert re.search(r"^5[67]\d docstrings to search with, 14[0-4] held out", text, re.MULTILINE)
    assert "Search ended: all 2 trials are done" in text
    (accuracy,) = figures(text, "best network, plain Keras")
    assert 0.1 < accuracy <= 1
    assert figures(text, "tf-idf, logistic regression")[0] > 0.4
    assert (tmp_path / "runs" / "docstrings" / "best.keras").exists()


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(600)
def test_pictures_beside_a_table(tmp_path: Path) -> None:
    text = run("multimodal.py", *SMALL, cwd=tmp_path)
    assert "Search ended: all 2 trials are done" in text
    accuracy, error, _ = figures(text, "best network")
    constant, far, _ = figures(text, "always the same")
    assert accuracy > constant
    assert 0 < error < 2 * far
    assert (tmp_path / "runs" / "multimodal" / "best.keras").exists()


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(600)
def test_clicks(tmp_path: Path) -> None:
    text = run("criteo.py", "--rows", "6000", *SMALL, cwd=tmp_path)
    assert "Search ended: all 2 trials are done" in text
    (area,) = figures(text, "best network")
    (best,) = figures(text, "the rule that the labels follow")
    assert 0.5 < area < best < 0.9
    assert (tmp_path / "runs" / "criteo" / "best.keras").exists()


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Spark's own
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_the_click_table_has_the_shape_it_says(spark: SparkSession) -> None:
    from pyspark.sql import functions as F

    made = load("make_criteo")
    table = made.click_table(spark, 4000)
    assert table.columns == ["label", *[f"I{n}" for n in range(1, 14)], *[f"C{n}" for n in range(1, 27)]]
    rows = table.toPandas()
    assert 0.2 < rows["label"].mean() < 0.35
    assert rows["I5"].mean() > 3 * rows["I5"].median()  # a long tail
    assert 0.7 < rows["C22"].isna().mean() < 0.82
    frequent = rows["C3"].value_counts()
    assert frequent.iloc[0] > 100
    assert (frequent == 1).sum() > 1000
    assert rows["C17"].nunique() == 10
    again = made.click_table(spark.newSession(), 4000).repartition(3)
    assert again.agg(F.sum(F.hash(*table.columns))).first() == table.agg(F.sum(F.hash(*table.columns))).first()
    assert made.click_table(spark, 4000, seed=1).agg(F.sum("I5")).first() != table.agg(F.sum("I5")).first()


def test_docstrings_give_no_library_away() -> None:
    made = load("text_classification")
    found = made.sample("numpy", 40, seed=0)
    assert len(found) == 40
    assert found == made.sample("numpy", 40, seed=0)
    assert not [text for text in found if made.GIVEAWAYS.search(text)]


def test_the_slant_of_a_stroke() -> None:
    slant = load("multimodal").slant
    upright, leaning = np.zeros((8, 8)), np.zeros((8, 8))
    upright[:, 3] = 1
    leaning[np.arange(8), 7 - np.arange(8)] = 1
    assert slant(upright) == pytest.approx(0)
    assert slant(leaning) == pytest.approx(8)
    assert slant(leaning[:, ::-1]) == pytest.approx(-8)
