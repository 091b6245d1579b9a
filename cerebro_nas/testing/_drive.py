"""A search reduced to its loop: a hopper, a backend, and trials from a list."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from dataclasses import field
from itertools import islice
from typing import TYPE_CHECKING

from cerebro_nas.backend import DropCommand
from cerebro_nas.backend import RunCommand
from cerebro_nas.errors import BackendError
from cerebro_nas.hopper import AskTrials
from cerebro_nas.hopper import DropState
from cerebro_nas.hopper import EpochFinished
from cerebro_nas.hopper import NoMoreTrials
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialFinished
from cerebro_nas.hopper import TrialStopRequested
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Sequence

    from cerebro_nas.backend import Backend
    from cerebro_nas.hopper import Command
    from cerebro_nas.hopper import Event
    from cerebro_nas.hopper import Hopper
    from cerebro_nas.hopper import TrialPlan

_WATCH_SECONDS = 1.0
"""Between two looks for units that hang."""


@dataclass
class SimulatedSearch:
    """What came of a search driven by `run_search`.

    Attributes:
        commands: every command, in order (without `RunUnit` and `DropState`, where units were not to be kept).
        inputs: what the hopper was given, with the times: events, and the units that it launched (none of them where
            units were not to be kept).
        started: when the backend was started, on its clock; `ended` likewise.
    """

    commands: list[Command] = field(default_factory=list)
    inputs: list[tuple[float, Event | RunUnit]] = field(default_factory=list)
    started: float = 0.0
    ended: float = 0.0

    @property
    def epochs(self) -> list[EpochFinished]:
        """Epochs, as they were reported."""
        return [c for c in self.commands if isinstance(c, EpochFinished)]

    @property
    def trials(self) -> dict[str, TrialFinished]:
        """How each trial ended."""
        return {c.trial: c for c in self.commands if isinstance(c, TrialFinished)}


def shard_search(
    train_rows: Sequence[int], valid_rows: Sequence[int] = (), *, bytes_per_row: int = 100, checkpoint: bool = True
) -> SearchSpec:
    """Describe a data set that is not there, for the simulated backend."""
    shards = [ShardSpec("train", i, f"train-{i}", rows, rows * bytes_per_row) for i, rows in enumerate(train_rows)]
    shards += [ShardSpec("valid", i, f"valid-{i}", rows, rows * bytes_per_row) for i, rows in enumerate(valid_rows)]
    return SearchSpec(
        data_url="simulated:",
        state_url="simulated:",
        shards=tuple(shards),
        features=(),
        labels=(),
        targets=(),
        seed=0,
        batch_size=32,
        checkpoint=checkpoint,
    )


def run_search(
    hopper: Hopper,
    backend: Backend,
    search: SearchSpec,
    plans: Iterable[TrialPlan],
    on_epoch: Callable[[EpochFinished], TrialStopRequested | None] | None = None,
    max_seconds: float = 1e6,
    keep_units: bool = True,
) -> SimulatedSearch:
    """Run every plan to its end. Units that hang are given up, and their workers restarted.

    Args:
        hopper: a new scheduler; or one that went through a record of inputs, to go on with that search.
        backend: a stopped backend; it is stopped again at the end.
        search: what the backend is started with.
        plans: the trials; the next ones are taken when the hopper asks.
        on_epoch: may answer the end of an epoch by stopping the trial.
        max_seconds: gives up after so long on the backend's clock.
        keep_units: False: forget the commands about single units, of which there may be millions.

    Raises:
        BackendError: the search took longer than `max_seconds`.
    """
    driver = _Driver(hopper, backend, iter(plans), on_epoch, keep_units)
    with backend:
        backend.start(search)
        driver.result.started = backend.now()
        driver.go_on()
        while not hopper.finished:
            for event in backend.events(timeout=1.0):
                driver.feed(event)
            driver.watch()
            if not hopper.finished:
                driver.dispatch()
            if backend.now() - driver.result.started > max_seconds:
                raise BackendError(f"The search did not end within {max_seconds} s. It stands at {hopper.snapshot()}.")
        driver.result.ended = backend.now()
    return driver.result


class _Driver:
    def __init__(
        self,
        hopper: Hopper,
        backend: Backend,
        plans: Iterator[TrialPlan],
        on_epoch: Callable[[EpochFinished], TrialStopRequested | None] | None,
        keep_units: bool,
    ) -> None:
        self.result = SimulatedSearch()
        self._hopper = hopper
        self._backend = backend
        self._plans = plans
        self._on_epoch = on_epoch
        self._keep_units = keep_units
        self._specs: dict[str, CandidateSpec] = {}
        self._watched = 0.0

    def go_on(self) -> None:
        """Take up what was asked and not answered before."""
        if asked := self._hopper.snapshot().asked:
            for event in self._answer(AskTrials(asked)):
                self.feed(event)

    def feed(self, event: Event) -> None:
        pending: deque[Event] = deque([event])
        while pending:
            now, event = self._backend.now(), pending.popleft()
            self._note(now, event)
            for command in self._hopper.handle(event, now):
                self._keep(command)
                pending.extend(self._answer(command))

    def watch(self) -> None:
        now = self._backend.now()
        if now - self._watched < _WATCH_SECONDS:
            return
        self._watched = now
        for late in self._hopper.overdue(now):
            if self._backend.stalled_seconds(late.worker) == 0.0:
                continue  # It gets on.
            self.feed(UnitFailed(late.worker, late.unit, "timeout", f"after {late.seconds} s", trial_fault=False))
            self.feed(WorkerLost(late.worker, "its unit hung", planned=True))
            self._backend.restart(late.worker, "its unit hung")

    def dispatch(self) -> None:
        now = self._backend.now()
        for command in self._hopper.poll(now):
            self._keep(command)
            if isinstance(command, RunUnit):
                self._note(now, command)
                spec = self._spec(command.unit.trial)
                run = RunCommand(command.unit, command.state, spec, command.keep, command.sums)
                self._backend.submit(command.worker, run)

    def _spec(self, trial: str) -> CandidateSpec:
        spec = self._specs.get(trial)
        if spec is None:
            spec = self._specs[trial] = CandidateSpec(trial, model="", optimizer={}, loss=(), metrics=())
        return spec

    def _note(self, now: float, item: Event | RunUnit) -> None:
        if self._keep_units:
            self.result.inputs.append((now, item))

    def _keep(self, command: Command) -> None:
        if self._keep_units or not isinstance(command, RunUnit | DropState):
            self.result.commands.append(command)

    def _answer(self, command: Command) -> list[Event]:
        if isinstance(command, AskTrials):
            plans = list(islice(self._plans, command.count))
            events: list[Event] = [TrialAdded(plan) for plan in plans]
            return events if len(plans) == command.count else [*events, NoMoreTrials()]
        if isinstance(command, DropState):
            self._backend.submit(command.worker, DropCommand(command.trial))
        elif isinstance(command, TrialFinished):
            self._specs.pop(command.trial, None)
        elif isinstance(command, EpochFinished) and self._on_epoch is not None:
            stop = self._on_epoch(command)
            return [] if stop is None else [stop]
        return []
