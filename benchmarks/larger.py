"""Rows that are several times what the search may take of memory: prepared, trained on and predicted.

All processes, the driver, Spark and the workers, are in one control group with a limit on their memory together, cached
pages of files included. That needs Linux and the right to make such a group (root, mostly).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._errors import BenchmarkError
from benchmarks._table import Table
from benchmarks._table import save

_MB = 1 << 20
_CGROUPS = Path("/sys/fs/cgroup")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-mb", type=int, default=8000, help="size of the features")
    parser.add_argument("--limit-mb", type=int, default=4000, help="memory that all processes together may take")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where some four times the data may be written; a temporary one")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))


def run(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="larger-", dir=arguments.folder) as folder, _group(arguments) as group:
        settings = {
            "data_bytes": arguments.data_mb * _MB,
            "epochs": arguments.epochs,
            "group": str(group),
            "store": f"{folder}/store",
        }
        Path(folder, "settings.json").write_text(json.dumps(settings))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks._larger_case", f"{folder}/settings.json"],
            capture_output=True,
            text=True,
            # Spark's and the workers' files: they are many times larger than what /tmp may hold.
            env={**os.environ, "TMPDIR": folder, "SPARK_LOCAL_DIRS": folder},
        )
        if done.returncode:
            raise BenchmarkError(f"The search failed:\n{done.stderr[-3000:]}")
        most = next(path for path in (group / "memory.peak", group / "memory.max_usage_in_bytes") if path.exists())
        item = table(json.loads(done.stdout.splitlines()[-1]), arguments.limit_mb, int(most.read_text()))
    print(item.markdown())
    save([item], arguments.results, "larger")
    return 0


@contextlib.contextmanager
def _group(arguments: argparse.Namespace) -> Iterator[Path]:
    """A control group with the limit, of either version."""
    old = _CGROUPS / "memory" / "memory.limit_in_bytes"
    group = (old.parent if old.exists() else _CGROUPS) / f"cerebro_nas-{os.getpid()}"
    try:
        group.mkdir()
        limit = group / (old.name if old.exists() else "memory.max")
        limit.write_text(str(arguments.limit_mb * _MB))
    except OSError as error:
        raise BenchmarkError(f"This needs the right to make a control group with a limit on memory: {error}") from error
    try:
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    # What is left of Spark ends a little later than its driver.
    for _ in range(100):
        try:
            return group.rmdir()
        except OSError:
            time.sleep(0.1)


def table(found: dict[str, Any], limit_mb: int, most: int) -> Table:
    """Sizes in megabytes, times in seconds."""
    peaks = found["peaks"]
    rows: list[tuple[str, Any]] = [
        ("rows", found["rows"]),
        ("features, MB", found["data_bytes"] // _MB),
        ("limit for all processes together, MB", limit_mb),
        ("most that they took, cached pages of files included, MB", most // _MB),
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
