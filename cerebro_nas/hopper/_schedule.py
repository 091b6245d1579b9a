"""What a schedule log says: how busy the workers were, and how near the search came to the best it could do."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence

    from cerebro_nas.hopper._types import ScheduleEntry


@dataclass(frozen=True)
class WorkerUsage:
    """One worker over the whole schedule.

    Attributes:
        worker: its name.
        units: units done.
        busy_seconds: inside training and evaluation steps.
        unit_seconds: running a unit (the difference to `busy_seconds` is hopping, fetching, building).
        idle_seconds: running none.
    """

    worker: str
    units: int
    busy_seconds: float
    unit_seconds: float
    idle_seconds: float


@dataclass(frozen=True)
class Utilisation:
    """A whole schedule.

    Attributes:
        makespan: seconds from start to end.
        workers: each worker's share, in the order given.
        utilisation: share of all workers' time that was inside training and evaluation steps.
        lower_bound: no order of the same units takes less: the largest of the busiest worker's, the longest trial's,
            and the average worker's seconds of units.
    """

    makespan: float
    workers: tuple[WorkerUsage, ...]
    utilisation: float
    lower_bound: float


def schedule_summary(log: Iterable[ScheduleEntry], workers: Sequence[str], start: float, end: float) -> Utilisation:
    """Summarise the units in `log` that ran on `workers` between `start` and `end` (on the log's clock)."""
    by_worker: dict[str, float] = defaultdict(float)
    by_trial: dict[str, float] = defaultdict(float)
    busy: dict[str, float] = defaultdict(float)
    units: dict[str, int] = defaultdict(int)
    for entry in log:
        seconds = entry.finished - entry.started
        by_worker[entry.worker] += seconds
        by_trial[entry.unit.trial] += seconds
        busy[entry.worker] += entry.busy_seconds
        units[entry.worker] += entry.outcome == "done"
    makespan = end - start
    usage = tuple(WorkerUsage(w, units[w], busy[w], by_worker[w], max(0.0, makespan - by_worker[w])) for w in workers)
    available = makespan * len(workers)
    bounds = [*by_worker.values(), *by_trial.values(), sum(by_worker.values()) / max(1, len(workers))]
    return Utilisation(
        makespan=makespan,
        workers=usage,
        utilisation=sum(u.busy_seconds for u in usage) / available if available > 0 else 0.0,
        lower_bound=max(bounds),
    )
