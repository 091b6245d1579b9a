"""The scheduler alone, on a virtual clock: how good its schedules are, and what it costs as searches grow."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks._sched_cases import Case
from benchmarks._sched_cases import LogNormal
from benchmarks._sched_cases import Measured
from benchmarks._sched_growth import grow_apart
from benchmarks._sched_quality import Barrier
from benchmarks._sched_quality import Nearness
from benchmarks._sched_quality import barrier
from benchmarks._sched_quality import nearness
from benchmarks._table import Table
from benchmarks._table import add_common_arguments
from benchmarks._table import show

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from benchmarks._sched_cases import Source
    from benchmarks._sched_growth import Growth

PAIRS = ((4, 8), (4, 16), (8, 16), (8, 32), (16, 64))
"""Workers and candidates."""

MEAN_BAR, WORST_BAR, THROUGHPUT_BAR = 1.02, 1.10, 1.4

GROWTH = (
    (Case(8, live=16, epochs=1), 1000),
    (Case(64, live=128, epochs=1), 1000),
    (Case(512, live=1024, epochs=1), 2000),
    (Case(64, live=128, epochs=3), 1000),
    (Case(64, live=128, epochs=3), 10_000),
)

QUICK_GROWTH = ((Case(8, live=16, epochs=1), 50), (Case(64, live=128, epochs=1), 150))


_RATIOS = ("mean", "worst", "own_mean", "own_worst", "throughput", "least", "over_bound")
"""Columns whose fourth digit matters."""


@dataclass(frozen=True)
class Report:
    """One table: what it shows, what its columns mean, and its rows as they were measured."""

    title: str
    notes: tuple[str, ...]
    rows: Sequence[Nearness | Barrier | Growth]

    def table(self) -> Table:
        """For print."""
        names = [field.name for field in dataclasses.fields(self.rows[0])]
        cells = tuple(tuple(_cell(name, getattr(row, name)) for name in names) for row in self.rows)
        return Table(self.title, tuple(name.replace("_", " ") for name in names), cells, self.notes)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m benchmarks sched`."""
    add_common_arguments(parser)
    parser.add_argument("--log", metavar="FILE", help="take unit times from the schedule.jsonl of a real search")
    parser.add_argument(
        "--part", choices=("all", "bound", "barrier", "growth"), default="all", help="which of the tables to make"
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the tables, print and save them; return 0 if the bars are met, else 1."""
    source = Measured(arguments.log) if arguments.log else LogNormal()
    makers = {"bound": report_bound, "barrier": report_barrier, "growth": report_growth}
    chosen = makers if arguments.part == "all" else [arguments.part]
    reports = [makers[part](source, arguments.quick) for part in chosen]
    name = "sched" if arguments.part == "all" else f"sched-{arguments.part}"
    show([report.table() for report in reports], arguments.out, name)
    missed = [problem for report in reports for problem in missed_bars(report)]
    for problem in missed:
        print(f"BAR MISSED: {problem}")
    return 1 if missed else 0


def report_bound(source: Source, quick: bool) -> Report:
    """Compare makespans with the lower bound."""
    instances, pairs = (20, PAIRS[:2]) if quick else (200, PAIRS)
    fetches = (0.0,) if quick else (0.0, 0.05)
    rows = [nearness(*pair, fetch, instances, source) for fetch in fetches for pair in pairs]
    return Report(
        "Makespan over the lower bound",
        (
            f"bars, where fetching is free: mean <= {MEAN_BAR}, worst <= {WORST_BAR}",
            "mean, worst: over max(all work / workers, the longest candidate's work), which knows of no fetching",
            "own mean, own worst: over the lower bound of `schedule_summary`",
            "unit times: " + ("measured" if isinstance(source, Measured) else "log-normal, sigma 0.5, 0.75 and 1"),
            "1 to 3 epochs, as many train shards as workers, one for validation, first estimates off by 20 %",
        ),
        rows,
    )


def report_barrier(source: Source, quick: bool) -> Report:
    """Compare searches with a barrier after each epoch and without."""
    sizes = ((8, 16, 64),) if quick else ((8, 16, 64), (8, 16, 96), (8, 16, 128), (8, 32, 128))
    rows = [barrier(*size, epochs=3, instances=3 if quick else 20, source=source) for size in sizes]
    return Report(
        "Asynchronous search over the epoch-synchronous schedule",
        (
            f"bar: throughput >= {THROUGHPUT_BAR} with 8 workers and 16 live candidates (mean over the instances)",
            "synchronous, asynchronous, bound: share of worker time in units",
            "the reference has exact estimates and our order within each epoch; candidates are replaced at barriers",
        ),
        rows,
    )


def report_growth(source: Source, quick: bool) -> Report:
    """Measure what the scheduler costs."""
    return Report(
        "Cost of the scheduler as searches grow",
        (
            "mean us: all CPU time in `handle` and `poll` over the units; median us, slow us (99 %): one decision",
            "driver seconds: CPU of the process: scheduler, simulated workers, and the loop between them",
            "grown mb: the most memory without what was there at first; the schedule log of all units is part of it",
        ),
        grow_apart(QUICK_GROWTH if quick else GROWTH),
    )


def missed_bars(report: Report) -> list[str]:
    """Say which bars are missed."""
    missed = []
    for row in report.rows:
        if isinstance(row, Nearness) and row.fetch == 0 and (row.mean > MEAN_BAR or row.worst > WORST_BAR):
            missed.append(f"{row.workers} x {row.candidates}: makespan / bound {row.mean:.3f}, worst {row.worst:.3f}")
        if isinstance(row, Barrier) and row.live == 2 * row.workers and row.throughput < THROUGHPUT_BAR:
            missed.append(f"{row.workers} x {row.live}: throughput {row.throughput:.2f}")
    return missed


def _cell(name: str, value: object) -> object:
    return f"{value:.4f}" if name in _RATIOS else value
