"""How near schedules come to the lower bound, and what an epoch barrier costs against none."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks._sched_cases import Candidate
from benchmarks._sched_cases import Case
from benchmarks._sched_cases import simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks._sched_cases import Source

SIGMAS = (0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Nearness:
    """Makespan over the lower bound, over `instances` random searches of 1 to 3 epochs.

    Attributes:
        fetch: seconds to fetch a shard, against about one for a unit.
        mean: over the bound that no schedule beats, whatever runs where (the one of the bar).
        worst: likewise, the worst instance.
        own_mean: over the bound of `schedule_summary`, which takes for granted what ran where.
    """

    workers: int
    candidates: int
    fetch: float
    instances: int
    mean: float
    worst: float
    own_mean: float
    own_worst: float


def nearness(workers: int, candidates: int, fetch: float, instances: int, source: Source) -> Nearness:
    """Measure one pair of numbers of workers and candidates."""
    ratios, own = [], []
    for seed in range(instances):
        draw = random.Random(f"{workers}/{candidates}/{seed}")
        case = Case(workers, candidates, 1 + seed % 3, fetch=fetch, seed=seed)
        drawn = source.draw(draw, candidates, SIGMAS[seed // 3 % len(SIGMAS)])
        outcome = simulate(case, drawn)
        ratios.append(outcome.makespan / case.bound(drawn))
        own.append(outcome.makespan / outcome.schedule.lower_bound)
    return Nearness(
        workers, candidates, fetch, instances, statistics.mean(ratios), max(ratios), statistics.mean(own), max(own)
    )


@dataclass(frozen=True)
class Barrier:
    """The same candidates with a barrier after each epoch and without; utilisations, and the bound on them.

    Attributes:
        throughput: of the search without barriers over the one with them.
        least: likewise, in the worst of the `instances`; the other figures are means.
    """

    workers: int
    live: int
    candidates: int
    epochs: int
    instances: int
    synchronous: float
    asynchronous: float
    bound: float
    throughput: float
    least: float


def barrier(workers: int, live: int, candidates: int, epochs: int, instances: int, source: Source) -> Barrier:
    """Compare the two on heterogeneous candidates."""
    rows = []
    for seed in range(instances):
        drawn = source.draw(random.Random(f"barrier/{seed}"), candidates, 1.0)
        case = Case(workers, live, epochs, seed=seed)
        work = sum(case.work(candidate) for candidate in drawn) / workers
        seconds = (epoch_synchronous(case, drawn), simulate(case, drawn).makespan, case.bound(drawn))
        rows.append(tuple(work / part for part in seconds))
    ratios = [row[1] / row[0] for row in rows]
    held, free, bound = (statistics.mean(column) for column in zip(*rows, strict=True))
    return Barrier(
        workers=workers,
        live=live,
        candidates=candidates,
        epochs=epochs,
        instances=instances,
        synchronous=held,
        asynchronous=free,
        bound=bound,
        throughput=statistics.mean(ratios),
        least=min(ratios),
    )


def epoch_synchronous(case: Case, candidates: Sequence[Candidate]) -> float:
    """Seconds with a barrier after each epoch over all live candidates; candidates are replaced at barriers.

    Within an epoch the reference has our scheduler, and knows the unit times exactly: only the barrier is compared.
    """
    seconds = 0.0
    for first in range(0, len(candidates), case.live):
        group = candidates[first : first + case.live]
        epoch = Case(case.workers, len(group), 1, shards=case.shards, error=0.0, seed=case.seed)
        seconds += case.epochs * simulate(epoch, group).makespan
    return seconds
