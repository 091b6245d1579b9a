"""One search from prepared data to result: puts the parts together, runs the loop, and cleans up."""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import cerebro_nas
from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import schedule_summary
from cerebro_nas.results import ModelSelectionResult
from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.search._books import Books
from cerebro_nas.search._budgets import Budgets
from cerebro_nas.search._driver import SearchDriver
from cerebro_nas.search._driver import SearchParts
from cerebro_nas.search._signals import StopSignals
from cerebro_nas.search._watch import STALL_SECONDS
from cerebro_nas.search._watch import Watch
from cerebro_nas.storage import Janitor
from cerebro_nas.storage import StateFiles
from cerebro_nas.tracking import ScheduleReport
from cerebro_nas.tracking import TensorBoardLogger
from cerebro_nas.tracking import count_outcomes
from cerebro_nas.tracking import format_duration
from cerebro_nas.tracking import make_reporter
from cerebro_nas.tracking import plot_timeline
from cerebro_nas.tracking import save_leaderboard
from cerebro_nas.tracking import save_schedule
from cerebro_nas.tuners import MEASURES
from cerebro_nas.tuners import objectives_of
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import user_modules

if TYPE_CHECKING:
    import keras_tuner

    from cerebro_nas.backend import Backend
    from cerebro_nas.data import PreparedData
    from cerebro_nas.journal import Journal
    from cerebro_nas.search._stopping import StoppingRule
    from cerebro_nas.search_space import SearchSpace
    from cerebro_nas.stoppers import Stopper
    from cerebro_nas.tracking import TrialRecord
    from cerebro_nas.tuners import Tuner

_JANITOR_SECONDS = 10.0
_UNDER_WAY = ("RUNNING", "PAUSED")
_ACCURACY = frozenset({"acc", "accuracy"})
_BROKEN_OFF = "it was interrupted, and stopped at once; run it again (with overwrite=False) to go on"


@dataclass(frozen=True)
class SearchPlan:
    """What a search needs to begin.

    Attributes:
        project: name of the project; `tuner_name` that of the tuner, for displays.
        purpose: what displays show instead of the tuner and of scores, where nothing is compared.
        directory: local directory of the search's files.
        identity: unique to this search, so that results of an earlier one of the same name never read its files.
        description: what makes it this search (see `check_same`), written down for whoever goes on with it.
        journal: takes its inputs, and holds those of earlier sessions.
        check_claim: raises once another driver has taken over.
        prepared: the data.
        space: configured for the data.
        backend: checked, not started.
        batch_size: rows per step; `epochs` per trial at most.
        parallelism: live trials, None for twice the workers.
        seed: seed of the search.
        visit_order: order in which candidates visit shards, see `Hopper`.
        unit_timeout: seconds that a unit may take, None: by what others took.
        rules: early stopping of a candidate, by its own metrics.
        logdirs: directories for TensorBoard.
        verbose: as `make_reporter` takes it.
        stoppers: early stopping of a candidate, by how others do.
        budgets: what the search may use up.
        max_latency_ms: a candidate that takes longer for a row fails.
        keep: takes what an interrupted search has, before the interrupt goes on to the caller.
    """

    project: str
    tuner_name: str
    directory: str
    identity: str
    description: dict[str, Any]
    journal: Journal
    check_claim: Callable[[], None]
    prepared: PreparedData
    space: SearchSpace
    backend: Backend
    batch_size: int
    epochs: int
    parallelism: int | None
    seed: int
    visit_order: str
    unit_timeout: float | None
    rules: Sequence[StoppingRule]
    logdirs: Sequence[str]
    verbose: Any
    stoppers: Sequence[Stopper] = ()
    budgets: Budgets = field(default_factory=Budgets)
    max_latency_ms: float | None = None
    purpose: str = ""
    keep: Callable[[ModelSelectionResult], None] = lambda result: None

    @property
    def states_url(self) -> str:
        """Directory of specs and states."""
        return f"{self.directory}/states-{self.identity}"


def search_spec(plan: SearchPlan) -> SearchSpec:
    """What the workers are told."""
    prepared, space = plan.prepared, plan.space
    return SearchSpec(
        data_url=prepared.url,
        state_url=plan.states_url,
        shards=prepared.shards,
        # What encoded the columns is no business of workers, and may be long.
        features=tuple(tuple(replace(column, encoder=None) for column in group) for group in space.features),
        labels=space.labels,
        targets=space.targets,
        seed=plan.seed,
        batch_size=plan.batch_size,
        weights=prepared.weights,
        imports=user_modules(),
    )


def run_search(plan: SearchPlan, tuner: Tuner) -> ModelSelectionResult:
    """Run the loop on a backend that has been started, and stop it whatever happens.

    Raises:
        SearchAborted: the search cannot go on.
        BackendError: the backend failed.
        KeyboardInterrupt: the user interrupted it (SystemExit: it was told to terminate); it can be gone on with.
    """
    check_objective(tuner.objective, plan.space)
    return _Session(plan, tuner).run()


class _Session:
    """One driver's part of a search."""

    def __init__(self, plan: SearchPlan, tuner: Tuner) -> None:
        self._plan = plan
        self._books = Books(
            project=plan.project,
            tuner=plan.tuner_name,
            purpose=plan.purpose,
            objectives=[(part.name, part.direction) for part in objectives_of(tuner.objective)],
            max_trials=tuner.max_trials,
            epochs=plan.epochs,
            num_workers=plan.backend.num_workers,
        )
        self._hopper = Hopper(
            [ShardInfo(Shard(s.split, s.index), s.rows, s.nbytes) for s in plan.prepared.shards],  # type: ignore[arg-type]
            parallelism=plan.parallelism,
            num_workers=plan.backend.num_workers,
            seed=plan.seed,
            visit_order=plan.visit_order,  # type: ignore[arg-type]
            unit_timeout=plan.unit_timeout,
        )
        self._boards = [TensorBoardLogger(logdir) for logdir in plan.logdirs]
        self._reporter = make_reporter(plan.verbose)
        self._states = StateFiles(plan.states_url)
        self._tuner = tuner
        self._summary = ""

    def run(self) -> ModelSelectionResult:
        plan, books, hopper, reporter = self._plan, self._books, self._hopper, self._reporter
        signals, janitor = StopSignals(), Janitor(self._states)
        now = 0.0
        try:
            with signals:
                began = 0.0
                try:
                    driver = SearchDriver(self._parts(signals, janitor))
                    began = driver.started
                finally:
                    # After the journal was gone through: what earlier sessions finished is not shown as new.
                    reporter.open(books.view(hopper.snapshot(), began))
                try:
                    because = driver.run()
                    now = driver.now()
                    driver.wind_up(plan.backend.stop(signals.grace if signals.wanted else None))
                    result = self._result(because, now, books.records)
                    self._summarise(driver, result, now)
                    _save(plan, result)
                    if not hopper.finished:
                        self._leave(because, now)
                except (KeyboardInterrupt, SystemExit):
                    self._leave(_BROKEN_OFF, driver.now())
                    raise
                finally:
                    now = now or driver.now()
                    plan.backend.stop(0.0 if signals.wanted else None)
            if signals.ends_program or (signals.wanted and not hopper.finished):
                signals.raise_again()
            return result
        finally:
            plan.backend.stop()
            janitor.close(_JANITOR_SECONDS)
            for board in self._boards:
                board.close()
            hint = " It was stopped at once; run it again (with overwrite=False) to go on." if signals.wanted else ""
            reporter.close(books.view(hopper.snapshot(), now), self._summary or f"Search did not end.{hint}")

    def _parts(self, signals: StopSignals, janitor: Janitor) -> SearchParts:
        plan = self._plan
        return SearchParts(
            space=plan.space,
            tuner=self._tuner,
            hopper=self._hopper,
            backend=plan.backend,
            journal=plan.journal,
            states=self._states,
            janitor=janitor,
            books=self._books,
            reporter=self._reporter,
            rules=plan.rules,
            stoppers=plan.stoppers,
            budgets=plan.budgets,
            max_latency_ms=plan.max_latency_ms,
            boards=self._boards,
            seed=plan.seed,
            session={
                "identity": plan.identity,
                "search": plan.description,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "version": cerebro_nas.__version__,
            },
            signals=signals,
            heartbeat=plan.check_claim,
            # A limit of the user's own holds whatever the unit does.
            watch=Watch(STALL_SECONDS if plan.unit_timeout is None else 0.0),
        )

    def _leave(self, because: str, ended: float) -> None:
        """Give out what there is, so that who interrupted the search can look at it and use its best model."""
        if self._books.best is not None:
            self._plan.keep(self._result(because, ended, [_as_it_stands(record) for record in self._books.records]))

    def _summarise(self, driver: SearchDriver, result: ModelSelectionResult, ended: float) -> None:
        notes: tuple[str, ...] = ()
        if driver.resumed:
            went_on = any(entry.started >= driver.started for entry in result.schedule_log)
            began = f"It went on from {format_duration(driver.started)} of an earlier session."
            notes = (
                began if went_on or not self._hopper.finished else "It had ended before; this is what it came to.",
            )
        elif len(result.schedule_log):
            notes = (f"The first unit began {format_duration(self._first(ended) - driver.started)} into the search.",)
        outcomes = count_outcomes(self._books.records)
        self._summary = str(ScheduleReport(result.schedule, outcomes, result.stopped_because, notes))

    def _first(self, ended: float) -> float:
        # Before the first unit there are workers that start, which no schedule could help.
        return min((entry.started for entry in self._hopper.log), default=ended)

    def _result(self, because: str, ended: float, records: Sequence[TrialRecord]) -> ModelSelectionResult:
        plan, log = self._plan, self._hopper.log
        workers = [f"w{i}" for i in range(plan.backend.num_workers)]
        return ModelSelectionResult(
            records=records,
            objective=self._books.objective,
            direction=self._books.direction,
            others=self._books.objectives[1:],
            source=model_source(plan),
            schedule=schedule_summary(log, workers, self._first(ended), ended),
            schedule_log=log,
            stopped_because=because,
            directory=plan.directory,
        )


def _as_it_stands(record: TrialRecord) -> TrialRecord:
    """The record of a trial that was under way as that of one that has been stopped, so that its model can be used."""
    return replace(record, status="STOPPED", reason="interrupted") if record.status in _UNDER_WAY else record


def model_source(plan: SearchPlan) -> ModelSource:
    """Where the models of the search will be and how they read rows."""
    outputs = []
    space = plan.space
    for spec, target, classifies in zip(space.labels, space.targets, space.classifies, strict=True):
        width = int(spec.shape[0]) if spec.shape else 1
        if target["kind"] == "classes":
            kind = "binary" if target["as"] == "binary" else "onehot"
            outputs.append(OutputSpec(spec.name, kind, tuple(target["classes"]), len(target["classes"])))
        elif target.get("as") == "multilabel":
            # Whatever the rows are: each could have one label by chance.
            outputs.append(OutputSpec(spec.name, "multilabel", tuple(range(width)), width))
        elif classifies and width > 1 and plan.prepared.statistics[spec.name].classes:
            outputs.append(OutputSpec(spec.name, "onehot", tuple(range(width)), width))
        else:
            outputs.append(OutputSpec(spec.name, "values", (), width))
    return ModelSource(
        states_url=plan.states_url,
        inputs=plan.space.features,
        outputs=tuple(outputs),
        output_columns=tuple(f"{output.column}__output" for output in outputs),
        train_shards=sum(s.split == "train" for s in plan.prepared.shards),
        fingerprint=plan.prepared.fingerprint,
        imports=user_modules(),
    )


def check_objective(objective: keras_tuner.Objective, space: SearchSpace) -> None:
    """Refuse an objective (or one of several) that no candidate would report.

    Raises:
        ConfigError: the message lists those that they report.
    """
    known = [f"{prefix}{metric}" for metric in space.metric_names for prefix in ("val_", "")]
    for name in (part.name for part in objectives_of(objective)):
        if name not in (*known, *MEASURES):
            raise ConfigError(
                f"`objective` must be a metric that the candidates report: {', '.join(known)}; or a measure of them: "
                f"{', '.join(MEASURES)}. "
                f"Received: objective={name!r}. Choose one of them, or give the head that metric."
            )


def check_evaluation_metric(name: str, space: SearchSpace) -> None:
    """Refuse a metric that no candidate would report, also where an objective takes its place.

    Raises:
        ConfigError: the message lists those that they report.
    """
    known = space.metric_names
    metric = name.removeprefix("val_")
    # Two words for one thing: Keras logs it under the one that it was given.
    if metric not in known and not (metric in _ACCURACY and _ACCURACY.intersection(known)):
        close = difflib.get_close_matches(metric, known, 1)
        meant = f"Did you mean {close[0]!r}?" if close else "Choose one of them, or give the head that metric."
        raise ConfigError(
            f"`evaluation_metric` must be a metric that the candidates report: {', '.join(known)}. "
            f"Received: evaluation_metric={name!r}. {meant}"
        )


def _save(plan: SearchPlan, result: ModelSelectionResult) -> None:
    save_leaderboard(result.leaderboard(), f"{plan.directory}/leaderboard.csv")
    save_schedule(result.schedule_log, f"{plan.directory}/schedule.jsonl")
    plot_timeline(result.schedule_log, f"{plan.directory}/timeline.svg")
