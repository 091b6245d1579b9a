"""Memory of a worker on W8 beyond TensorFlow's own.

TensorFlow's own is what the same work takes on a few rows: imports, four compiled networks, their temporaries for the
same sizes of batches. The rest should be little more than the shards and one candidate's state.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _w8_data
from benchmarks._errors import BenchmarkError
from benchmarks._memory_case import write_search
from benchmarks._table import Table
from benchmarks._table import save

_BATCH = 64


def few(rows: int) -> int:
    """As few rows as have the batches of `rows`: a whole one, and the rest."""
    return min(rows, _BATCH + rows % _BATCH)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--train-rows", type=int, default=_w8_data.TRAIN_ROWS // 2, help="rows of the worker's shard")
    parser.add_argument("--valid-rows", type=int, default=_w8_data.VALID_ROWS)
    parser.add_argument("--images", type=Path, default=_w8_data.FOLDER, help="folder of Fashion-MNIST's four files")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))


def run(arguments: argparse.Namespace) -> int:
    sizes = {"few": (few(arguments.train_rows), few(arguments.valid_rows))}
    sizes["all"] = (arguments.train_rows, arguments.valid_rows)
    found: dict[str, list[dict[str, Any]]] = {"few": [], "all": []}
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        data = _w8_data.write_data(Path(folder) / "data", arguments.images, *sizes["all"])
        searches = {}
        for name, size in sizes.items():
            (Path(folder) / name).mkdir()
            searches[name] = write_search(Path(folder) / name, data, *size)
        for _ in range(arguments.repeats):
            for name, search in searches.items():
                found[name].append(_case(search))
    item = table(found["few"], found["all"])
    print(item.markdown())
    save([item], arguments.results, "memory")
    return 0


def table(few: list[dict[str, Any]], all_rows: list[dict[str, Any]]) -> Table:
    """Medians in megabytes."""
    own, peak = _median(few, "peak_bytes"), _median(all_rows, "peak_bytes")
    shards, state = _median(all_rows, "shard_bytes"), _median(all_rows, "state_bytes")
    bound = 1.5 * shards + 3 * state
    rows = (
        ("peak", f"{peak / 1e6:.0f}"),
        ("TensorFlow's own (the same on a few rows)", f"{own / 1e6:.0f}"),
        ("beyond it", f"{(peak - own) / 1e6:.1f}"),
        ("shards, decoded", f"{shards / 1e6:.1f}"),
        ("state of the largest candidate, Adam's included", f"{state / 1e6:.1f}"),
        ("1.5 x shards + 3 x state", f"{bound / 1e6:.1f}"),
    )
    return Table("Memory of a worker, W8", ("what", "MB"), rows, (f"Beyond / bound: {(peak - own) / bound:.2f}",))


def _case(search: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks._memory_case", str(search)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"The worker's process failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _median(found: list[dict[str, Any]], key: str) -> float:
    return float(statistics.median(item[key] for item in found))
