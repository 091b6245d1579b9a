from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import startup


@pytest.mark.spark
@pytest.mark.slow
def test_a_quick_run_gives_times_in_their_order(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    startup.add_arguments(parser)
    assert startup.run(parser.parse_args(["--quick", "--out", str(tmp_path)])) == 0
    before, after = (
        [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
        for table in json.loads((tmp_path / "startup.json").read_text())["tables"]
    )
    assert 0 < before[0]["JVM s"] < before[0]["process to fit() s"] < before[0]["process to result s"]
    assert before[0]["CPU-s, all"] > before[0]["CPU-s, JVM"] > 0
    (row,) = after
    assert row["early"] is True
    assert 0 < row["first up s"] <= row["all up s"]
    assert row["workers asked for s"] < row["first up s"] < row["first unit sent s"]
    assert row["first unit sent s"] < row["first step s"] < row["first unit done s"]
