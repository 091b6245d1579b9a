"""The loop of a search: what happened goes to the scheduler, what it says is done.

It holds no policy. The tuner decides which trial comes, the scheduler what runs where, the backend how.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Protocol

from cerebro_nas.backend import DropCommand
from cerebro_nas.backend import LoadCommand
from cerebro_nas.backend import RunCommand
from cerebro_nas.errors import BuildError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.hopper import AskTrials
from cerebro_nas.hopper import Command
from cerebro_nas.hopper import DropState
from cerebro_nas.hopper import EpochFinished
from cerebro_nas.hopper import Event
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import NoMoreTrials
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import SearchFinished
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialFinished
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import TrialsDeferred
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import TrialStopRequested
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Wait

if TYPE_CHECKING:
    import keras_tuner

    from cerebro_nas.backend import Backend
    from cerebro_nas.search._books import Books
    from cerebro_nas.search._stopping import StoppingRule
    from cerebro_nas.storage import StateFiles
    from cerebro_nas.tracking import Reporter
    from cerebro_nas.tracking import TensorBoardLogger
    from cerebro_nas.tuners import Tuner
    from cerebro_nas.worker import CandidateSpec

_LOGGER = logging.getLogger(__name__)

_TURN_SECONDS = 0.5
_SAME_ERROR_LIMIT = 3
_SHOW_SECONDS = 0.1


class Space(Protocol):
    """What the loop asks of a search space."""

    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int) -> CandidateSpec:
        """Build a candidate; raises `BuildError`."""


@dataclass(frozen=True)
class SearchParts:
    """Everything a search is made of.

    Attributes:
        space: builds candidates.
        tuner: proposes them.
        hopper: schedules them.
        backend: runs them; started already.
        states: their states in the store.
        books: their records.
        reporter: shows them.
        rules: early stopping of a candidate.
        boards: loggers for TensorBoard.
        train_shards: train units of an epoch.
        seed: seed of the search.
    """

    space: Space
    tuner: Tuner
    hopper: Hopper
    backend: Backend
    states: StateFiles
    books: Books
    reporter: Reporter
    rules: Sequence[StoppingRule]
    boards: Sequence[TensorBoardLogger]
    train_shards: int
    seed: int


class SearchDriver:
    """Runs one search to its end. Use it once."""

    def __init__(self, parts: SearchParts) -> None:
        self._parts = parts
        self._specs: dict[str, CandidateSpec] = {}
        self._waiting: deque[Command] = deque()
        self._asked = 0
        self._exhausted = False
        self._finished = False
        self._errors: dict[str, int] = {}
        self._failures: dict[str, str] = {}
        self._unfinite: set[str] = set()
        self._succeeded = False
        self._started = self._shown = parts.backend.now()
        self._actions: dict[type, Callable[..., None]] = {
            EpochFinished: self._epoch_finished,
            TrialFinished: self._trial_finished,
            DropState: self._drop,
            SearchFinished: self._end,
        }

    @property
    def started(self) -> float:
        """When the search began, on the backend's clock."""
        return self._started

    def run(self) -> str:
        """Run until every trial has ended.

        Returns:
            Why the search ended, in words.

        Raises:
            SearchAborted: nothing but the same failure came, or no candidate could be built.
            BackendError: the backend failed.
        """
        backend = self._parts.backend
        while not self._finished:
            for event in backend.events(_TURN_SECONDS):
                self._count(event)
                self._feed(event)
            self._settle()
            self._show()
        return self._reason()

    def _count(self, event: Event) -> None:
        # Only a report that the scheduler accepts is entered, and it accepts those of units that run now.
        if isinstance(event, UnitDone) and self._parts.hopper.is_running(event.worker, event.unit):
            self._parts.books.unit(event.worker, event.unit.trial, event.report)
        elif isinstance(event, UnitFailed):
            self._failures[event.unit.trial] = event.message
            _LOGGER.info("Trial %s failed on %s (%s): %s", event.unit.trial, event.worker, event.reason, event.message)
        elif isinstance(event, WorkerLost):
            self._parts.reporter.message(f"Worker {event.worker} was lost ({event.reason}); its unit runs again.")

    def _feed(self, event: Event) -> None:
        parts = self._parts
        self._extend(parts.hopper.handle(event, parts.backend.now()))
        if isinstance(event, WorkerJoined):
            # It can decode its first shard while its first candidate is still being built.
            for shard in parts.hopper.homes(event.worker)[:1]:
                parts.backend.submit(event.worker, LoadCommand(shard))

    def _extend(self, commands: Iterable[Command]) -> None:
        for command in commands:
            if isinstance(command, AskTrials):
                self._asked += command.count
            else:
                self._waiting.append(command)

    def _settle(self) -> None:
        """Carry out commands until none is left; workers get their units before the next candidate is built."""
        while True:
            while self._waiting:
                command = self._waiting.popleft()
                self._actions[type(command)](command)
            self._dispatch()
            if self._asked and not self._finished:
                self._ask_one()
            elif not self._waiting:
                return

    def _dispatch(self) -> None:
        backend = self._parts.backend
        for command in self._parts.hopper.poll(backend.now()):
            if isinstance(command, RunUnit):
                spec = self._specs[command.unit.trial]
                backend.submit(command.worker, RunCommand(command.unit, command.state, spec))
            else:
                self._extend([command])

    # --- new trials ---------------------------------------------------------------------------------------------------

    def _ask_one(self) -> None:
        if self._exhausted:
            self._asked = 0
            return
        answer = self._parts.tuner.ask()
        if isinstance(answer, TrialSuggestion):
            self._add(answer)
        elif isinstance(answer, Wait):
            count, self._asked = self._asked, 0
            self._feed(TrialsDeferred(count))
        else:
            self._end_of_trials()

    def _end_of_trials(self) -> None:
        self._exhausted, self._asked = True, 0
        self._feed(NoMoreTrials())

    def _add(self, suggestion: TrialSuggestion) -> None:
        parts, trial = self._parts, suggestion.trial_id
        seed = trial_seed(parts.seed, trial)
        try:
            spec = parts.space.build(suggestion.hyperparameters, trial=trial, seed=seed)
        except BuildError as error:
            parts.books.open(trial, suggestion.values)
            parts.books.close(trial, "REJECTED", error.reason)
            _LOGGER.info("Trial %s was rejected (%s): %s", trial, error.reason, error)
            # An oversized candidate's count is known to the error, so that the tuner can name the smallest seen.
            parts.tuner.reject(trial, str(error), getattr(error, "parameters", None))
            return
        parts.tuner.accept(trial)
        self._asked -= 1
        self._specs[trial] = spec
        parts.states.write_spec(trial, spec.to_json())
        parts.books.open(trial, suggestion.values, spec.parameters)
        for board in parts.boards:
            board.trial_started(trial, suggestion.values)
        cost = float(max(1, spec.parameters))
        self._feed(TrialAdded(TrialPlan(trial=trial, epochs=parts.books.epochs, cost=cost)))
        if parts.tuner.exhausted:
            # The scheduler plans the end of a search better the earlier it knows of it.
            self._end_of_trials()

    # --- what the scheduler says --------------------------------------------------------------------------------------

    def _epoch_finished(self, command: EpochFinished) -> None:
        parts, trial = self._parts, command.trial
        if not math.isfinite(command.metrics.get(parts.books.objective, 0.0)):
            # After its last epoch a trial has ended already, and is told apart when that is taken up.
            self._unfinite.add(trial)
            value = command.metrics[parts.books.objective]
            self._failures[trial] = f"{parts.books.objective} became {value} in epoch {command.epoch}"
            self._feed(TrialStopRequested(trial, TrialStatus.FAILED, "nan_objective"))
            return
        parts.tuner.report(trial, command.epoch, command.metrics)
        if parts.books.epoch(trial, command.epoch, command.metrics):
            parts.states.mark_best(trial, (command.epoch + 1) * parts.train_shards)
        for board in parts.boards:
            board.epoch_finished(trial, command.epoch, command.metrics)
        history = parts.books[trial].history
        if any(rule.should_stop(history) for rule in parts.rules):
            self._feed(TrialStopRequested(trial, TrialStatus.STOPPED, "early_stopping"))

    def _trial_finished(self, command: TrialFinished) -> None:
        parts = self._parts
        if command.trial in self._unfinite:
            command = replace(command, status=TrialStatus.FAILED, reason="nan_objective")
        status = command.status
        parts.books.close(command.trial, status.value, command.reason)
        parts.tuner.finish(command.trial, status.value, command.reason)
        for board in parts.boards:
            board.trial_finished(command.trial, failed=status is TrialStatus.FAILED)
        self._specs.pop(command.trial, None)
        if status is TrialStatus.FAILED:
            self._weigh_failure(command)
        else:
            self._succeeded = True

    def _weigh_failure(self, command: TrialFinished) -> None:
        """Give up where every trial so far failed alike: that is the program or the data, not the candidates."""
        reason, message = command.reason, self._failures.pop(command.trial, "")
        self._parts.reporter.message(f"Trial {command.trial} failed ({reason}){_first_line(message)}")
        self._errors[reason] = self._errors.get(reason, 0) + 1
        if self._succeeded or len(self._errors) > 1 or self._errors[reason] < _SAME_ERROR_LIMIT:
            return
        raise SearchAborted(
            f"The first {_SAME_ERROR_LIMIT} trials that ended all failed with reason {reason!r}; none succeeded. "
            f"Fix the cause and call `fit` again. The last one said: {message or 'nothing'}"
        )

    def _drop(self, command: DropState) -> None:
        self._parts.backend.submit(command.worker, DropCommand(command.trial))

    def _end(self, _: SearchFinished) -> None:
        self._finished = True

    # --- showing ------------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        # A view is made of every live trial and worker: at each of a thousand events a second it would cost a core.
        parts, now = self._parts, self._parts.backend.now()
        if self._finished or now - self._shown >= _SHOW_SECONDS:
            self._shown = now
            parts.reporter.update(parts.books.view(parts.hopper.snapshot(), now - self._started))

    def _reason(self) -> str:
        limit, given = self._parts.books.max_trials, len(self._parts.books.records)
        if limit is not None and given >= limit:
            return f"all {limit} trials are done"
        return "the tuner has no further trial"


def trial_seed(seed: int, trial: str) -> int:
    """Seed of a trial's weights, 31 bits; it follows from the search's seed and the trial's name."""
    return zlib.crc32(f"{seed}/{trial}".encode()) & 0x7FFFFFFF


def _first_line(message: str) -> str:
    lines = message.strip().splitlines()
    return f": {lines[0][:200]}" if lines else ""
