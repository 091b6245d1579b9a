"""What a display needs to know of a running search: plain values, made by the search and only read by reporters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Literal

Direction = Literal["min", "max"]


@dataclass(frozen=True)
class TrialCounts:
    """Trials by where they stand. `done` are those that gave a result (completed, or stopped early); those that are
    `paused` may go on.
    """

    running: int = 0
    waiting: int = 0
    done: int = 0
    failed: int = 0
    rejected: int = 0
    paused: int = 0

    @property
    def final(self) -> int:
        """Trials that will run no more."""
        return self.done + self.failed + self.rejected

    @classmethod
    def of(cls, statuses: Iterable[str]) -> TrialCounts:
        """Count `TrialStatus` values (or their names)."""
        fields = {
            "RUNNING": "running",
            "WAITING": "waiting",
            "COMPLETED": "done",
            "STOPPED": "done",
            "FAILED": "failed",
            "REJECTED": "rejected",
            "PAUSED": "paused",
        }
        counts = dict.fromkeys(fields.values(), 0)
        for status in statuses:
            counts[fields[str(getattr(status, "value", status))]] += 1
        return cls(**counts)


@dataclass(frozen=True)
class BestTrial:
    """The best trial so far. `hyperparameters` is a short text (see `short_hyperparameters`)."""

    trial: str
    value: float
    hyperparameters: str = ""


@dataclass(frozen=True)
class WorkerView:
    """One worker. `trial` is None when it is idle; `shard` is a short text such as `"train 3"`."""

    worker: str
    units_done: int = 0
    busy_share: float = 0.0
    trial: str | None = None
    phase: str = ""
    epoch: int = 0
    shard: str = ""


@dataclass(frozen=True)
class RunningTrial:
    """One live trial. `epoch` counts from 0; `metric` is the objective after its last complete epoch, if any."""

    trial: str
    epoch: int
    epochs: int
    metric: float | None = None


@dataclass(frozen=True)
class FinishedTrial:
    """One final trial. `value` is its objective, None when it has none."""

    trial: str
    status: str
    reason: str = ""
    value: float | None = None
    epochs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class SearchView:
    """A search at one moment.

    Attributes:
        project: name of the project.
        tuner: name of the tuner.
        objective: name of the metric that is optimised, and `direction` the way.
        max_trials: trials at most; None when there is no limit.
        counts: trials by status.
        best: the best trial so far.
        workers: one entry per worker, in the order to show them.
        running: the live trials.
        finished: *every* final trial in the order they ended; a reporter shows those that are new since the last view.
        units_done: units committed; `units_known` is the total of all trials known so far.
        elapsed: seconds since the search began, earlier sessions included.
        eta: seconds that are left by the estimate of the search, None when there is none yet.
        others: further objectives, each with its direction.
        purpose: what is done, where nothing is compared; there are no scores to show then.
    """

    project: str
    tuner: str
    objective: str
    direction: Direction
    max_trials: int | None
    counts: TrialCounts = field(default_factory=TrialCounts)
    best: BestTrial | None = None
    workers: tuple[WorkerView, ...] = ()
    running: tuple[RunningTrial, ...] = ()
    finished: tuple[FinishedTrial, ...] = ()
    units_done: int = 0
    units_known: int = 0
    elapsed: float = 0.0
    eta: float | None = None
    others: tuple[tuple[str, Direction], ...] = ()
    purpose: str = ""

    def without_scores(self) -> SearchView:
        """The same, where no score means anything."""
        return replace(
            self,
            best=None,
            running=tuple(replace(trial, metric=None) for trial in self.running),
            finished=tuple(replace(trial, value=None) for trial in self.finished),
        )

    @property
    def headline(self) -> tuple[str, ...]:
        """What is done, in a few words each."""
        return (self.purpose,) if self.purpose else (self.tuner, self.objectives_text())

    def objectives_text(self, maximise: str = "max", minimise: str = "min") -> str:
        """All objectives with the way of each: `max val_accuracy, min flops`."""
        every = ((self.objective, self.direction), *self.others)
        return ", ".join(f"{maximise if way == 'max' else minimise} {name}" for name, way in every)
