"""The part of a search that follows from its journal alone: scheduler, tuner and books, moved by recorded inputs.

Each method that takes `now` stands for one kind of record. A search that runs and one that is replayed go through the
same methods in the same order, so that they end in the same state; only what follows outside (commands to workers,
files, displays) is left to the caller, who leaves it out of a replay.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.hopper import AskTrials
from cerebro_nas.hopper import Command
from cerebro_nas.hopper import EpochFinished
from cerebro_nas.hopper import Event
from cerebro_nas.hopper import MoreTrials
from cerebro_nas.hopper import NoMoreTrials
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import SearchFinished
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialFinished
from cerebro_nas.hopper import TrialPaused
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import TrialPromoted
from cerebro_nas.hopper import TrialsDeferred
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import TrialStopRequested
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.search._keeping import Keeping
from cerebro_nas.tracking import TrialCost

if TYPE_CHECKING:
    from cerebro_nas.backend import BackendEvent
    from cerebro_nas.hopper import Hopper
    from cerebro_nas.search._books import Books
    from cerebro_nas.search._keeping import Change
    from cerebro_nas.search._trials import NewTrial
    from cerebro_nas.tuners import TrialSuggestion
    from cerebro_nas.tuners import Tuner


class Ledger:
    """State of a search.

    Args:
        hopper: a new scheduler.
        tuner: with nothing asked yet.
        books: empty.

    Attributes:
        asked: trials that the scheduler asked for and has not got.
        exhausted: the tuner has no more; `because`: the budget that is used up, in words, where that is why.
        finished: every trial has ended.
        held: what the tuner gave, and waits for the state of its parent.
        budgets: what may be used up, as plain values.
        failures: what the last failure of a unit of a trial said.
        keeping: which stored states are needed.
        digests: SHA-256 of the specifications of live trials.
        best_lost: ended trials whose best state never reached the store, since the last `take_changes`.
    """

    def __init__(self, hopper: Hopper, tuner: Tuner, books: Books) -> None:
        self.hopper = hopper
        self.tuner = tuner
        self.books = books
        books.visits_per_epoch = hopper.num_train
        self.asked = 0
        self.exhausted = False
        self.because = ""
        self.finished = False
        self.held: TrialSuggestion | None = None
        self.budgets: Mapping[str, Any] = {}
        self.failures: dict[str, str] = {}
        self.keeping = Keeping(hopper.stored_names)
        self.best_lost: list[str] = []
        self.digests: dict[str, str] = {}
        self._spoiled: dict[str, str] = {}
        self._waiting: deque[Command] = deque()
        self._changes: list[Change] = []

    # --- inputs: one record each --------------------------------------------------------------------------------------

    def event(self, event: BackendEvent, now: float) -> None:
        """A backend said something."""
        if isinstance(event, UnitDone) and self.hopper.is_running(event.worker, event.unit):
            # Only a report that the scheduler accepts is entered, and it accepts those of units that run now.
            self.books.unit(event.worker, event.unit, event.report)
            if event.unit.phase == "train":
                self.keeping.trained(event.worker, event.unit)
        elif isinstance(event, UnitFailed):
            self.failures[event.unit.trial] = event.message
        elif isinstance(event, WorkerLost):
            changes, ended = self.keeping.lost(event.worker)
            self._changes += changes
            self.best_lost += ended
        self._feed(event, now)
        if isinstance(event, StateStored):
            # After the scheduler, who says which states it may still go back to.
            self._changes += self.keeping.stored(event.unit, event.generation, event.name)

    def add(self, new: NewTrial, now: float) -> None:
        """The tuner gave a trial, and its candidate was built."""
        trial = new.plan.trial
        self.held = None
        self.digests[trial] = new.digest
        self.tuner.accept(trial)
        self.asked -= 1
        cost = TrialCost(parameters=new.parameters, flops=new.flops)
        self.books.open(trial, new.values, cost, new.parent, new.note, self._inherited(new))
        if new.parent:
            self.keeping.pin(trial, new.parent, new.parent_state)
        self._feed(TrialAdded(new.plan), now)

    def _inherited(self, new: NewTrial) -> int:
        """Epochs that the weights which a trial begins with were trained for."""
        if not new.parent:
            return 0
        if "inherited" not in new.note:
            return self.books.trained(new.parent)
        units = int(new.note["inherited"])
        return units if self.tuner.resource == "epochs" else units // self.books.visits_per_epoch

    def hold(self, suggestion: TrialSuggestion) -> None:
        """The tuner gave a trial that is built later: other inputs come in between."""
        self.held = suggestion

    def promote(self, plan: TrialPlan, now: float) -> None:
        """The tuner wants a paused trial to go on."""
        self.asked -= 1
        self._feed(TrialPromoted(plan), now)

    def reject(self, trial: str, values: Mapping[str, Any], reason: str, message: str, parameters: int | None) -> None:
        """The tuner gave a trial whose candidate cannot be built or is too large.

        Raises:
            SearchAborted: so it was with too many in a row.
        """
        self.held = None
        self.books.open(trial, values)
        self.books.close(trial, TrialStatus.REJECTED.value, reason)
        # An oversized candidate's count is known to the error, so that the tuner can name the smallest seen.
        self.tuner.reject(trial, message, parameters)

    def dismiss(self, trial: str, reason: str, now: float) -> None:
        """The tuner gives up a paused trial."""
        self.stop(trial, TrialStatus.STOPPED, reason, now)

    def defer(self, now: float) -> None:
        """The tuner has no trial for now."""
        count, self.asked = self.asked, 0
        self._feed(TrialsDeferred(count), now)

    def exhaust(self, now: float, because: str = "") -> None:
        """The tuner has no more trials, or a budget is used up."""
        self.exhausted, self.asked = True, 0
        self.because = because or self.because
        self._feed(NoMoreTrials(), now)

    def ran(self, worker: str, unit: Unit, now: float) -> None:
        """A unit was sent to a worker. Only for a replay: the scheduler knows of those that it chose."""
        self.hopper.launch(worker, unit, now)

    def stop(self, trial: str, status: TrialStatus, reason: str, now: float) -> None:
        """A trial ends for a reason of its own."""
        if status is TrialStatus.FAILED:
            # After its last epoch the scheduler has it down as complete already.
            self._spoiled.setdefault(trial, reason)
        self._feed(TrialStopRequested(trial, status, reason), now)

    def set_limits(
        self, max_trials: int | None, epochs: int, budgets: Mapping[str, Any], parallelism: int, now: float
    ) -> None:
        """A driver begins with these limits, which may be higher than those before, and so many live trials."""
        self.hopper.set_parallelism(parallelism)
        self.tuner.forget_rejections()
        self.books.epochs = epochs
        if (max_trials, budgets) == (self.books.max_trials, self.budgets):
            return
        self.books.max_trials, self.budgets = max_trials, budgets
        self.tuner.raise_limit(max_trials)
        if self.exhausted and not self.tuner.exhausted:
            self.exhausted = self.finished = False
            self._feed(MoreTrials(), now)
        if not self.finished:
            self.because = ""

    # --- what follows -------------------------------------------------------------------------------------------------

    def next_command(self) -> Command | None:
        """Take up the next thing that the scheduler said, and enter it; None if there is none."""
        if not self._waiting:
            return None
        command = self._waiting.popleft()
        if isinstance(command, EpochFinished):
            self._epoch_finished(command)
        elif isinstance(command, TrialPaused):
            self._trial_paused(command.trial)
        elif isinstance(command, TrialFinished):
            command = self._trial_finished(command)
        elif isinstance(command, SearchFinished):
            self.finished = True
        return command

    def take_changes(self) -> list[Change]:
        """What to mark and to remove in the store since the last call."""
        changes, self._changes = self._changes, []
        return changes

    def spoiled(self, trial: str) -> str | None:
        """The reason why the trial cannot be judged, which ends it: its objective is missing, or no number."""
        return self._spoiled.get(trial)

    def extend(self, commands: Iterable[Command]) -> None:
        """Take in what the scheduler said, asks apart: those are counted."""
        for command in commands:
            if isinstance(command, AskTrials):
                self.asked += command.count
            elif not isinstance(command, RunUnit):
                self._waiting.append(command)

    def _feed(self, event: Event, now: float) -> None:
        self.extend(self.hopper.handle(event, now))

    def _epoch_finished(self, command: EpochFinished) -> None:
        trial = command.trial
        metrics = self.books.with_measures(trial, command.metrics)
        problem = self._problem(metrics, command.epoch)
        if problem is not None:
            # After its last epoch a trial has ended already, and is told apart when that is taken up.
            self._spoiled[trial], self.failures[trial] = problem
            return
        self.tuner.report(trial, command.epoch, metrics)
        if self.books.epoch(trial, command.epoch, metrics, command.generation):
            self._changes += self.keeping.best(trial, command.made_by, command.generation, command.epoch)

    def _problem(self, metrics: Mapping[str, float], epoch: int) -> tuple[str, str] | None:
        """Why the epoch cannot be judged, as a reason and in words."""
        for name, _ in self.books.objectives:
            if name not in metrics:
                return "metrics_missing", f"`{name}` is not among its metrics, which are {', '.join(sorted(metrics))}"
            if not math.isfinite(metrics[name]):
                return "nan_objective", f"{name} became {metrics[name]} in epoch {epoch}"
        return None

    def _trial_paused(self, trial: str) -> None:
        self.books.pause(trial)
        self._changes += self.keeping.paused(trial)
        if trial not in self._spoiled:
            self.tuner.pause(trial)

    def _trial_finished(self, command: TrialFinished) -> TrialFinished:
        if command.trial in self._spoiled:
            command = replace(command, status=TrialStatus.FAILED, reason=self._spoiled[command.trial])
        self.books.close(command.trial, command.status.value, command.reason)
        self.tuner.finish(command.trial, command.status.value, command.reason)
        self._changes += self.keeping.ended(command.trial)
        self._changes += self.keeping.unpin(command.trial)
        self.digests.pop(command.trial, None)
        return command
