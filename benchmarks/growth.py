"""W8 with more rows, more candidates, more shards: the cost must grow no faster than the work.

Workers beyond those of one machine are the simulator's: `python -m benchmarks sched`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

from benchmarks import _w8_data
from benchmarks._sides import OURS
from benchmarks._sides import Run
from benchmarks._sides import run_side
from benchmarks._table import Table
from benchmarks._table import save

_SHARDS = 2


@dataclass(frozen=True)
class Size:
    """How large a case is, as multiples of W8."""

    rows: int = 1
    candidates: int = 1
    shards: int = 1

    @property
    def work(self) -> int:
        """Rows times candidates; shards only cut the rows differently."""
        return self.rows * self.candidates

    def __str__(self) -> str:
        parts = [f"{name} x{value}" for name, value in vars(self).items() if value > 1]
        return ", ".join(parts) or "W8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--factors", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train-rows", type=int, default=_w8_data.TRAIN_ROWS, help="rows of the smallest case")
    parser.add_argument("--valid-rows", type=int, default=_w8_data.VALID_ROWS)
    parser.add_argument("--images", type=Path, default=_w8_data.FOLDER, help="folder of Fashion-MNIST's four files")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))


def run(arguments: argparse.Namespace) -> int:
    sizes = [Size()]
    for name in ("rows", "candidates", "shards"):
        sizes += [replace(Size(), **{name: factor}) for factor in arguments.factors]
    runs: dict[Size, list[Run]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        for _ in range(arguments.repeats):
            for size in sizes:
                runs[size].append(run_size(size, arguments, Path(folder)))
                print(f"{size}: {runs[size][-1].makespan:.1f} s", flush=True)
    tables = [table(runs)]
    print("\n" + tables[0].markdown())
    save(tables, arguments.results, "growth")
    return 0


def run_size(size: Size, arguments: argparse.Namespace, directory: Path) -> Run:
    """One run of one case."""
    rows = arguments.train_rows * size.rows, arguments.valid_rows * size.rows
    data = _w8_data.write_data(directory / f"data-{size.rows}", arguments.images, *rows)
    candidates = _w8_data.write_candidates(directory / "candidates.json", size.candidates)
    side = replace(OURS[0], arguments=("--shards", str(_SHARDS * size.shards), "--copies", str(size.candidates)))
    return run_side(side, data, candidates, directory, epochs=arguments.epochs)


def table(runs: Mapping[Size, Sequence[Run]]) -> Table:
    """Medians by case, and how the cost of a unit of work compares with that of W8."""
    rows: list[tuple[object, ...]] = []
    base = next(iter(runs.values()))
    for size, mine in runs.items():
        warm = _median(mine, "warm")
        cpu = _median(mine, "cpu_seconds")
        rows.append(
            (
                str(size),
                size.work,
                f"{_median(mine, 'makespan'):.1f}",
                f"{warm:.1f}",
                f"{warm / size.work / _median(base, 'warm'):.2f}",
                f"{cpu:.1f}",
                f"{cpu / size.work / _median(base, 'cpu_seconds'):.2f}",
                f"{statistics.median(run.figures.peak_bytes for run in mine) / 1e6:.0f}",
            )
        )
    columns = (
        "case",
        "work",
        "makespan, s",
        "warm, s",
        "warm / work, W8 = 1",
        "CPU-s, no JVM",
        "CPU / work, W8 = 1",
        "peak, MB",
    )
    return Table("Growth", columns, tuple(rows))


def _median(runs: Sequence[Run], figure: str) -> float:
    return float(statistics.median(getattr(run, figure) or 0.0 for run in runs))
