"""W8: eight small convolutional networks on Fashion-MNIST, by this project, its peers and the floors.

Makespan counts from the start of a Python process to its last result; warm leaves out what comes before the moment
when every worker can take its first step (and, for this project, what comes after the last one).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import _w8_data
from benchmarks._errors import BenchmarkError
from benchmarks._sides import FLOORS
from benchmarks._sides import OURS
from benchmarks._sides import PEERS
from benchmarks._sides import SIDES
from benchmarks._sides import Run
from benchmarks._sides import Side
from benchmarks._sides import run_side
from benchmarks._table import Table
from benchmarks._table import save

_NOISE = 0.015
"""Mean accuracies closer than this agree: seeds and the order of rows differ between the sides."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peers", default="none", help="all, none, or names separated by semicolons: " + _names(PEERS))
    parser.add_argument("--ours", default=OURS[0].name, help="all, or names separated by semicolons: " + _names(OURS))
    parser.add_argument("--repeats", type=int, default=3, help="runs of this project and of the floors")
    parser.add_argument("--peer-repeats", type=int, default=1, help="runs of each peer, at most --repeats")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train-rows", type=int, default=_w8_data.TRAIN_ROWS)
    parser.add_argument("--valid-rows", type=int, default=_w8_data.VALID_ROWS)
    parser.add_argument("--images", type=Path, default=_w8_data.FOLDER, help="folder of the four files")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))


def run(arguments: argparse.Namespace) -> int:
    ours = choose(arguments.ours, OURS)
    peers = choose(arguments.peers, PEERS)
    with tempfile.TemporaryDirectory(prefix="w8-") as folder:
        directory = Path(folder)
        data = _w8_data.write_data(directory / "data", arguments.images, arguments.train_rows, arguments.valid_rows)
        candidates = _w8_data.write_candidates(directory / "candidates.json")
        runs: list[Run] = []
        for number in range(arguments.repeats):
            # In turn, so that a slow moment of the machine does not meet one side alone.
            for side in [*FLOORS, *ours, *(peers if number < arguments.peer_repeats else ())]:
                found = run_side(side, data, candidates, directory, epochs=arguments.epochs)
                runs.append(found)
                print(progress(found), flush=True)
                arguments.results.mkdir(parents=True, exist_ok=True)
                plain = json.dumps([item.to_plain() for item in runs], indent=1)
                (arguments.results / "w8-runs.json").write_text(plain)
    tables = [table(runs), ratios(runs)]
    for item in tables:
        print("\n" + item.markdown())
    save(tables, arguments.results, "w8")
    return 0 if agree(runs) else 1


def choose(text: str, sides: Sequence[Side]) -> list[Side]:
    """The sides that the command line names.

    Raises:
        BenchmarkError: one of the names is unknown.
    """
    if text == "all":
        return list(sides)
    names = [name.strip() for name in text.split(";") if name.strip() not in ("", "none")]
    unknown = [name for name in names if name not in {side.name for side in sides}]
    if unknown:
        raise BenchmarkError(f"No such side. Received: {unknown}. There are: {_names(sides)}.")
    return [SIDES[name] for name in names]


def progress(found: Run) -> str:
    """A line for the terminal."""
    warm = "" if found.warm is None else f", warm {found.warm:.1f} s"
    return (
        f"{found.side}: {found.makespan:.1f} s{warm}, {found.cpu_seconds:.1f} CPU-s"
        + (f" and Java's {found.jvm_cpu_seconds:.1f}" if found.jvm_cpu_seconds else "")
        + f", mean validation accuracy {found.mean_accuracy:.4f}"
    )


def table(runs: Sequence[Run]) -> Table:
    """Medians by side, the fastest first."""
    floor = median(runs, FLOORS[0].name, "makespan")
    rows = []
    for name in sorted({run.side for run in runs}, key=lambda name: median(runs, name, "makespan") or 0.0):
        mine = [run for run in runs if run.side == name]
        warm = median(runs, name, "warm")
        makespan = statistics.median(run.makespan for run in mine)
        utilisations = [u for u in (utilisation(run) for run in mine) if u is not None]
        hopped = [run.details["bytes_hopped"] / 1e6 for run in mine if "bytes_hopped" in run.details]
        rows.append(
            (
                name,
                len(mine),
                f"{makespan:.1f}",
                "" if warm is None else f"{warm:.1f}",
                f"{makespan / floor:.2f}" if floor else "",
                f"{statistics.median(run.cpu_seconds for run in mine):.1f}",
                f"{statistics.median(run.jvm_cpu_seconds for run in mine):.1f}",
                f"{statistics.median(utilisations):.1%}" if utilisations else "",
                f"{statistics.median(run.figures.peak_bytes for run in mine) / 1e6:.0f}",
                f"{statistics.median(hopped):.0f}" if hopped else "",
                f"{statistics.median(run.mean_accuracy for run in mine):.4f}",
                f"{statistics.median(max(run.accuracies.values()) for run in mine):.4f}",
            )
        )
    columns = (
        "side",
        "runs",
        "makespan, s",
        "warm, s",
        "x floor",
        "CPU-s, no JVM",
        "JVM CPU-s",
        "utilisation",
        "peak, MB",
        "hopped, MB",
        "mean acc.",
        "best acc.",
    )
    notes = (
        "Medians. Peak: largest sum of the resident memory of a side's processes, shared pages counted for each.",
        "Utilisation: share of the workers' time, from the moment that all are ready, inside training and evaluation "
        "(for peers: inside a candidate).",
    )
    return Table("W8", columns, tuple(rows), notes)


def ratios(runs: Sequence[Run]) -> Table:
    """This project against the floor and the peers, run by run where both ran in one round."""
    ours, floor = OURS[0].name, FLOORS[0].name
    rows: list[tuple[object, ...]] = []
    makespan, warm = median(runs, ours, "makespan"), median(runs, ours, "warm")
    floor_warm, floor_cpu = median(runs, floor, "warm"), median(runs, floor, "cpu_seconds")
    if makespan is None or warm is None:
        return Table("Ratios", ("what", "ratio"), ())
    if floor_warm:
        rows.append(("warm makespan / warm floor", f"{warm / floor_warm:.3f}"))
    if floor_cpu:
        rows.append(("CPU-seconds without Java / floor", f"{(median(runs, ours, 'cpu_seconds') or 0) / floor_cpu:.3f}"))
    share = median(runs, ours, "driver_share")
    if share is not None:
        rows.append(("driver's CPU while the workers train, cores", f"{share:.3f}"))
    for side in (*FLOORS, *PEERS):
        other = median(runs, side.name, "makespan")
        if other:
            rows.append((f"makespan / {side.name}", f"{makespan / other:.3f}"))
    return Table("cerebro_nas against the others, start included", ("what", "ratio"), tuple(rows))


def median(runs: Sequence[Run], side: str, figure: str) -> float | None:
    """Median of a figure over the runs of a side, None without one."""
    found = [getattr(run, figure) for run in runs if run.side == side]
    known = [value for value in found if value is not None]
    return statistics.median(known) if known else None


def utilisation(run: Run) -> float | None:
    """Share of the workers' warm time that was used."""
    workers = SIDES[run.side].workers
    if "seconds" in run.details and run.warm:
        return float(run.details["seconds"]["steps_s"]) / (workers * run.warm)
    if "busy" in run.details and run.warm:
        return float(run.details["busy"]) / (workers * run.warm)
    return None


def agree(runs: Sequence[Run]) -> bool:
    """Whether the sides that trained the same candidates came to the same accuracies, as far as noise permits."""
    means = {run.side: run.mean_accuracy for run in runs if SIDES[run.side].same_candidates}
    low, high = min(means, key=lambda name: means[name]), max(means, key=lambda name: means[name])
    if means[high] - means[low] <= _NOISE:
        return True
    print(f"Accuracies do not agree: {low} {means[low]:.4f}, {high} {means[high]:.4f}.")
    return False


def _names(sides: Sequence[Side]) -> str:
    return "; ".join(side.name for side in sides)
