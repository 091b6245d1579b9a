"""What the scheduler itself costs, from eight workers to 512 and from a thousand candidates to ten thousand."""

from __future__ import annotations

import multiprocessing
import random
import resource
import time
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks._sched_cases import Case
from benchmarks._sched_cases import LogNormal
from benchmarks._sched_cases import hopper_of
from benchmarks._sched_cases import simulate
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import UnitDone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cerebro_nas.hopper import Command
    from cerebro_nas.hopper import Event


@dataclass(frozen=True)
class Growth:
    """One search, large or small; the times are CPU times of the process.

    Attributes:
        median_us: microseconds that the scheduler takes for one decision: the events of one moment and the poll after.
        mean_us: likewise, with whatever else it does, spread over all units.
        slow_us: 99 of 100 decisions take no longer.
        driver_seconds: the process from start to end: the scheduler, the simulated workers, the loop between them.
        peak_mb: memory of the process at most; `grown_mb`: without what it had before the search.
        over_bound: makespan over the lower bound, to see that no quality was traded.
    """

    workers: int
    candidates: int
    live: int
    shards: int
    epochs: int
    units: int
    mean_us: float
    median_us: float
    slow_us: float
    scheduler_seconds: float
    driver_seconds: float
    peak_mb: float
    grown_mb: float
    utilisation: float
    over_bound: float


class TimedHopper(Hopper):
    """A scheduler that keeps the CPU time of each decision, in nanoseconds."""

    taken: array[int]
    since: int = 0
    units: int = 0

    def handle(self, event: Event, now: float) -> list[Command]:
        began = time.thread_time_ns()
        commands = super().handle(event, now)
        self.since += time.thread_time_ns() - began
        self.units += isinstance(event, UnitDone)
        return commands

    def poll(self, now: float) -> list[Command]:
        began = time.thread_time_ns()
        commands = super().poll(now)
        self.since += time.thread_time_ns() - began
        self.taken.append(min(self.since, 2**32 - 1))
        self.since = 0
        return commands


def grow(case: Case, candidates: int) -> Growth:
    """Run a search of log-normal candidates in this process and measure it."""
    drawn = LogNormal().draw(random.Random(case.seed), candidates, 0.7)
    hopper = hopper_of(TimedHopper, case)
    hopper.taken = array("I")
    before, began = _peak_mb(), time.process_time()
    outcome = simulate(case, drawn, hopper, checkpoint=True, keep_units=False)
    driver, peak = time.process_time() - began, _peak_mb()
    taken = sorted(hopper.taken)
    return Growth(
        workers=case.workers,
        candidates=candidates,
        live=case.live,
        shards=case.shards or case.workers,
        epochs=case.epochs,
        units=hopper.units,
        mean_us=sum(taken) / hopper.units / 1e3,
        median_us=taken[len(taken) // 2] / 1e3,
        slow_us=taken[int(0.99 * len(taken))] / 1e3,
        scheduler_seconds=sum(taken) / 1e9,
        driver_seconds=driver,
        peak_mb=peak,
        grown_mb=peak - before,
        utilisation=outcome.schedule.utilisation,
        over_bound=outcome.makespan / case.bound(drawn),
    )


def grow_apart(cases: Sequence[tuple[Case, int]]) -> list[Growth]:
    """Measure each case in a process of its own, so that none inherits the memory of the one before."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.starmap(grow, cases, chunksize=1)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
