from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest

from benchmarks import checkpoint
from benchmarks._hop_models import candidate


@pytest.mark.slow
def test_a_quick_run_measures_every_side(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    checkpoint.add_arguments(parser)
    cores = os.sched_getaffinity(0)
    assert checkpoint.run(parser.parse_args(["--quick", "--results", str(tmp_path)])) == 0
    assert os.sched_getaffinity(0) == cores
    (table,) = json.loads((tmp_path / "checkpoint.json").read_text())["tables"]
    (row,) = table["rows"]
    model, parameters, megabytes, seconds, write = row[:5]
    assert (model, megabytes) == ("20 k dense", pytest.approx(3 * 4 * parameters / 1e6, rel=0.05))
    assert seconds < 1
    assert 0 < write < 100
    in_budget, every_state = row[8], row[11]
    # A quarter is written in any case.
    assert 25 <= in_budget <= every_state <= 100


def test_candidates_have_the_sizes_that_their_names_say() -> None:
    assert [round(candidate(size).parameters, -4) for size in checkpoint.SIZES] == [20_000, 1_000_000, 9_950_000]
