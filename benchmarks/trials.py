"""24 greedy trials of an image space: this project with two workers, AutoKeras' AutoModel with as many threads.

Both search the same space with the same optimizers, on the same rows, for as many trials and epochs. What they propose
differs, so the candidates' parameters are shown too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import _w8_data
from benchmarks._sides import Run
from benchmarks._sides import Side
from benchmarks._sides import run_side
from benchmarks._table import Table
from benchmarks._table import save


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--train-rows", type=int, default=_w8_data.TRAIN_ROWS)
    parser.add_argument("--valid-rows", type=int, default=_w8_data.VALID_ROWS)
    parser.add_argument("--images", type=Path, default=_w8_data.FOLDER, help="folder of Fashion-MNIST's four files")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))


def run(arguments: argparse.Namespace) -> int:
    more = ("--trials", str(arguments.trials))
    ours, theirs = (
        Side("cerebro_nas", "greedy_ours.py", None, more),
        Side("AutoKeras", "greedy_autokeras.py", None, more),
    )
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="trials-") as folder:
        directory = Path(folder)
        data = _w8_data.write_data(directory / "data", arguments.images, arguments.train_rows, arguments.valid_rows)
        candidates = _w8_data.write_candidates(directory / "candidates.json")
        for _ in range(arguments.repeats):
            for side in (ours, theirs):
                runs.append(run_side(side, data, candidates, directory, epochs=arguments.epochs))
                print(f"{side.name}: {runs[-1].makespan:.1f} s", flush=True)
    tables = [table(runs)]
    print("\n" + tables[0].markdown())
    save(tables, arguments.results, "trials")
    return 0


def table(runs: Sequence[Run]) -> Table:
    """Medians by side, and the ratio."""
    rows: list[tuple[object, ...]] = []
    makespans = {}
    for name in dict.fromkeys(run.side for run in runs):
        mine = [run for run in runs if run.side == name]
        makespans[name] = statistics.median(run.makespan for run in mine)
        used = [run.details["utilisation"] for run in mine if "utilisation" in run.details]
        parameters = [statistics.mean(run.details["parameters"]) for run in mine]
        rows.append(
            (
                name,
                len(mine),
                len(mine[0].accuracies),
                f"{makespans[name]:.1f}",
                f"{statistics.median(run.cpu_seconds for run in mine):.1f}",
                f"{statistics.median(used):.1%}" if used else "",
                f"{statistics.median(parameters) / 1e3:.0f}",
                f"{statistics.median(max(run.accuracies.values()) for run in mine):.4f}",
            )
        )
    first, *others = makespans
    notes = tuple(f"Time of {first} / {other}: {makespans[first] / makespans[other]:.3f}" for other in others)
    columns = (
        "side", "runs", "trials", "makespan, s", "CPU-s, no JVM", "utilisation", "mean params, k", "best acc.",
    )  # fmt: skip
    return Table("Greedy trials of one image space", columns, tuple(rows), notes)
