"""What imports cost: seconds, processor seconds and memory of fresh processes, and the largest contributors."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks._errors import BenchmarkError
from benchmarks._table import Table
from benchmarks._table import add_common_arguments
from benchmarks._table import show

_WORKER = "import cerebro_nas.worker._program; "
_ENGINE = "import cerebro_nas.worker._engine"

CASES = {
    "import cerebro_nas": "import cerebro_nas",
    "the worker program": f"from cerebro_nas.worker._imports import left_out\n{_WORKER}\nwith left_out(): {_ENGINE}",
    "the same, with all that Keras would import": _WORKER + _ENGINE,
    "import tensorflow": "import tensorflow",
    "import keras": "import keras",
    "from cerebro_nas import HyperHyperModel": "from cerebro_nas import HyperHyperModel",
    "import autokeras": "import autokeras",
}
"""Statements by the name that they have in the table."""

QUICK = ("import cerebro_nas", "from cerebro_nas import HyperHyperModel")

_MEASURE = """
import json, resource, time
start, before = time.perf_counter(), time.process_time()
{statement}
after = time.process_time()
print(json.dumps([time.perf_counter() - start, after - before,
                  resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""

_TIMEOUT = 120.0


@dataclass(frozen=True)
class Contributor:
    """A module with the seconds that its import took, with those that it imported first and without."""

    name: str
    seconds: float
    own: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m benchmarks import`."""
    add_common_arguments(parser)
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes of each kind (default: %(default)s)")
    parser.add_argument("--largest", type=int, default=12, help="contributors to list (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Measure imports and show the tables."""
    names, repeats = (QUICK, 1) if arguments.quick else (tuple(CASES), arguments.repeats)
    tables = [measure(names, repeats)]
    traced = names[0] if arguments.quick else "the worker program"
    tables.append(contributors_table(traced, arguments.largest))
    show(tables, arguments.out, "import")
    return 0


def measure(names: Sequence[str], repeats: int) -> Table:
    """Import in fresh processes, in turn, so that a slow moment of the machine does not meet one kind alone."""
    figures: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            figures[name].append(json.loads(_python("-c", _MEASURE.format(statement=CASES[name])).stdout))
    rows = [
        (name, *(statistics.median(column) for column in zip(*figures[name], strict=True)), min(figures[name])[0])
        for name in names
    ]
    return Table(
        "Imports in fresh processes",
        ("what", "s", "CPU-s", "peak MB", "least s"),
        tuple(rows),
        (f"medians of {repeats}, in turn; files are in the system's cache", "CPU-s: user and system, of all threads"),
    )


def contributors_table(name: str, largest: int) -> Table:
    """List the packages that take most of an import, as Python's own tracing has it."""
    found = contributors(_python("-X", "importtime", "-c", CASES[name]).stderr)
    rows = [(item.name, item.seconds, item.own) for item in found[:largest]]
    return Table(
        f"Largest contributors: {name}",
        ("package", "with what it imports first s", "itself s"),
        tuple(rows),
        (
            "one run with -X importtime, which itself takes time",
            "itself: all modules of the package; first: by its outermost module that was imported first",
        ),
    )


def contributors(trace: str) -> list[Contributor]:
    """Read what `-X importtime` wrote: packages by what all their own modules took, largest first."""
    own: dict[str, float] = {}
    whole: dict[str, float] = {}
    for line in trace.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if not line.startswith("import time:") or len(parts) != 3 or not parts[0].strip().isdigit():
            continue
        name = parts[2].strip()
        package = ".".join(name.split(".")[: 2 if name.startswith("cerebro_nas") else 1])
        own[package] = own.get(package, 0.0) + int(parts[0]) / 1e6
        whole[package] = max(whole.get(package, 0.0), int(parts[1]) / 1e6)
    found = [Contributor(package, whole[package], own[package]) for package in own]
    return sorted(found, key=lambda item: -item.own)


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
    }
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, env=environment)
    if done.returncode != 0:
        raise BenchmarkError(f"An import failed:\n{done.stderr[-2000:]}")
    return done
