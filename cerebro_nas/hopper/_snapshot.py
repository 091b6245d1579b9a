"""How a search stands at one moment, as plain data, for progress displays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cerebro_nas.hopper._costs import CostModel
    from cerebro_nas.hopper._trial import Trial
    from cerebro_nas.hopper._types import TrialStatus
    from cerebro_nas.hopper._types import Unit
    from cerebro_nas.hopper._workers import Worker
    from cerebro_nas.hopper._workers import WorkerPool


@dataclass(frozen=True)
class TrialView:
    """A live trial.

    Attributes:
        epoch: current epoch, from 0.
        units_done: units committed, of `units_total`.
        generation: train units in the state.
        worker: where it runs now, or None.
        remaining_seconds: expected work left, None until a unit has been measured.
    """

    trial: str
    status: TrialStatus
    epoch: int
    epochs: int
    units_done: int
    units_total: int
    generation: int
    worker: str | None
    remaining_seconds: float | None


@dataclass(frozen=True)
class WorkerView:
    """A worker that is there; `unit` has run for `running_seconds`, and `units_done` were done before."""

    worker: str
    unit: Unit | None
    running_seconds: float
    units_done: int


@dataclass(frozen=True)
class Snapshot:
    """A search at `now`.

    Attributes:
        trials: live trials, oldest first.
        workers: workers that are there.
        finished: how many trials ended with each status.
        asked: trials asked for and not yet given.
        ignored: late events.
        remaining_seconds: expected time until the live trials are done, None until a unit has been measured.
        excluded: until when a worker gets nothing, by name.
    """

    now: float
    trials: tuple[TrialView, ...]
    workers: tuple[WorkerView, ...]
    finished: dict[TrialStatus, int]
    asked: int
    ignored: int
    remaining_seconds: float | None
    excluded: dict[str, float] = field(default_factory=dict)


def take_snapshot(
    now: float,
    live: Mapping[str, Trial],
    final: Mapping[str, TrialStatus],
    pool: WorkerPool,
    costs: CostModel,
    asked: int,
    ignored: int,
) -> Snapshot:
    """Describe the scheduler's state."""
    trials = tuple(_trial(trial, costs) for trial in live.values())
    return Snapshot(
        now=now,
        trials=trials,
        workers=tuple(_worker(worker, now) for worker in pool.present.values()),
        finished=dict(Counter(final.values())),
        asked=asked,
        ignored=ignored,
        remaining_seconds=_total([trial.remaining_seconds for trial in trials], pool.count_usable(now)),
        excluded={name: until for name, until in pool.excluded.items() if until > now},
    )


def _total(remaining: list[float | None], workers: int) -> float | None:
    known = [seconds for seconds in remaining if seconds is not None]
    if not workers or len(known) < len(remaining):
        return None
    return max(sum(known) / workers, max(known, default=0.0))


def _trial(trial: Trial, costs: CostModel) -> TrialView:
    return TrialView(
        trial=trial.plan.trial,
        status=trial.status,
        epoch=trial.epoch,
        epochs=trial.plan.epochs,
        units_done=trial.units_done,
        units_total=trial.units_total,
        generation=trial.generation,
        worker=trial.worker,
        remaining_seconds=costs.remaining(trial) if costs.calibrated else None,
    )


def _worker(worker: Worker, now: float) -> WorkerView:
    running = worker.running
    return WorkerView(
        worker=worker.name,
        unit=None if running is None else running.unit,
        running_seconds=0.0 if running is None else now - running.started,
        units_done=worker.units,
    )
