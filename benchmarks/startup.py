"""From `fit()` to the first training step, by part, on Spark with and without slots to spare and on local processes."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._process import run_measured
from benchmarks._table import Table
from benchmarks._table import add_common_arguments
from benchmarks._table import show

_ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT = 300.0


@dataclass(frozen=True)
class Start:
    """One way to start: what it is called, on which backend, with how many Spark slots.

    Attributes:
        meanwhile: TensorFlow is imported while the JVM starts.
    """

    name: str
    backend: str
    slots: int
    meanwhile: bool = False


STARTS = (
    Start("Spark, local[2]", "spark", 2),
    Start("Spark, local[4]", "spark", 4),
    Start("Spark, local[4], TensorFlow meanwhile", "spark", 4, meanwhile=True),
    Start("LocalBackend, Spark local[2]", "local", 2),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m benchmarks startup`."""
    add_common_arguments(parser)
    parser.add_argument("--repeats", type=int, default=2, help="fresh processes of each kind (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=14_000, help="images of 28 x 28 (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Measure starts and show the table."""
    starts, repeats = (STARTS[1:2], 1) if arguments.quick else (STARTS, arguments.repeats)
    figures = measure(starts, repeats, 600 if arguments.quick else arguments.rows)
    show([before_fit(starts, figures), after_fit(starts, figures)], arguments.out, "startup")
    return 0


Figures = dict[str, list[dict[str, float]]]


def measure(starts: Sequence[Start], repeats: int, rows: int) -> Figures:
    """Start in fresh processes, in turn, so that a slow moment of the machine does not meet one kind alone."""
    figures: Figures = {start.name: [] for start in starts}
    for _ in range(repeats):
        for start in starts:
            figures[start.name].append(_one(start, rows))
    return figures


def _one(start: Start, rows: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="startup-") as name:
        command = [sys.executable, "-m", "benchmarks._startup_side", "--backend", start.backend, "--folder", name]
        command += ["--slots", str(start.slots), "--rows", str(rows), *(["--meanwhile"] if start.meanwhile else [])]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        used = run_measured(command, environment=environment, timeout=_TIMEOUT, log=Path(name) / "log")
        found: dict[str, float] = json.loads((Path(name) / "marks.json").read_text())
    return {**found, "cpu": sum(used.cpu_seconds.values()), "jvm cpu": used.cpu_seconds.get("jvm", 0.0)}


def before_fit(starts: Sequence[Start], figures: Figures) -> Table:
    """What comes before `fit()`."""
    rows = []
    for start in starts:
        median = _median(figures[start.name])
        rows.append(
            (
                start.name,
                median["spark ends"] - median["spark begins"],
                median["tensorflow ends"] - median["tensorflow begins"],
                median["fit begins"],
                median["fit ends"],
                median["cpu"],
                median["jvm cpu"],
            )
        )
    return Table(
        "Before fit(), and the whole",
        ("start", "JVM s", "TensorFlow in the driver s", "process to fit() s")
        + ("process to result s", "CPU-s, all", "CPU-s, JVM"),
        tuple(rows),
        (f"medians of {_count(figures)}; where TensorFlow is imported meanwhile, JVM includes it",),
    )


def after_fit(starts: Sequence[Start], figures: Figures) -> Table:
    """What comes between `fit()` and the first step."""
    rows = [(start.name, *_after_fit(_median(figures[start.name]))) for start in starts]
    return Table(
        "From fit() to the first training step",
        ("start", "early", "data s", "workers asked for s", "first up s", "all up s", "first unit sent s")
        + ("shard and model s", "first step s", "first unit done s"),
        tuple(rows),
        (
            f"medians of {_count(figures)}; seconds after fit(), but for data, and shard and model: how long they take",
            "early: workers start while Spark prepares the data, which takes slots to spare",
            "shard and model: what the worker does in the first unit before its steps; they begin at first step",
            "the first unit's own time includes the tracing of its graph",
            "the driver takes news between building candidates, so the last two columns are upper bounds",
        ),
    )


def _after_fit(median: Mapping[str, float]) -> tuple[object, ...]:
    begin = median["fit begins"]
    ready = median["shard_s"] + median["build_s"] + median["state_in_s"]
    early = bool(median["launched early"])
    return (
        early,
        median["data ends"] - median["data begins"],
        median["launch ends" if early else "start begins"] - begin,
        median["first worker joined"] - begin,
        median["last worker joined"] - begin,
        median["first unit sent"] - begin,
        ready,
        median["first unit done"] - median["unit seconds"] + ready - begin,
        median["first unit done"] - begin,
    )


def _median(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(item[name] for item in found) for name in found[0]}


def _count(figures: Figures) -> int:
    return max(len(found) for found in figures.values())
