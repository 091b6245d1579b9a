"""Rows that are several times what any process of the search may take: prepared, trained on and predicted.

Every process, the driver, Spark and the workers, runs under one limit on its own memory (`RLIMIT_DATA`: what it takes
from the system for itself; pages of mapped files, which the system takes back when it needs them, are not counted).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._errors import BenchmarkError
from benchmarks._table import Table
from benchmarks._table import save

_MB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-mb", type=int, default=4800, help="size of the features")
    parser.add_argument("--limit-mb", type=int, default=1500, help="memory that a process may take")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where some four times the data may be written; a temporary one")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))


def run(arguments: argparse.Namespace) -> int:
    if not sys.platform.startswith("linux"):
        raise BenchmarkError("The limit on memory needs Linux.")
    with tempfile.TemporaryDirectory(prefix="larger-", dir=arguments.folder) as folder:
        settings = {
            "data_bytes": arguments.data_mb * _MB,
            "limit_bytes": arguments.limit_mb * _MB,
            "epochs": arguments.epochs,
            "store": f"{folder}/store",
        }
        Path(folder, "settings.json").write_text(json.dumps(settings))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks._larger_case", f"{folder}/settings.json"],
            capture_output=True,
            text=True,
            env=_environment(folder),
        )
        if done.returncode:
            raise BenchmarkError(f"The search failed:\n{done.stderr[-3000:]}")
        item = table(json.loads(done.stdout.splitlines()[-1]), arguments.limit_mb)
    print(item.markdown())
    save([item], arguments.results, "larger")
    return 0


def table(found: dict[str, Any], limit_mb: int) -> Table:
    """Sizes in megabytes, times in seconds."""
    peaks = found["peaks"]
    rows: list[tuple[str, Any]] = [
        ("rows", found["rows"]),
        ("features, MB", found["data_bytes"] // _MB),
        ("limit for each process, MB", limit_mb),
        ("data over limit", round(found["data_bytes"] / _MB / limit_mb, 1)),
        ("fit: preparation and two candidates, s", round(found["fit_s"])),
        ("prediction of all rows, s", round(found["predict_s"])),
        ("rows predicted", found["predicted_rows"]),
        ("most own memory of a worker, MB", peaks.get("worker", 0) // _MB),
        ("of a Python process of Spark, MB", peaks.get("spark_python", 0) // _MB),
        ("of the driver, MB", peaks.get("driver", 0) // _MB),
        ("last third of a worker's life over the second", round(max(found["worker_growth"], default=0.0), 2)),
    ]
    return Table("Data larger than memory", ("figure", "value"), tuple(rows))


def _environment(folder: str) -> dict[str, str]:
    # Spark's and the workers' files; they are many times larger than what /tmp may hold.
    return {**os.environ, "TMPDIR": folder, "SPARK_LOCAL_DIRS": folder}
