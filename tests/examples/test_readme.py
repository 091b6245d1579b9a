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
# What is too much for a test. Everything else of the snippet is executed as written.
SMALLER = {"max_trials=20": "max_trials=1", "epochs=5": "epochs=1"}


def snippet() -> str:
    (found,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    return str(found)


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
    code = snippet()
    for written, smaller in SMALLER.items():
        assert code.count(written) == 1, written
        code = code.replace(written, smaller)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"sc": spark.sparkContext, "train_df": small_data(spark)}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 (our own README)
    assert len(names["rel"].records) >= 1
    assert 0.0 <= names["rel"].leaderboard()["score"].iloc[0] <= 1.0
    assert "learning_rate" in capsys.readouterr().out
