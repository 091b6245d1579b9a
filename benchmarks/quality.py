"""What greedy search finds: this project beside AutoKeras' own AutoModel, with all else equal.

Both sides get the same graph, training and validation rows, trials, epochs, batch size and seeds, and search for the
best validation accuracy. What is compared is the best of a search's trials; no side trains its best model again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _w8_data
from benchmarks._errors import BenchmarkError
from benchmarks._process import run_measured
from benchmarks._quality_data import PROBLEMS
from benchmarks._quality_data import Problem
from benchmarks._table import Table
from benchmarks._table import add_common_arguments
from benchmarks._table import show

_ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT = 1800.0
_QUICK = {"trials": 2, "epochs": 1, "rows": 300}


@dataclass(frozen=True)
class Side:
    """One side of the comparison: its names in tables, for `_quality_side.py` and on the command line."""

    name: str
    kind: str
    key: str
    workers: int = 1


SIDES = (
    Side("cerebro_nas, 1 worker", "ours", "ours"),
    Side("AutoKeras", "autokeras", "autokeras"),
    Side("cerebro_nas, 2 workers", "ours", "ours-2", 2),
)
OURS, THEIRS = SIDES[0], SIDES[1]


@dataclass(frozen=True)
class Search:
    """One search: whose, on what, and what its trials came to.

    Attributes:
        problem: name of the data set.
        side: name of the side.
        seed: its seed.
        seconds: from the start of its process to the end.
        trials: in the order in which they began: `status`, `score`, `val_loss`, `values`.
    """

    problem: str
    side: str
    seed: int
    seconds: float
    trials: Sequence[dict[str, Any]]

    @property
    def best(self) -> float:
        """The best validation score of all trials; not a number where all failed."""
        return max(self._figures("score"), default=math.nan)

    @property
    def best_loss(self) -> float:
        """The lowest validation loss of all trials, which they did not search for."""
        return min(self._figures("val_loss"), default=math.nan)

    @property
    def failed(self) -> int:
        """Trials without a score."""
        return len(self.trials) - len(self._figures("score"))

    def _figures(self, name: str) -> list[float]:
        found = (trial[name] for trial in self.trials)
        return [figure for figure in found if figure is not None and math.isfinite(figure)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m benchmarks quality`."""
    add_common_arguments(parser)
    parser.add_argument("--datasets", nargs="+", choices=tuple(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="default: %(default)s")
    parser.add_argument("--trials", type=int, help="of each search (default: 12, for Fashion-MNIST 8)")
    parser.add_argument("--epochs", type=int, help="of each trial (default: 5, for Fashion-MNIST 3)")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--exploration", type=float, help="of ours; AutoKeras has none (default: our default)")
    parser.add_argument("--sides", nargs="+", choices=[side.key for side in SIDES], help="default: all")
    parser.add_argument("--images", type=Path, default=_w8_data.FOLDER, help="folder of Fashion-MNIST's files")


def run(arguments: argparse.Namespace) -> int:
    """Run all searches, the sides in turn, and show the tables."""
    sides = [side for side in SIDES if arguments.sides is None or side.key in arguments.sides]
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    searches: list[Search] = []
    for name in arguments.datasets:
        problem = PROBLEMS[name]
        try:
            rows = problem.arrays(arguments.images, _QUICK["rows"] if arguments.quick else None)
        except BenchmarkError as error:
            print(f"{problem.title} is left out. {error}", flush=True)
            continue
        for search in _searches(problem, rows, sides, seeds, arguments):
            print(f"{name}, seed {search.seed}, {search.side}: {search.best:.4f}, {search.seconds:.0f} s", flush=True)
            searches.append(search)
            _keep(searches, arguments.out)
    if not searches:
        raise BenchmarkError(f"No rows were found. Received: --datasets {' '.join(arguments.datasets)}.")
    show([scores(searches), verdicts(searches)], arguments.out, "quality")
    return 0


def _keep(searches: Sequence[Search], folder: Path) -> None:
    """Write down all trials after every search: a run takes long, and may be interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = [vars(search) for search in searches]
    (folder / "quality-searches.json").write_text(json.dumps(plain, indent=1) + "\n")


def _searches(
    problem: Problem, rows: dict[str, Any], sides: Sequence[Side], seeds: Sequence[int], arguments: argparse.Namespace
) -> Iterator[Search]:
    given = _QUICK if arguments.quick else {"trials": arguments.trials, "epochs": arguments.epochs}
    sizes = {
        "--trials": given["trials"] or problem.trials,
        "--epochs": given["epochs"] or problem.epochs,
        "--batch-size": arguments.batch_size,
    }
    if arguments.exploration is not None:
        sizes["--exploration"] = arguments.exploration
    options = list(itertools.chain(*((name, str(value)) for name, value in sizes.items())))
    for number, seed in enumerate(seeds):
        # Another one begins each time, so that no side always has the machine when it is warm or busy.
        first = number % len(sides)
        for side in (*sides[first:], *sides[:first]):
            yield _search(problem, rows, side, seed, options)


def _search(problem: Problem, rows: dict[str, Any], side: Side, seed: int, options: Sequence[str]) -> Search:
    with tempfile.TemporaryDirectory(prefix="quality-") as name:
        folder = Path(name)
        np.savez(folder / "rows.npz", **rows)
        command = [sys.executable, "-m", "benchmarks._quality_side", "--side", side.kind, "--problem", problem.name]
        command += ["--folder", name, "--seed", str(seed), "--workers", str(side.workers), *options]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        used = run_measured(command, environment=environment, timeout=_TIMEOUT, log=folder / "log")
        found = json.loads((folder / "result.json").read_text())
    return Search(problem.name, side.name, seed, used.seconds, found["trials"])


def scores(searches: Sequence[Search]) -> Table:
    """The best validation score of every search."""
    seeds = list(dict.fromkeys(search.seed for search in searches))
    rows: list[tuple[object, ...]] = []
    for problem, side in dict.fromkeys((search.problem, search.side) for search in searches):
        mine = {search.seed: search for search in searches if (search.problem, search.side) == (problem, side)}
        rows.append(
            (
                *(problem, side, len(next(iter(mine.values())).trials)),
                *(f"{mine[seed].best:.4f}" if seed in mine else None for seed in seeds),
                f"{_median(mine.values(), 'best'):.4f}",
                f"{_median(mine.values(), 'best_loss'):.4f}",
                sum(search.failed for search in mine.values()),
                f"{_median(mine.values(), 'seconds'):.0f}",
            )
        )
    columns = ("data", "side", "trials", *(f"seed {seed}" for seed in seeds), "median", "val_loss", "failed", "s")
    notes = (
        "best `val_accuracy` of each search's trials, by seed, and the median of the seeds",
        "`val_loss`: the lowest of any trial, median of the seeds; the searches looked for `val_accuracy`",
        "`failed`: trials without a score, all seeds together; `s`: of the whole process, median",
    )
    return Table("Greedy search: the best trial", columns, tuple(rows), notes)


def verdicts(searches: Sequence[Search]) -> Table:
    """Whether our median is as good as AutoKeras', by data set."""
    rows: list[tuple[object, ...]] = []
    for problem in dict.fromkeys(search.problem for search in searches):
        medians = {
            side.name: _median([s for s in searches if (s.problem, s.side) == (problem, side.name)], "best")
            for side in SIDES
        }
        theirs = medians.pop(THEIRS.name)
        for side, ours in medians.items():
            if not math.isnan(ours) and not math.isnan(theirs):
                rows.append((problem, side, f"{ours:.4f}", f"{theirs:.4f}", f"{ours - theirs:+.4f}", ours >= theirs))
    columns = ("data", "side", "its median", "AutoKeras' median", "difference", "not lower")
    return Table("Verdict", columns, tuple(rows))


def _median(searches: Any, figure: str) -> float:
    found = [getattr(search, figure) for search in searches]
    return statistics.median(found) if found else math.nan
