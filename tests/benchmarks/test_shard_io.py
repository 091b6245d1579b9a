from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.spark
@pytest.mark.slow
def test_a_quick_run_follows_the_data_all_the_way(tmp_path: Path) -> None:
    # A process of its own, because Py4J leaves sockets behind when a session stops.
    command = [sys.executable, "-m", "benchmarks", "io", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    # Whether the bar is met is no matter for 1,600 rows.
    assert (tmp_path / "io.json").exists(), done.stderr
    made, decoded, fed, units = (
        [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
        for table in json.loads((tmp_path / "io.json").read_text())["tables"]
    )
    assert [row["rows"] for row in made] == [4000]
    assert made[0]["decoded MB"] == pytest.approx(4000 * (39 * 4 + 8) / 1e6)
    assert decoded[0]["rows"] == units[0]["rows"] == 1600
    assert fed[0]["rows/s, gathered only"] > fed[0]["rows/s, trained"] > 0
    assert 0 < units[0]["share over 24 visits %"] < 100
    assert units[0]["first read ms"] > units[0]["share after it %"] / 100 * units[0]["sub-epoch s"] * 1000
