from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import imports

TRACE = """import time: self [us] | cumulative | imported package
import time:       500 |        500 |     numpy.core
import time:      1000 |       1500 |   numpy
import time:       250 |       1750 | cerebro_nas.worker._spec
a warning | of | something
import time:       250 |        250 | cerebro_nas.worker
"""


def test_contributors_are_packages_by_what_is_their_own() -> None:
    found = [(item.name, round(1e6 * item.seconds), round(1e6 * item.own)) for item in imports.contributors(TRACE)]
    assert found == [("numpy", 1500, 1500), ("cerebro_nas.worker", 1750, 500)]


def test_a_quick_run_makes_both_tables(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    imports.add_arguments(parser)
    assert imports.run(parser.parse_args(["--quick", "--out", str(tmp_path)])) == 0
    times, largest = json.loads((tmp_path / "import.json").read_text())["tables"]
    assert [row[0] for row in times["rows"]] == list(imports.QUICK)
    assert all(min(row[1:]) > 0 for row in times["rows"])
    assert largest["rows"]
    assert [row[2] for row in largest["rows"]] == sorted((row[2] for row in largest["rows"]), reverse=True)
