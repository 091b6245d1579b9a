"""Plain data that the scheduler speaks: units, trials, events and commands.

Nothing here imports anything of the project, and every field is a plain Python value, so that the same types serve
the scheduler, the backends, the simulator and the schedule log.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from enum import Enum
from typing import Any
from typing import Literal

Phase = Literal["train", "evaluate", "call"]
Outcome = Literal["done", "failed", "lost"]
VisitOrder = Literal["adaptive", "fixed"]


class TrialStatus(str, Enum):
    """Where a trial stands. `WAITING` and `RUNNING` are live, `PAUSED` may be so again; the others are final."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"

    @property
    def is_final(self) -> bool:
        """Whether no further unit of such a trial will run."""
        return self not in (TrialStatus.WAITING, TrialStatus.RUNNING, TrialStatus.PAUSED)


@dataclass(frozen=True, order=True, slots=True)
class Shard:
    """One part of the data set. `split` is `"train"` or `"valid"`; `index` counts from 0 within the split."""

    split: Literal["train", "valid"]
    index: int


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """What the scheduler knows of a shard: rows and bytes once decoded (its fetch cost follows from the bytes)."""

    shard: Shard
    rows: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of work: one visit of one trial to one shard (`shard=None` for phase `"call"`)."""

    trial: str
    phase: Phase
    epoch: int
    shard: Shard | None
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class StateRef:
    """Where the state of a candidate is.

    Attributes:
        generation: number of train units committed into the state (0: not initialised yet).
        holder: worker that has it in memory, or None.
        stored: name under which the store has this generation too, `""` if it has not.
    """

    generation: int
    holder: str | None = None
    stored: str = ""


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What the scheduler needs to know of a trial.

    Attributes:
        trial: its identifier, unique in the search.
        epochs: epochs at most; 0 for a function trial.
        cost: predicted seconds for one row of training, any unit as long as all trials share it; measured times
            replace it as they come in.
        kind: `"hop"` (train over shards, evaluate) or `"call"` (one call unit).
        legs: train units before each evaluation, `epochs` numbers; one of them ends wherever a pass over all shards
            ends. Empty: whole passes. What is called an epoch elsewhere is one of these.
        pauses: after the last epoch the trial does not end, but pauses until it is promoted.
    """

    trial: str
    epochs: int
    cost: float = 1.0
    kind: Literal["hop", "call"] = "hop"
    legs: tuple[int, ...] = ()
    pauses: bool = False


@dataclass(frozen=True, slots=True)
class UnitReport:
    """What a worker says of a finished unit.

    Attributes:
        rows: rows visited.
        metrics: mean over those rows, keyed by metric name (`loss`, `accuracy`, ...).
        seconds: wall time of the unit on the worker; `busy_seconds` is the part inside training or evaluation steps.
        detail: further figures by name (bytes moved, seconds by part), for the log only.
        sums: of an evaluation that is not the only one of its epoch: what metrics counted, as numbers that add up over
            shards. A metric that is no mean over rows follows from these, not from what it says of each shard.
        merged: of the last evaluation of an epoch that was told the others' `sums`: what these metrics say of all rows.
    """

    rows: int
    metrics: dict[str, float]
    seconds: float
    busy_seconds: float
    detail: dict[str, float] = field(default_factory=dict)
    sums: dict[str, list[float]] = field(default_factory=dict, repr=False)
    merged: dict[str, float] = field(default_factory=dict)


# --- events: what happened -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker registered (or registered again: then everything it held is gone)."""

    worker: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker is gone; its running unit and the states it held are lost.

    Attributes:
        reason: why, in words.
        planned: it was asked to go, or went to come back fresh: whatever ran on it is not to blame.
    """

    worker: str
    reason: str
    planned: bool = False


@dataclass(frozen=True, slots=True)
class UnitDone:
    """A worker finished a unit. A report of another attempt than the running one is ignored (fencing)."""

    worker: str
    unit: Unit
    report: UnitReport


@dataclass(frozen=True, slots=True)
class UnitFailed:
    """A unit failed.

    Attributes:
        reason: one word: `nan_loss`, `oom`, `build_error`, `error`, `state_missing`, `timeout`, ...
        trial_fault: True: the candidate is to blame and fails; False: the unit is tried again, elsewhere if possible:
            after `oom` and `timeout` once in the life of the trial, after others as often as the scheduler is set to.
    """

    worker: str
    unit: Unit
    reason: str
    message: str
    trial_fault: bool


@dataclass(frozen=True, slots=True)
class StateStored:
    """The state that a train unit made reached the store.

    Attributes:
        unit: the train unit; only if it is the one that was committed as this generation does the state count.
        generation: train units in the state.
        name: what the store calls it; no two writes ever share a name.
    """

    unit: Unit
    generation: int
    name: str

    @property
    def trial(self) -> str:
        """The trial whose state it is."""
        return self.unit.trial


@dataclass(frozen=True, slots=True)
class TrialAdded:
    """The tuner gave a trial."""

    plan: TrialPlan


@dataclass(frozen=True, slots=True)
class TrialPromoted:
    """A paused trial goes on: `plan` is its plan again, with more epochs, of which the first are those it has done."""

    plan: TrialPlan


@dataclass(frozen=True, slots=True)
class TrialStopRequested:
    """The trial is to end now as `status` (early stopping, failure of the search, ...)."""

    trial: str
    status: TrialStatus
    reason: str


@dataclass(frozen=True, slots=True)
class NoMoreTrials:
    """The tuner will give no further trial."""


@dataclass(frozen=True, slots=True)
class MoreTrials:
    """The tuner may give trials again, because a budget was raised: `NoMoreTrials` is void, the search goes on."""


@dataclass(frozen=True, slots=True)
class TrialsDeferred:
    """The tuner has none for now: `count` outstanding asks are given back.

    The hopper asks again after the next epoch or trial that finishes. Where no trial is live nothing would ever
    finish, so there the answer has to be `NoMoreTrials`.
    """

    count: int


Event = (
    WorkerJoined
    | WorkerLost
    | UnitDone
    | UnitFailed
    | StateStored
    | TrialAdded
    | TrialPromoted
    | TrialStopRequested
    | TrialsDeferred
    | NoMoreTrials
    | MoreTrials
)


# --- commands: what to do --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunUnit:
    """Run this unit on this worker, starting from `state`.

    Attributes:
        keep: what the unit makes is going to be evaluated, so that the store must have it whatever that costs: it may
            be the best of the trial, and the trial may pause with it.
        sums: for the last evaluation of an epoch: the `sums` of the others, added up.
    """

    worker: str
    unit: Unit
    state: StateRef
    keep: bool = False
    sums: dict[str, list[float]] = field(default_factory=dict, hash=False, repr=False)


@dataclass(frozen=True, slots=True)
class AskTrials:
    """There is room for `count` more live trials: ask the tuner."""

    count: int


@dataclass(frozen=True, slots=True)
class EpochFinished:
    """A trial finished the evaluation of an epoch.

    Attributes:
        metrics: weighted by rows, or what the last evaluation `merged`; validation ones start with `val_`.
        made_by: the train unit whose state was evaluated, the epoch's last.
        generation: train units in that state.
    """

    trial: str
    epoch: int
    metrics: dict[str, float]
    made_by: Unit
    generation: int


@dataclass(frozen=True, slots=True)
class TrialPaused:
    """A trial did the epochs of its plan, and waits to be promoted or stopped. It is not live meanwhile."""

    trial: str


@dataclass(frozen=True, slots=True)
class TrialFinished:
    """A trial ended. `metrics` are those of its last complete epoch (empty if there is none)."""

    trial: str
    status: TrialStatus
    reason: str
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class DropState:
    """The worker may forget the state of this trial."""

    worker: str
    trial: str


@dataclass(frozen=True, slots=True)
class WorkerExcluded:
    """A worker failed unit after unit, of different trials: it gets nothing before `until`, on the caller's clock."""

    worker: str
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class SearchFinished:
    """Every trial is final and no more will come."""


Command = (
    RunUnit | AskTrials | EpochFinished | TrialPaused | TrialFinished | DropState | WorkerExcluded | SearchFinished
)


@dataclass(frozen=True, slots=True)
class Overdue:
    """A unit that has run on its worker for `seconds`, where `limit` seconds were the most that is allowed."""

    worker: str
    unit: Unit
    seconds: float
    limit: float


# --- the schedule log -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """One unit as it ran. Times are seconds on the clock that the caller passes to `Hopper.handle`."""

    worker: str
    unit: Unit
    started: float
    finished: float
    busy_seconds: float
    outcome: Outcome
    detail: dict[str, Any] = field(default_factory=dict)
