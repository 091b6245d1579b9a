"""The scheduler: events in, commands out. It has no clock, no thread, and does no input or output."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING
from typing import Any
from typing import get_args

from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import _types as t
from cerebro_nas.hopper._costs import CostModel
from cerebro_nas.hopper._exclusion import Exclusions
from cerebro_nas.hopper._legs import fit_passes
from cerebro_nas.hopper._log import ScheduleLog
from cerebro_nas.hopper._order import FixedOrder
from cerebro_nas.hopper._policy import Assignment
from cerebro_nas.hopper._policy import Policy
from cerebro_nas.hopper._ranking import Ranking
from cerebro_nas.hopper._shards import ShardTable
from cerebro_nas.hopper._snapshot import Snapshot
from cerebro_nas.hopper._snapshot import take_snapshot
from cerebro_nas.hopper._story import Story
from cerebro_nas.hopper._timeouts import TimeoutRules
from cerebro_nas.hopper._timeouts import Timeouts
from cerebro_nas.hopper._trial import Trial
from cerebro_nas.hopper._trial import unit_key
from cerebro_nas.hopper._workers import Running
from cerebro_nas.hopper._workers import Worker
from cerebro_nas.hopper._workers import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

_TRIED_TWICE = ("oom", "timeout")
"""Reasons after which a trial gets one more chance in all, however many units it has."""


class Hopper:
    """Schedules the units of many trials on the workers of a search.

    The driver feeds every event to `handle` and carries out the commands it returns (which may mean feeding further
    events: trials, stops); once that is quiet it calls `poll`, which returns the units to start. So a decision of the
    tuner on the end of an epoch comes before the trial's next unit, and no worker idles for it.

    An epoch that is redone because its state was lost is reported again; the later report replaces the earlier one.

    All that happens follows from the events, their times, and what was launched. So a hopper that is given a record of
    these, with `launch` in the place of `poll`, comes to stand where the first one stood.

    Args:
        shards: training and validation shards.
        parallelism: live trials to keep (None: twice the number of workers).
        num_workers: workers that are expected to join. More may.
        seed: settles ties; equal events give equal commands.
        max_attempts: failures of one unit (not the trial's fault) after which the trial fails. Out of memory and
            timeouts are different: their second one, in whatever unit, fails the trial.
        max_worker_deaths_per_trial: workers that may be lost while running a trial before it fails (`worker_lost`).
        fetch_bytes_per_second: speed at which a worker fetches a shard that it does not hold.
        visit_order: `"adaptive"`: a trial visits the train shards of an epoch as workers become free, which is the
            fastest; `"fixed"`: in an order that follows from the seed, the trial's name and the epoch alone, so that
            its metrics depend neither on timing nor on faults nor on the number of workers.
        max_failures_in_a_row: different trials that may fail on a worker, none succeeding between, before the worker
            gets nothing for `cool_down` seconds, then twice as long, and so on up to `max_cool_down`.
        timeout_factor: a unit is overdue once it takes so many times what is expected of it; at least `min_timeout`
            seconds, and `first_timeout` as long as nothing like it has been measured.
        unit_timeout: seconds after which a unit is overdue, in place of all that.

    Attributes:
        log: the units that have ended, in order, as a sequence of `ScheduleEntry`. The hopper only appends to it.
        ignored: number of events that came too late to matter (fencing).
    """

    def __init__(
        self,
        shards: Sequence[t.ShardInfo],
        *,
        parallelism: int | None = None,
        num_workers: int,
        seed: int = 0,
        max_attempts: int = 3,
        max_worker_deaths_per_trial: int = 2,
        fetch_bytes_per_second: float = 200e6,
        visit_order: t.VisitOrder = "adaptive",
        max_failures_in_a_row: int = 3,
        cool_down: float = 60.0,
        max_cool_down: float = 1800.0,
        timeout_factor: float = 10.0,
        min_timeout: float = 60.0,
        first_timeout: float = 900.0,
        unit_timeout: float | None = None,
    ) -> None:
        self._parallelism = 2 * num_workers if parallelism is None else parallelism
        _check("num_workers", num_workers, 1)
        _check("parallelism", self._parallelism, 1)
        _check("max_attempts", max_attempts, 1)
        _check("max_worker_deaths_per_trial", max_worker_deaths_per_trial, 0)
        _check("max_failures_in_a_row", max_failures_in_a_row, 1)
        for name, value in [
            ("fetch_bytes_per_second", fetch_bytes_per_second),
            ("cool_down", cool_down),
            ("max_cool_down", max_cool_down),
            ("timeout_factor", timeout_factor),
            ("min_timeout", min_timeout),
            ("first_timeout", first_timeout),
            ("unit_timeout", unit_timeout),
        ]:
            _check_positive(name, value)
        if visit_order not in get_args(t.VisitOrder):
            raise ConfigError(
                f"`visit_order` must be one of {get_args(t.VisitOrder)}. Received: visit_order={visit_order!r}. "
                "Leave it out to use the default."
            )
        self.log = ScheduleLog()
        self.ignored = 0
        self._max_attempts = max_attempts
        self._max_deaths = max_worker_deaths_per_trial
        self._table = ShardTable(shards, fetch_bytes_per_second)
        self._pool = WorkerPool(self._table, num_workers)
        self._costs = CostModel()
        self._ranking = Ranking(self._table, self._costs)
        self._policy = Policy(self._table, self._costs, self._pool, self._ranking)
        self._exclusions = Exclusions(self._pool, max_failures_in_a_row, cool_down, max_cool_down)
        rules = TimeoutRules(timeout_factor, min_timeout, first_timeout, unit_timeout)
        self._timeouts = Timeouts(self._table, self._costs, rules)
        self._order = FixedOrder(self._table, seed) if visit_order == "fixed" else None
        self._story = Story()
        self._random = random.Random(seed)
        self._now = 0.0
        self._live: dict[str, Trial] = {}
        self._paused: dict[str, Trial] = {}
        self._final: dict[str, t.TrialStatus] = {}
        self._asked = 0
        self._deferred = 0
        self._no_more = False
        self._finished = False
        self._handlers: dict[type, Callable[[Any], list[t.Command]]] = {
            t.WorkerJoined: self._worker_joined,
            t.WorkerLost: self._worker_lost,
            t.UnitDone: self._unit_done,
            t.UnitFailed: self._unit_failed,
            t.StateStored: self._state_stored,
            t.TrialAdded: self._trial_added,
            t.TrialPromoted: self._trial_promoted,
            t.TrialStopRequested: self._stop_requested,
            t.TrialsDeferred: self._trials_deferred,
            t.NoMoreTrials: self._no_more_trials,
            t.MoreTrials: self._more_trials,
        }

    # --- the interface ----------------------------------------------------------------------------------------------

    def handle(self, event: t.Event, now: float) -> list[t.Command]:
        """Take in `event` and return what follows from it, except units to run: those come from `poll`.

        Raises:
            IllegalEventError: the event cannot happen now. The state has not changed.
        """
        self._advance(now)
        handler = self._handlers.get(type(event))
        if handler is None:
            raise self._story.illegal(event, "must be one of the hopper's events")
        commands = handler(event)
        self._story.add(self._now, event)
        commands += self._ask()
        if self._no_more and not self._live:
            for trial in list(self._paused.values()):
                commands += self._finish(trial, t.TrialStatus.STOPPED, "not_promoted")
        if self._no_more and not self._live and not self._finished:
            self._finished = True
            commands.append(t.SearchFinished())
        for command in commands:
            self._story.add(self._now, command)
        return commands

    def poll(self, now: float) -> list[t.Command]:
        """Return a `RunUnit` for each idle worker that has something to do."""
        self._advance(now)
        if not self._pool.idle or not self._ranking:
            return []
        # Nothing but the launches themselves may change anything here: they are all that a record has of it.
        choices = self._policy.choices(len(self._live), self._now, not self._no_more)
        return [self._start(choice) for choice in choices]

    def launch(self, worker: str, unit: t.Unit, now: float) -> t.RunUnit:
        """Run just this unit on just this worker, as if `poll` had chosen it: to go through a record again.

        It need not be what `poll` would choose now, so that the rules of its choice may change between versions.

        Raises:
            IllegalEventError: it cannot run there now. The state has not changed.
        """
        self._advance(now)
        present, trial = self._pool.present.get(worker), self._live.get(unit.trial)
        if present is None or present.running is not None:
            problem = "is not there" if present is None else f"runs {present.running and present.running.unit}"
            raise self._story.illegal(unit, f"needs an idle worker, but {worker!r} {problem}", unit.trial, worker)
        if trial is None or trial.worker is not None:
            problem = "is not live" if trial is None else f"runs on {trial.worker}"
            raise self._story.illegal(unit, f"needs a waiting trial, but its trial {problem}", unit.trial, worker)
        if unit.shard is not None and not self._table.bit.get(unit.shard, 0) & trial.wants:
            raise self._story.illegal(unit, "is on a shard that is not due", unit.trial, worker)
        wanted = trial.next_unit(unit.shard)
        if unit != wanted or not self._table.mask(unit.shard) & trial.wants:
            raise self._story.illegal(unit, f"must be the next of its trial, {wanted}", unit.trial, worker)
        return self._start(Assignment(present, trial, unit.shard))

    def _start(self, choice: Assignment) -> t.RunUnit:
        trial, worker = choice.trial, choice.worker
        end = self._now + self._policy.estimate(choice)
        unit, state = trial.launch(choice.shard, worker.name), trial.state
        self._pool.start(worker, Running(trial, unit, state, self._now, end, trial.wants_after(choice.shard)))
        self._ranking.take(trial)
        run = t.RunUnit(worker.name, unit, state, trial.ends_epoch, trial.sums_so_far)
        self._story.add(self._now, run)
        return run

    def _advance(self, now: float) -> None:
        self._now = max(self._now, now)
        if self._pool.excluded:
            self._pool.readmit(self._now)

    def overdue(self, now: float) -> list[t.Overdue]:
        """Return the running units that take far longer than they should."""
        return self._timeouts.overdue(self._pool, now)

    def available(self, now: float) -> int:
        """Workers that are there and not excluded."""
        return self._pool.count_usable(now)

    def stored_names(self, trial: str) -> tuple[str, ...]:
        """Names under which the store has what a live trial may need again, oldest first."""
        live = self._live.get(trial) or self._paused.get(trial)
        return () if live is None else tuple(name for _, name in live.stored)

    @property
    def num_train(self) -> int:
        """Train units of a pass over all shards."""
        return self._table.num_train

    @property
    def has_live_trials(self) -> bool:
        """Whether any trial is live; paused ones are not."""
        return bool(self._live)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Live and paused trials."""
        return (*self._live, *self._paused)

    def state_of(self, trial: str) -> t.StateRef | None:
        """Where the state of a live or paused trial is; None for any other."""
        found = self._live.get(trial) or self._paused.get(trial)
        return None if found is None else found.state

    def plan_of(self, trial: str) -> t.TrialPlan:
        """The plan of a paused trial.

        Raises:
            KeyError: no such trial is paused.
        """
        return self._paused[trial].plan

    @property
    def parallelism(self) -> int:
        """Live trials to keep."""
        return self._parallelism

    def set_parallelism(self, parallelism: int) -> None:
        """Keep another number of live trials from now on; those that live beyond it run to their ends.

        Raises:
            ConfigError: it is below 1.
        """
        _check("parallelism", parallelism, 1)
        self._parallelism = parallelism

    def is_running(self, worker: str, unit: t.Unit) -> bool:
        """Whether `worker` runs `unit` now, so that a report of it is accepted."""
        found = self._pool.present.get(worker)
        return found is not None and found.running is not None and found.running.unit == unit

    def homes(self, worker: str) -> list[t.Shard]:
        """Training shards that are pinned to `worker` now; it will visit them before others."""
        known = self._pool.present.get(worker)
        return list(self._table.members(known.homes)) if known is not None else []

    @property
    def finished(self) -> bool:
        """Whether `SearchFinished` has been returned, and no more trials were announced since."""
        return self._finished

    def snapshot(self) -> Snapshot:
        """Return how things stand, as plain data, at the time of the last event."""
        return take_snapshot(self._now, self._live, self._final, self._pool, self._costs, self._asked, self.ignored)

    # --- workers ----------------------------------------------------------------------------------------------------

    def _worker_joined(self, event: t.WorkerJoined) -> list[t.Command]:
        commands: list[t.Command] = []
        if event.worker in self._pool.present:
            commands = self._lose(event.worker, planned=False)
        self._pool.join(event.worker)
        return commands

    def _worker_lost(self, event: t.WorkerLost) -> list[t.Command]:
        if event.worker not in self._pool.present:
            self.ignored += 1
            return []
        return self._lose(event.worker, event.planned)

    def _lose(self, name: str, planned: bool) -> list[t.Command]:
        worker = self._pool.lose(name)
        for trial in self._live.values():
            if trial.holder == name:
                self._ranking.change(trial, _lose_state)
        for trial in self._paused.values():
            if trial.holder == name:
                _lose_state(trial)
        if worker.running is None:
            return []
        self._record(worker, worker.running, 0.0, "lost", {})
        victim = self._live.get(worker.running.unit.trial)
        if victim is None:
            return []
        commands: list[t.Command] = []
        if not planned:
            victim.blame("worker_lost", name)
            commands += self._exclusions.failed(name, victim, "worker_lost", self._now)
        self._requeue(victim)
        if victim.count("worker_lost") > self._max_deaths:
            commands += self._finish(victim, t.TrialStatus.FAILED, "worker_lost")
        return commands

    # --- units ------------------------------------------------------------------------------------------------------

    def _unit_done(self, event: t.UnitDone) -> list[t.Command]:
        worker, running = self._fence(event)
        if worker is None or running is None:
            return []
        unit, report = event.unit, event.report
        self._end(worker, running, report.busy_seconds, "done", report.detail)
        self._exclusions.succeeded(worker.name)
        worker.units += 1
        knew = self._table.mask(unit.shard) & worker.fetched
        worker.fetched |= self._table.mask(unit.shard)
        trial = self._live.get(unit.trial)
        if trial is None:
            return [t.DropState(worker.name, unit.trial)]
        # What fetching the shard took says nothing of the trial's other units.
        seconds = report.seconds if knew else report.busy_seconds or report.seconds
        rows = 1 if unit.phase == "call" else report.rows
        self._costs.observe(trial, unit.phase, rows, seconds)
        self._timeouts.observe(unit.phase, rows, report.seconds)
        self._ranking.renew()
        commands = self._move(trial, worker.name)
        trial.release(self._now)
        if unit.phase == "call":
            trial.history.append(dict(report.metrics))
            return commands + self._finish(trial, t.TrialStatus.COMPLETED, "completed")
        made_by = trial.last_trained if unit.phase == "evaluate" else unit
        metrics = trial.commit(unit, report)
        if len(trial.history) < trial.plan.epochs:
            self._ranking.add(trial)
        if metrics is None:
            return commands
        self._deferred = 0
        commands.append(t.EpochFinished(unit.trial, unit.epoch, dict(metrics), made_by, trial.generation))
        if len(trial.history) == trial.plan.epochs:
            commands += (
                self._pause(trial) if trial.plan.pauses else self._finish(trial, t.TrialStatus.COMPLETED, "completed")
            )
        return commands

    def _unit_failed(self, event: t.UnitFailed) -> list[t.Command]:
        worker, running = self._fence(event)
        if worker is None or running is None:
            return []
        self._end(worker, running, 0.0, "failed", {"reason": event.reason, "message": event.message})
        trial = self._live.get(event.unit.trial)
        if trial is None:
            return [t.DropState(worker.name, event.unit.trial)]
        commands: list[t.Command] = []
        fails = event.trial_fault
        if event.reason == "state_missing" and not fails and (running.state.holder or running.state.stored):
            # With each time there is less to try, down to a new beginning: it cannot go on for ever.
            trial.holder = None
            trial.lost_states += 1
            if running.state.stored:
                # The store's copy was tried too, and is damaged or gone: the one before it is next.
                trial.forget_stored(running.state.stored)
        elif not fails:
            commands += self._blame(trial, event)
            fails = self._has_failed(trial, event)
        self._requeue(trial)
        if fails:
            commands += self._finish(trial, t.TrialStatus.FAILED, event.reason)
        return commands

    def _blame(self, trial: Trial, event: t.UnitFailed) -> list[t.Command]:
        unit, reason, worker = event.unit, event.reason, event.worker
        trial.avoid(unit, worker)
        trial.blame(reason if reason in _TRIED_TWICE else unit_key(unit), worker)
        return [*self._exclusions.failed(worker, trial, reason, self._now)]

    def _has_failed(self, trial: Trial, event: t.UnitFailed) -> bool:
        if event.reason in _TRIED_TWICE:
            return trial.count(event.reason) > 1
        return trial.count(unit_key(event.unit)) >= self._max_attempts

    def _fence(self, event: t.UnitDone | t.UnitFailed) -> tuple[Worker | None, Running | None]:
        """Return the worker and what it runs if `event` is about just that; else count it."""
        name, trial = event.worker, event.unit.trial
        if name not in self._pool.seen:
            raise self._story.illegal(event, "comes from a worker that never joined", name, trial)
        if trial not in self._live and trial not in self._paused and trial not in self._final:
            raise self._story.illegal(event, "is about a trial that was never added", name, trial)
        worker = self._pool.present.get(name)
        if worker is None or not self.is_running(name, event.unit):
            self.ignored += 1
            return None, None
        return worker, worker.running

    def _end(self, worker: Worker, running: Running, busy: float, outcome: t.Outcome, detail: dict[str, Any]) -> None:
        self._record(worker, running, busy, outcome, detail)
        self._pool.end(worker)

    def _record(
        self, worker: Worker, running: Running, busy: float, outcome: t.Outcome, detail: dict[str, Any]
    ) -> None:
        self.log.add(worker.name, running.unit, running.started, self._now, busy, outcome, detail)

    def _move(self, trial: Trial, worker: str) -> list[t.Command]:
        """The state is on `worker` now; whoever had it before may forget it."""
        before, trial.holder = trial.holder, worker
        return [t.DropState(before, trial.plan.trial)] if before not in (None, worker) else []

    def _requeue(self, trial: Trial) -> None:
        """The trial's unit came to nothing: it waits again, from the state that is left."""
        trial.release(self._now)
        if trial.holder is None:
            trial.roll_back()
        self._ranking.add(trial)

    # --- trials -----------------------------------------------------------------------------------------------------

    def _trial_added(self, event: t.TrialAdded) -> list[t.Command]:
        plan = event.plan
        if plan.trial in self._live or plan.trial in self._paused or plan.trial in self._final:
            raise self._story.illegal(event, "adds a trial that there was before", plan.trial)
        self._check_plan(event, plan)
        self._asked -= 1
        trial = Trial(plan, self._table, self._random.random(), self._now, self._order)
        self._live[plan.trial] = trial
        self._ranking.add(trial)
        return []

    def _check_plan(self, event: t.TrialAdded | t.TrialPromoted, plan: t.TrialPlan) -> None:
        if self._asked < 1:
            raise self._story.illegal(event, "comes with a trial that was not asked for", plan.trial)
        if plan.kind == "hop" and plan.epochs < 1:
            raise self._story.illegal(event, "must plan at least one epoch", plan.trial)
        if plan.legs and (len(plan.legs) != plan.epochs or not fit_passes(plan.legs, self.num_train)):
            problem = "must plan train units of one pass, one at least, for each epoch"
            raise self._story.illegal(event, problem, plan.trial)
        if plan.cost <= 0:
            raise self._story.illegal(event, "must predict a cost above 0", plan.trial)

    def _trial_promoted(self, event: t.TrialPromoted) -> list[t.Command]:
        plan = event.plan
        trial = self._paused.get(plan.trial)
        if trial is None:
            raise self._story.illegal(event, "promotes a trial that is not paused", plan.trial)
        self._check_plan(event, plan)
        before = trial.plan
        if plan.epochs <= before.epochs or plan.legs[: before.epochs] != before.legs or plan.kind != before.kind:
            raise self._story.illegal(event, f"must go beyond the plan so far, {before}", plan.trial)
        self._asked -= 1
        del self._paused[plan.trial]
        self._live[plan.trial] = trial
        trial.extend(plan)
        trial.release(self._now)
        self._ranking.add(trial)
        return []

    def _pause(self, trial: Trial) -> list[t.Command]:
        name = trial.plan.trial
        del self._live[name]
        self._ranking.forget(trial)
        trial.end(t.TrialStatus.PAUSED)
        self._paused[name] = trial
        return [t.TrialPaused(name), *self._leave(trial)]

    def _leave(self, trial: Trial) -> list[t.Command]:
        """A paused trial takes no memory of its worker once the store has what it is."""
        if trial.holder is None or not trial.state.stored:
            return []
        holder, trial.holder = trial.holder, None
        return [t.DropState(holder, trial.plan.trial)]

    def _stop_requested(self, event: t.TrialStopRequested) -> list[t.Command]:
        trial = self._live.get(event.trial) or self._paused.get(event.trial)
        if trial is None:
            self._known(event, event.trial)
            self.ignored += 1
            return []
        if not event.status.is_final:
            raise self._story.illegal(event, "must end the trial with a final status", event.trial)
        return self._finish(trial, event.status, event.reason)

    def _state_stored(self, event: t.StateStored) -> list[t.Command]:
        self._known(event, event.trial)
        trial = self._live.get(event.trial) or self._paused.get(event.trial)
        if trial is None or not trial.mark_stored(event.unit, event.generation, event.name):
            self.ignored += 1
            return []
        return self._leave(trial) if event.trial in self._paused else []

    def _trials_deferred(self, event: t.TrialsDeferred) -> list[t.Command]:
        if not 1 <= event.count <= self._asked:
            raise self._story.illegal(event, f"gives back more asks than the {self._asked} outstanding")
        if not self._live and event.count == self._asked:
            raise self._story.illegal(
                event, "defers all trials while none is live, so that nothing could ever end the search"
            )
        self._asked -= event.count
        self._deferred += event.count
        return []

    def _no_more_trials(self, event: t.NoMoreTrials) -> list[t.Command]:
        self._no_more = True
        self._asked = self._deferred = 0
        return []

    def _more_trials(self, event: t.MoreTrials) -> list[t.Command]:
        self._no_more = self._finished = False
        return []

    def _known(self, event: t.Event, trial: str) -> None:
        if trial not in self._live and trial not in self._paused and trial not in self._final:
            raise self._story.illegal(event, "is about a trial that was never added", trial)

    def _finish(self, trial: Trial, status: t.TrialStatus, reason: str) -> list[t.Command]:
        name = trial.plan.trial
        if name in self._paused:
            del self._paused[name]
        else:
            del self._live[name]
            self._ranking.forget(trial)
        self._final[name] = status
        trial.end(status)
        self._deferred = 0
        metrics = dict(trial.history[-1]) if trial.history else {}
        commands: list[t.Command] = [t.DropState(trial.holder, name)] if trial.holder is not None else []
        return [*commands, t.TrialFinished(name, status, reason, metrics)]

    def _ask(self) -> list[t.Command]:
        room = self._parallelism - len(self._live) - self._asked - self._deferred
        if self._no_more or room < 1 or not self._pool.seen:
            return []
        self._asked += room
        return [t.AskTrials(room)]


def _lose_state(trial: Trial) -> None:
    trial.holder = None
    # A trial that runs elsewhere may have its state there already: its outcome will tell.
    if trial.worker is None:
        trial.roll_back()


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not value > 0:
        raise ConfigError(f"`{name}` must be above 0. Received: {name}={value}. Leave it out to use the default.")


def _check(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"`{name}` must be at least {least}. Received: {name}={value}. Pass {least} or more.")
