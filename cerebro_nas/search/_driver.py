"""The loop of a search: what happened goes to the scheduler, what it says is done.

It holds no policy. The tuner decides which trial comes, the scheduler what runs where, the backend how. Every input is
in the journal before anything follows from it, so that a search whose driver died goes on where the journal ends.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

from cerebro_nas.backend import DropCommand
from cerebro_nas.backend import LoadCommand
from cerebro_nas.backend import RunCommand
from cerebro_nas.errors import ResumeMismatchError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.errors import StoreError
from cerebro_nas.hopper import Command
from cerebro_nas.hopper import DropState
from cerebro_nas.hopper import EpochFinished
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import TrialFinished
from cerebro_nas.hopper import TrialPaused
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerExcluded
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.search._asking import Asking
from cerebro_nas.search._asking import digest
from cerebro_nas.search._asking import trial_seed
from cerebro_nas.search._budgets import Budgets
from cerebro_nas.search._keeping import MarkBest
from cerebro_nas.search._keeping import Remove
from cerebro_nas.search._ledger import Ledger
from cerebro_nas.search._records import event_data
from cerebro_nas.search._records import unit_data
from cerebro_nas.search._replay import replay
from cerebro_nas.search._watch import Watch
from cerebro_nas.worker import CandidateSpec

if TYPE_CHECKING:
    import keras_tuner

    from cerebro_nas.backend import Backend
    from cerebro_nas.backend import BackendEvent
    from cerebro_nas.journal import Journal
    from cerebro_nas.search._books import Books
    from cerebro_nas.search._signals import StopSignals
    from cerebro_nas.search._stopping import StoppingRule
    from cerebro_nas.stoppers import Stopper
    from cerebro_nas.storage import Janitor
    from cerebro_nas.storage import StateFiles
    from cerebro_nas.tracking import Reporter
    from cerebro_nas.tracking import TensorBoardLogger
    from cerebro_nas.tuners import Tuner

_LOGGER = logging.getLogger(__name__)

_TURN_SECONDS = 0.5
_SAME_ERROR_LIMIT = 3
_TOO_SLOW_LIMIT = 50
_SHOW_SECONDS = 0.1
_TOO_SLOW = "too_slow"


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
        journal: takes every input; what it holds already is gone through first.
        states: their states in the store; `janitor` removes those that are not needed.
        books: their records.
        reporter: shows them.
        rules: early stopping of a candidate, by its own metrics.
        boards: loggers for TensorBoard.
        seed: seed of the search.
        stoppers: early stopping of a candidate, by how others do.
        budgets: what the search may use up.
        max_latency_ms: a candidate that takes longer for a row fails.
        session: what the journal's record of this session says beside the limits.
        signals: whether the user wants the search to end early, None: nobody can say so.
        heartbeat: called at every turn; raises to stop a driver that another one has replaced.
        watch: rules about workers and units that take too long.
    """

    space: Space
    tuner: Tuner
    hopper: Hopper
    backend: Backend
    journal: Journal
    states: StateFiles
    janitor: Janitor
    books: Books
    reporter: Reporter
    rules: Sequence[StoppingRule]
    boards: Sequence[TensorBoardLogger]
    seed: int
    stoppers: Sequence[Stopper] = ()
    budgets: Budgets = field(default_factory=Budgets)
    max_latency_ms: float | None = None
    session: dict[str, Any] = field(default_factory=dict)
    signals: StopSignals | None = None
    heartbeat: Callable[[], None] = lambda: None
    watch: Watch = field(default_factory=Watch)


class SearchDriver:
    """Runs one search to its end. Use it once.

    Raises:
        CorruptStateError: what the journal holds cannot be gone through.
        ResumeMismatchError: the tuner is not the one that the journal tells of.
    """

    def __init__(self, parts: SearchParts) -> None:
        self._parts = parts
        self._ledger = Ledger(parts.hopper, parts.tuner, parts.books)
        self._specs: dict[str, CandidateSpec] = {}
        self._errors: dict[str, int] = {}
        self._asking = Asking(parts, self._ledger, self._specs, self._note, self.now)
        self._succeeded = False
        self._told = False
        self._is_over_budget = False
        self._limits: dict[str, Any] = {
            "max_trials": parts.books.max_trials,
            "epochs": parts.books.epochs,
            "budgets": parts.budgets.to_dict(),
        }
        self._actions: dict[type, Callable[..., None]] = {
            EpochFinished: self._epoch_finished,
            TrialPaused: self._trial_paused,
            TrialFinished: self._trial_finished,
            DropState: self._drop,
            WorkerExcluded: self._excluded,
        }
        # Time goes on where the journal ends: what passed without a driver does not count.
        self._resumed, self._parallelism = bool(parts.journal.records), parts.hopper.parallelism
        self._before = replay(self._ledger, parts.journal.records)
        parts.journal.forget_records()
        self._began = parts.backend.now()
        self._shown = self._before
        if self._resumed:
            self._recover()
        self._set_limits()

    @property
    def resumed(self) -> bool:
        """Whether there was an earlier session."""
        return self._resumed

    @property
    def started(self) -> float:
        """When this session began, in seconds of the search."""
        return self._before

    def now(self) -> float:
        """Seconds that the search has run, in all sessions together."""
        return self._before + self._parts.backend.now() - self._began

    def run(self) -> str:
        """Run until every trial has ended.

        Returns:
            Why the search ended, in words.

        Raises:
            SearchAborted: nothing but the same failure came, no candidate could be built, or no workers are left.
            BackendError: the backend failed.
            FencedError: another driver has taken over the search.
        """
        backend, ledger = self._parts.backend, self._ledger
        # What the scheduler said at the end of an earlier session comes before what happens in this one.
        self._settle()
        while not ledger.finished and not self._shall_stop():
            for event in backend.events(_TURN_SECONDS):
                self._take(event)
            self._settle()
            self._watch()
            self._check_budgets()
            self._parts.heartbeat()
            self._parts.journal.commit()
            self._show()
        if not ledger.finished:
            return "it was interrupted; run it again (with overwrite=False) to go on"
        return self._reason()

    def wind_up(self, events: Sequence[BackendEvent]) -> None:
        """Take in what workers still had to say when they were asked to go, and tidy up the store."""
        for event in events:
            if isinstance(event, StateStored):
                self._take(event)
        for change in self._ledger.keeping.everything() if self._ledger.finished else ():
            self._carry_out(change)
        for trial in self._ledger.keeping.pending if self._ledger.finished else ():
            _LOGGER.warning("The best state of trial %s did not reach the store; an earlier one is kept.", trial)
        self._note("end" if self._ledger.finished else "interrupted", {})
        self._parts.journal.commit()

    # --- the journal --------------------------------------------------------------------------------------------------

    def _note(self, kind: str, data: dict[str, Any], now: float | None = None) -> float:
        """Write an input down; return its time."""
        now = self.now() if now is None else now
        self._parts.journal.append(kind, data, now)
        return now

    def _recover(self) -> None:
        """Go on after another session: no worker of it is left, and files may not be as they should."""
        parts, ledger = self._parts, self._ledger
        for change in ledger.keeping.everything():
            self._carry_out(change)
        for trial in parts.hopper.unfinished:
            self._specs[trial] = self._saved_spec(trial)
            for board in parts.boards:
                board.trial_started(trial, parts.books[trial].hyperparameters)
        self._succeeded = any(record.status in ("COMPLETED", "STOPPED", "PAUSED") for record in parts.books.records)
        # Workers that were to forget a state have ended with their driver.
        self._actions[DropState] = _ignore
        self._act()
        for worker in parts.hopper.snapshot().workers:
            gone = WorkerLost(worker.worker, "the driver of the search ended", planned=True)
            ledger.event(gone, self._note("event", event_data(gone)))
            self._act()
        self._actions[DropState] = self._drop

    def _set_limits(self) -> None:
        settings = {"limits": self._limits, "parallelism": self._parallelism}
        now = self._note("session", {**self._parts.session, **settings})
        limits = self._limits
        self._ledger.set_limits(limits["max_trials"], limits["epochs"], limits["budgets"], self._parallelism, now)

    def _saved_spec(self, trial: str) -> CandidateSpec:
        """The candidate as it was built; built again, from the same values and seed, where the file is no good."""
        parts = self._parts
        try:
            text = parts.states.read_spec(trial)
            found = CandidateSpec.from_json(text)
        except (StoreError, ValueError, KeyError, TypeError) as error:
            _LOGGER.warning("The specification of trial %s is built again: %s", trial, error)
        else:
            if digest(text) == self._ledger.digests[trial]:
                return found
            _LOGGER.warning("The specification of trial %s was changed, and is built again.", trial)
        hyperparameters = parts.tuner.oracle.trials[trial].hyperparameters.copy()
        spec = parts.space.build(hyperparameters, trial=trial, seed=trial_seed(parts.seed, trial))
        parent, name = self._ledger.keeping.parent_of(trial)
        spec = spec.with_parent(parent, name)
        text = spec.to_json()
        if digest(text) != self._ledger.digests[trial]:
            raise ResumeMismatchError(
                f"Trial {trial} is under way, its specification is lost, and what is built from its hyperparameters "
                "now is another model. Use the versions of Keras and AutoKeras that it began with, or overwrite=True "
                "to begin anew."
            )
        parts.states.write_spec(trial, text)
        return spec

    # --- one turn -----------------------------------------------------------------------------------------------------

    def _take(self, event: BackendEvent) -> None:
        parts, ledger = self._parts, self._ledger
        if isinstance(event, UnitFailed):
            # What ends the trial is told on the display; on which worker it was, the log may say.
            level = logging.DEBUG if event.trial_fault else logging.INFO
            _LOGGER.log(
                level, "Trial %s failed on %s (%s): %s", event.unit.trial, event.worker, event.reason, event.message
            )
        elif isinstance(event, WorkerLost) and not event.planned and self._is_here(event.worker):
            parts.reporter.message(f"Worker {event.worker} was lost ({event.reason}); its unit runs again.")
        ledger.event(event, self._note("event", event_data(event)))
        if isinstance(event, WorkerJoined):
            # It can decode its first shard while its first candidate is still being built.
            for shard in parts.hopper.homes(event.worker)[:1]:
                parts.backend.submit(event.worker, LoadCommand(shard))
        for trial in ledger.best_lost:
            parts.reporter.message(f"The best state of trial {trial} was lost with {event}; an earlier one is kept.")
        ledger.best_lost.clear()
        # Before the next event is written down: whoever goes through the journal takes things up in that order.
        self._act()

    def _act(self) -> None:
        """Carry out what the scheduler said, units to run apart."""
        ledger = self._ledger
        while (command := ledger.next_command()) is not None:
            self._actions.get(type(command), _ignore)(command)
        for change in ledger.take_changes():
            self._carry_out(change)

    def _is_here(self, worker: str) -> bool:
        return any(view.worker == worker for view in self._parts.hopper.snapshot().workers)

    def _settle(self) -> None:
        """Carry out commands until none is left; workers get their units before the next candidate is built."""
        ledger = self._ledger
        while True:
            self._act()
            if self._is_stopping():
                return
            self._dispatch()
            if not ledger.asked or ledger.finished or not self._asking.ask():
                return

    def _dispatch(self) -> None:
        parts = self._parts
        now = self.now()
        for command in parts.hopper.poll(now):
            if not isinstance(command, RunUnit):
                self._ledger.extend([command])
                continue
            self._note("run", {"worker": command.worker, "unit": unit_data(command.unit)}, now)
            spec = self._specs[command.unit.trial]
            run = RunCommand(command.unit, command.state, spec, command.keep, command.sums)
            parts.backend.submit(command.worker, run)

    def _watch(self) -> None:
        """See to what takes too long."""
        parts = self._parts
        for late in parts.watch.hung(parts.hopper.overdue(self.now()), parts.backend):
            message = f"it took {late.seconds:.0f} s, where {late.limit:.0f} s were the limit"
            parts.reporter.message(
                f"Trial {late.unit.trial} hangs on {late.worker}: {message}. The worker is replaced."
            )
            self._take(UnitFailed(late.worker, late.unit, "timeout", message, trial_fault=False))
            # Before the backend says so, lest it be given another unit that would go down with it.
            self._take(WorkerLost(late.worker, "its unit hung", planned=True))
            parts.backend.restart(late.worker, "its unit hung")
        now = self.now()
        parts.watch.workers(parts.hopper.available(now), parts.backend.min_workers, now)
        self._settle()

    def _is_stopping(self) -> bool:
        signals = self._parts.signals
        if signals is None or not signals.wanted:
            return False
        if not self._told:
            self._told = True
            self._parts.reporter.message(
                f"Stopping: units that run have {signals.grace:.0f} s to end; another interrupt stops at once. "
                "Nothing is lost: run the search again (with overwrite=False) to go on."
            )
        return True

    def _shall_stop(self) -> bool:
        signals = self._parts.signals
        if signals is None or not self._is_stopping():
            return False
        busy = any(worker.unit is not None for worker in self._parts.hopper.snapshot().workers)
        return not busy or signals.patience_is_over()

    # --- budgets ------------------------------------------------------------------------------------------------------

    def _check_budgets(self) -> None:
        """End the search, with what it has, once something that was limited is used up."""
        parts, ledger = self._parts, self._ledger
        if ledger.finished or self._is_over_budget:
            return
        best = None if parts.books.best is None else parts.books.best.value
        found = self.now(), parts.books.epochs_done, best, parts.books.direction
        spent = parts.budgets.spent(*found)
        if spent is None:
            return
        # What ends with the target is no victim of a limit: the winner is among it.
        reason = "budget" if Budgets(target=parts.budgets.target).spent(*found) is None else "target"
        self._is_over_budget = True
        ledger.exhaust(self._note("exhausted", {"reason": spent}), spent)
        for trial in parts.hopper.snapshot().trials:
            self._stop(trial.trial, TrialStatus.STOPPED, reason)
        self._settle()

    # --- what the scheduler says --------------------------------------------------------------------------------------

    def _epoch_finished(self, command: EpochFinished) -> None:
        parts, trial = self._parts, command.trial
        reason = self._ledger.spoiled(trial)
        if reason is not None:
            self._stop(trial, TrialStatus.FAILED, reason)
            return
        for board in parts.boards:
            board.epoch_finished(trial, command.epoch, command.metrics)
        record = parts.books[trial]
        latency = record.cost.latency_ms
        if parts.max_latency_ms is not None and latency is not None and latency > parts.max_latency_ms:
            self._ledger.failures[trial] = f"{latency:.3g} ms a row are more than max_latency_ms={parts.max_latency_ms}"
            self._stop(trial, TrialStatus.FAILED, _TOO_SLOW)
        elif parts.hopper.state_of(trial) is None:
            return  # It was its last epoch: there is nothing left to stop.
        elif self._has_stopped_improving(trial):
            self._stop(trial, TrialStatus.STOPPED, "early_stopping")
        elif parts.stoppers:
            self._ask_stoppers(trial)

    def _has_stopped_improving(self, trial: str) -> bool:
        history = self._parts.books.passes(trial)
        # Rules count epochs, and a trial may be judged within one.
        if not history or history[-1] is not self._parts.books[trial].history[-1]:
            return False
        return any(rule.should_stop(history) for rule in self._parts.rules)

    def _ask_stoppers(self, trial: str) -> None:
        parts = self._parts
        # Rules know the first objective alone, and what nothing dominates is what is looked for.
        is_wanted = len(parts.books.objectives) > 1 and parts.books.is_in_front(trial)
        curves = parts.books.curves()
        curve = curves.pop(trial)
        for stopper in parts.stoppers:
            reason = None if is_wanted and stopper.compares else stopper.should_stop(curve, curves)
            if reason is not None:
                parts.reporter.message(f"Trial {trial} is stopped: {reason}.")
                self._stop(trial, TrialStatus.STOPPED, _word_for(stopper))
                return

    def _stop(self, trial: str, status: TrialStatus, reason: str) -> None:
        now = self._note("stop", {"trial": trial, "status": status.value, "reason": reason})
        self._ledger.stop(trial, status, reason, now)

    def _trial_paused(self, command: TrialPaused) -> None:
        # Those that end first where trials pause are those that fail; the others wait for them.
        self._succeeded = self._succeeded or self._ledger.spoiled(command.trial) is None

    def _trial_finished(self, command: TrialFinished) -> None:
        failed = command.status is TrialStatus.FAILED
        for board in self._parts.boards:
            board.trial_finished(command.trial, failed=failed)
        self._specs.pop(command.trial, None)
        message = self._ledger.failures.pop(command.trial, "")
        if failed:
            self._weigh_failure(command, message)
        else:
            self._succeeded = True

    def _weigh_failure(self, command: TrialFinished, message: str) -> None:
        """Give up where every trial so far failed alike: that is the program or the data, not the candidates."""
        reason = command.reason
        self._parts.reporter.message(f"Trial {command.trial} failed ({reason}){_first_line(message)}")
        self._errors[reason] = self._errors.get(reason, 0) + 1
        # Candidates that are too slow say nothing of those to come: it is the user who calls that a failure.
        limit = _TOO_SLOW_LIMIT if reason == _TOO_SLOW else _SAME_ERROR_LIMIT
        if self._succeeded or len(self._errors) > 1 or self._errors[reason] < limit:
            return
        raise SearchAborted(
            f"The first {limit} trials that ended all failed with reason {reason!r}; none succeeded. "
            f"Fix the cause and call `fit` again. The last one said: {message or 'nothing'}"
        )

    def _drop(self, command: DropState) -> None:
        self._parts.backend.submit(command.worker, DropCommand(command.trial))

    def _excluded(self, command: WorkerExcluded) -> None:
        seconds = max(0.0, command.until - self.now())
        self._parts.reporter.message(f"Worker {command.worker} gets nothing for {seconds:.0f} s: {command.reason}")

    def _carry_out(self, change: Any) -> None:
        parts = self._parts
        if isinstance(change, MarkBest):
            try:
                parts.states.mark_best(change.trial, change.name, change.generation, change.epoch)
            except StoreError as error:
                # The journal knows it too; it is marked again when the search ends, or is gone on with.
                _LOGGER.warning("The best state of trial %s could not be marked: %s", change.trial, error)
        elif isinstance(change, Remove):
            parts.janitor.remove(change.trial, change.names)
        else:
            parts.janitor.keep_only(change.trial, change.names, sweep=change.sweep)

    # --- showing ------------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        # A view is made of every live trial and worker: at each of a thousand events a second it would cost a core.
        parts, now = self._parts, self.now()
        if self._ledger.finished or now - self._shown >= _SHOW_SECONDS:
            self._shown = now
            parts.reporter.update(parts.books.view(parts.hopper.snapshot(), now))

    def _reason(self) -> str:
        if self._ledger.because:
            return self._ledger.because
        limit = self._parts.books.max_trials
        given = sum(record.status != TrialStatus.REJECTED.value for record in self._parts.books.records)
        if limit is not None and given >= limit:
            return "the only trial is done" if limit == 1 else f"all {limit} trials are done"
        return "the tuner has no further trial"


def _ignore(command: Command) -> None:
    """The ledger has entered it, and nothing else follows."""


def _word_for(stopper: Stopper) -> str:
    """The reason that a rule's trials end for: `median` of a `MedianStopper`."""
    name = type(stopper).__name__.strip("_").removesuffix("Stopper")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower() or "stopper"


def _first_line(message: str) -> str:
    lines = message.strip().splitlines()
    return f": {lines[0][:200]}" if lines else ""
