from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import hop
from benchmarks._hop_models import SIZES
from benchmarks._hop_models import candidate


@pytest.mark.slow
def test_a_quick_run_measures_every_part(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    hop.add_arguments(parser)
    assert hop.run(parser.parse_args(["--quick", "--results", str(tmp_path)])) == 0
    parts, whole = json.loads((tmp_path / "hop.json").read_text())["tables"]
    (row,) = (dict(zip(parts["columns"], row, strict=True)) for row in parts["rows"])
    assert row["state MB"] == pytest.approx(3 * 4 * row["parameters"] / 1e6, rel=0.05)
    assert min(row["out ms"], row["transfer ms"], row["in ms"]) > 0
    assert row["all ms"] == pytest.approx(sum(list(row.values())[3:-1]))
    (unit,) = (dict(zip(whole["columns"], row, strict=True)) for row in whole["rows"])
    assert unit["state MB"] == pytest.approx(row["state MB"], rel=0.05)
    assert 0 < unit["message ms"] < unit["unit that stays ms"]
    assert unit["state out ms"] > 0
    assert unit["fetch and in ms"] > 0


def test_candidates_have_the_sizes_that_their_names_say() -> None:
    assert [round(candidate(size).parameters, -4) for size in SIZES] == [50_000, 420_000, 1_000_000, 9_950_000]
