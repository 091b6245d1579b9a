"""The books of a running search: one record per trial, and the view of the whole that displays show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.stoppers import Curve
from cerebro_nas.tracking import BestTrial
from cerebro_nas.tracking import Direction
from cerebro_nas.tracking import FinishedTrial
from cerebro_nas.tracking import RunningTrial
from cerebro_nas.tracking import SearchView
from cerebro_nas.tracking import TrialCost
from cerebro_nas.tracking import TrialCounts
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.tracking import WorkerView
from cerebro_nas.tracking import short_hyperparameters

if TYPE_CHECKING:
    from cerebro_nas.hopper import Snapshot
    from cerebro_nas.hopper import Unit
    from cerebro_nas.hopper import UnitReport

_FINAL = ("COMPLETED", "STOPPED", "FAILED", "REJECTED")


class Books:
    """Keeps a `TrialRecord` for every trial, in the order they were made.

    Args:
        project: name of the project.
        tuner: name of the tuner.
        objectives: metrics that are optimised, each with its direction; the first decides which epoch of a trial is its
            best, and which trial comes first.
        max_trials: trials at most, None for no limit.
        epochs: epochs of a trial at most.
        num_workers: workers that are expected.
        purpose: what displays show instead of the tuner and of scores, where nothing is compared.

    Attributes:
        visits_per_epoch: train units of a pass through all training shards.
    """

    def __init__(
        self,
        *,
        project: str,
        tuner: str,
        objectives: Sequence[tuple[str, Direction]],
        max_trials: int | None,
        epochs: int,
        num_workers: int,
        purpose: str = "",
    ) -> None:
        self.purpose = purpose
        self.project = project
        self.tuner = tuner
        self.objectives = tuple(objectives)
        self.objective, self.direction = self.objectives[0]
        self.max_trials = max_trials
        self.epochs = epochs
        self.visits_per_epoch = 1
        self._num_workers = num_workers
        self._records: dict[str, TrialRecord] = {}
        self._ended: list[FinishedTrial] = []
        self._busy: dict[str, float] = {}
        self._units: dict[str, int] = {}
        # Of each trial, how many train units its epochs came after.
        self._visits: dict[str, tuple[int, ...]] = {}
        self._inherited: dict[str, int] = {}
        self._curves: dict[str, tuple[Any, Curve]] = {}
        self._best: BestTrial | None = None

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """All records, oldest first."""
        return tuple(self._records.values())

    def __getitem__(self, trial: str) -> TrialRecord:
        return self._records[trial]

    @property
    def best(self) -> BestTrial | None:
        """The best trial so far; none that failed, however good it was before."""
        return self._best

    def open(
        self,
        trial: str,
        hyperparameters: Mapping[str, Any],
        cost: TrialCost | None = None,
        parent: str = "",
        note: Mapping[str, Any] | None = None,
        inherited: int = 0,
    ) -> None:
        """Begin the record of a trial.

        Args:
            trial: its identifier.
            hyperparameters: its configuration.
            cost: what is known of it already.
            parent: trial that its weights are from, or none.
            note: the tuner's.
            inherited: epochs that these weights were trained for.
        """
        self._inherited[trial] = inherited
        self._records[trial] = TrialRecord(
            trial=trial,
            status="WAITING",
            hyperparameters=dict(hyperparameters),
            cost=cost or TrialCost(),
            parent=parent,
            note=dict(note or {}),
        )

    def unit(self, worker: str, unit: Unit, report: UnitReport) -> None:
        """Count a unit that was done."""
        trial = unit.trial
        self._busy[worker] = self._busy.get(worker, 0.0) + report.busy_seconds
        self._units[worker] = self._units.get(worker, 0) + 1
        record = self._records[trial]
        cost = replace(record.cost, seconds=record.cost.seconds + report.seconds, units=record.cost.units + 1)
        if unit.phase == "evaluate" and report.rows:
            latency = 1000.0 * report.detail.get("row_s", report.busy_seconds / report.rows)
            # The least one: whatever else the machine did can only have made it longer.
            cost = replace(cost, latency_ms=min(latency, math.inf if cost.latency_ms is None else cost.latency_ms))
        self._records[trial] = replace(record, status="RUNNING", cost=cost)

    def with_measures(self, trial: str, metrics: Mapping[str, float]) -> dict[str, float]:
        """Metrics of an epoch, with those measures of the candidate that are objectives."""
        wanted = {name for name, _ in self.objectives}
        measures = self._records[trial].cost.measures
        return {**metrics, **{name: value for name, value in measures.items() if name in wanted}}

    def pause(self, trial: str) -> None:
        """The trial waits to be promoted."""
        self._records[trial] = replace(self._records[trial], status="PAUSED")

    def curves(self) -> dict[str, Curve]:
        """The objective of every trial that was built, over passes through all training shards.

        Where a trial is judged within a pass, or after several, the last judgement in a pass counts, and a pass without
        any has NaN.
        """
        return {
            name: self._curve(record)
            for name, record in self._records.items()
            if record.status not in ("FAILED", "REJECTED")
        }

    def _curve(self, record: TrialRecord) -> Curve:
        # Asked for after every epoch of every trial, of which each changes one.
        history, curve = self._curves.get(record.trial, (None, Curve(())))
        ended = record.status in ("COMPLETED", "STOPPED")
        if history is not record.history or (curve.ended, curve.planned) != (ended, self.epochs):
            inherited = self._inherited[record.trial]
            curve = Curve(self._by_pass(record), ended, self.direction, self.epochs, inherited)
            self._curves[record.trial] = record.history, curve
        return curve

    def _by_pass(self, record: TrialRecord) -> tuple[float, ...]:
        visits = self._visits.get(record.trial, ())
        values = [math.nan] * ((visits[-1] if visits else 0) // self.visits_per_epoch)
        for visit, metrics in zip(visits, record.history, strict=True):
            place = (visit - 1) // self.visits_per_epoch
            if place < len(values):
                values[place] = metrics.get(self.objective, math.nan)
        return tuple(values)

    def passes(self, trial: str) -> tuple[dict[str, float], ...]:
        """The metrics of a trial after each pass through all training shards; None of judgements within a pass."""
        judged = zip(self._visits.get(trial, ()), self._records[trial].history, strict=True)
        return tuple(metrics for visits, metrics in judged if visits % self.visits_per_epoch == 0)

    def is_in_front(self, trial: str) -> bool:
        """Whether no other trial dominates what this one has come to, of several objectives."""
        mine = self._outcome(self._records[trial], None)
        for name, record in self._records.items():
            best = record.best_epoch(self.objective, self.direction)
            if name == trial or best is None or record.status in ("FAILED", "REJECTED"):
                continue
            other = self._outcome(record, best)
            if other != mine and all(theirs >= own for theirs, own in zip(other, mine, strict=True)):
                return False
        return True

    def _outcome(self, record: TrialRecord, epoch: int | None) -> list[float]:
        """A number for each objective, the larger the better."""
        metrics = record.metrics_at(epoch, [name for name, _ in self.objectives])
        signed = [(1 if way == "max" else -1) * metrics.get(name, math.nan) for name, way in self.objectives]
        return [-math.inf if math.isnan(value) else value for value in signed]

    def trained(self, trial: str) -> int:
        """Epochs that the weights of a trial were trained for, in other trials too."""
        return self._inherited[trial] + self._records[trial].cost.epochs

    @property
    def epochs_done(self) -> int:
        """Passes of all trials together through all training shards, also where trials are judged within one."""
        return sum(visits[-1] for visits in self._visits.values() if visits) // self.visits_per_epoch

    def epoch(self, trial: str, epoch: int, metrics: dict[str, float], visits: int | None = None) -> bool:
        """Enter the metrics of an epoch; say whether it is the trial's best so far.

        Args:
            trial: its identifier.
            epoch: from 0.
            metrics: those of its evaluation.
            visits: train units that the trial has had; None: `visits_per_epoch` in each epoch.
        """
        record = self._records[trial]
        # After a fault a trial may go back to an earlier epoch; what followed is then entered again.
        history = (*record.history[:epoch], dict(metrics))
        visits = (epoch + 1) * self.visits_per_epoch if visits is None else visits
        # Where a trial is judged within a pass through the shards, there are more entries than epochs.
        cost = replace(record.cost, epochs=math.ceil(visits / self.visits_per_epoch))
        record = replace(record, metrics=dict(metrics), history=history, cost=cost)
        self._records[trial] = record
        self._visits[trial] = (*self._visits.get(trial, ())[:epoch], visits)
        if record.best_epoch(self.objective, self.direction) != epoch:
            return False
        self._note_best(record, metrics[self.objective])
        return True

    def close(self, trial: str, status: str, reason: str) -> None:
        """End the record of a trial."""
        record = replace(self._records[trial], status=status, reason=reason)
        self._records[trial] = record
        value = record.best_value(self.objective, self.direction)
        if status == "FAILED" and self._best is not None and self._best.trial == trial:
            self._find_best()
        self._ended.append(
            FinishedTrial(trial, status, reason, value, epochs=record.cost.epochs, seconds=record.cost.seconds)
        )

    def view(self, snapshot: Snapshot, elapsed: float) -> SearchView:
        """Describe the search for a display."""
        live_units = sum(t.units_total - t.units_done for t in snapshot.trials)
        done = sum(self._units.values())
        shown = SearchView(
            project=self.project,
            tuner=self.tuner,
            purpose=self.purpose,
            objective=self.objective,
            direction=self.direction,
            max_trials=self.max_trials,
            counts=self._counts(snapshot),
            best=self._best,
            workers=self._workers(snapshot, elapsed),
            running=tuple(RunningTrial(t.trial, t.epoch, t.epochs, self._latest(t.trial)) for t in snapshot.trials),
            finished=tuple(self._ended),
            units_done=done,
            units_known=done + live_units,
            elapsed=elapsed,
            eta=self._eta(snapshot),
            others=self.objectives[1:],
        )
        return shown.without_scores() if self.purpose else shown

    def _latest(self, trial: str) -> float | None:
        return self._records[trial].metrics.get(self.objective)

    def _counts(self, snapshot: Snapshot) -> TrialCounts:
        ended = TrialCounts.of(record.status for record in self._records.values() if record.status in _FINAL)
        running = sum(trial.units_done > 0 or trial.worker is not None for trial in snapshot.trials)
        # A promoted trial is live again before a unit of it is done, which is when its record says so.
        live = {trial.trial for trial in snapshot.trials}
        paused = sum(record.status == "PAUSED" and name not in live for name, record in self._records.items())
        return replace(ended, running=running, waiting=len(snapshot.trials) - running, paused=paused)

    def _workers(self, snapshot: Snapshot, elapsed: float) -> tuple[WorkerView, ...]:
        running = {w.worker: w.unit for w in snapshot.workers}
        # Those that are still starting are shown too.
        names = [f"w{i}" for i in range(self._num_workers)]
        return tuple(
            self._worker(name, running.get(name), elapsed) for name in [*names, *sorted({*running} - {*names})]
        )

    def _worker(self, worker: str, unit: Any, elapsed: float) -> WorkerView:
        share = min(1.0, self._busy.get(worker, 0.0) / elapsed) if elapsed > 0 else 0.0
        view = WorkerView(worker, units_done=self._units.get(worker, 0), busy_share=share)
        if unit is None:
            return view
        shard = f"{unit.shard.split} {unit.shard.index}" if unit.shard is not None else ""
        return replace(view, trial=unit.trial, phase=unit.phase, epoch=unit.epoch, shard=shard)

    def _eta(self, snapshot: Snapshot) -> float | None:
        """Live trials by their measured costs, those not proposed yet by the mean of the finished ones."""
        if snapshot.remaining_seconds is None:
            return None
        ended = [record for record in self._records.values() if record.status in ("COMPLETED", "STOPPED")]
        if self.max_trials is None or not snapshot.workers:
            return None
        to_come = max(0, self.max_trials - len(ended) - len(snapshot.trials) - self._failed())
        if not to_come:
            return snapshot.remaining_seconds
        if not ended:
            return None
        mean = sum(record.cost.seconds for record in ended) / len(ended)
        return snapshot.remaining_seconds + to_come * mean / len(snapshot.workers)

    def _failed(self) -> int:
        return sum(record.status == "FAILED" for record in self._records.values())

    def _find_best(self) -> None:
        """The best of the trials that have not failed."""
        self._best = None
        for record in self._records.values():
            value = record.best_value(self.objective, self.direction) if record.history else None
            if value is not None and record.status != "FAILED":
                self._note_best(record, value)

    def _note_best(self, record: TrialRecord, value: float) -> None:
        if self._best is not None and not (
            value > self._best.value if self.direction == "max" else value < self._best.value
        ):
            return
        self._best = BestTrial(record.trial, value, short_hyperparameters(record.hyperparameters))
