"""One search from prepared data to result: puts the parts together, runs the loop, and cleans up."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import schedule_summary
from cerebro_nas.results import ModelSelectionResult
from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.search._books import Books
from cerebro_nas.search._driver import SearchDriver
from cerebro_nas.search._driver import SearchParts
from cerebro_nas.storage import StateFiles
from cerebro_nas.tracking import ScheduleReport
from cerebro_nas.tracking import TensorBoardLogger
from cerebro_nas.tracking import count_outcomes
from cerebro_nas.tracking import format_duration
from cerebro_nas.tracking import make_reporter
from cerebro_nas.tracking import plot_timeline
from cerebro_nas.tracking import save_leaderboard
from cerebro_nas.tracking import save_schedule
from cerebro_nas.worker import SearchSpec

if TYPE_CHECKING:
    from cerebro_nas.backend import Backend
    from cerebro_nas.data import PreparedData
    from cerebro_nas.search._stopping import StoppingRule
    from cerebro_nas.search_space import SearchSpace
    from cerebro_nas.tuners import Tuner

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchPlan:
    """What a search needs to begin.

    Attributes:
        project: name of the project; `tuner_name` that of the tuner, for displays.
        directory: local directory of the search's files.
        identity: unique to this search, so that results of an earlier one of the same name never read its files.
        prepared: the data.
        space: configured for the data.
        backend: checked, not started.
        batch_size: rows per step; `epochs` per trial at most.
        parallelism: live trials, None for twice the workers.
        seed: seed of the search.
        rules: early stopping.
        logdirs: directories for TensorBoard.
        verbose: as `make_reporter` takes it.
    """

    project: str
    tuner_name: str
    directory: str
    identity: str
    prepared: PreparedData
    space: SearchSpace
    backend: Backend
    batch_size: int
    epochs: int
    parallelism: int | None
    seed: int
    rules: Sequence[StoppingRule]
    logdirs: Sequence[str]
    verbose: Any

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
        features=space.features,
        labels=space.labels,
        targets=space.targets,
        seed=plan.seed,
        batch_size=plan.batch_size,
    )


def run_search(plan: SearchPlan, tuner: Tuner) -> ModelSelectionResult:
    """Run the loop on a backend that has been started, and stop it whatever happens.

    Raises:
        SearchAborted: the search cannot go on.
        BackendError: the backend failed.
    """
    objective = tuner.objective
    check_objective(objective.name, plan.space)
    books = Books(
        project=plan.project,
        tuner=plan.tuner_name,
        objective=objective.name,
        direction=objective.direction,
        max_trials=tuner.max_trials,
        epochs=plan.epochs,
        num_workers=plan.backend.num_workers,
    )
    hopper = Hopper(
        [ShardInfo(Shard(s.split, s.index), s.rows, s.nbytes) for s in plan.prepared.shards],  # type: ignore[arg-type]
        parallelism=plan.parallelism,
        num_workers=plan.backend.num_workers,
        seed=plan.seed,
    )
    boards = [TensorBoardLogger(logdir) for logdir in plan.logdirs]
    reporter = make_reporter(plan.verbose)
    source = model_source(plan)
    parts = SearchParts(
        space=plan.space,
        tuner=tuner,
        hopper=hopper,
        backend=plan.backend,
        states=StateFiles(plan.states_url),
        books=books,
        reporter=reporter,
        rules=plan.rules,
        boards=boards,
        train_shards=source.train_shards,
        seed=plan.seed,
    )
    driver = SearchDriver(parts)
    reporter.open(books.view(hopper.snapshot(), 0.0))
    summary, because = "Search did not end.", ""
    try:
        because = driver.run()
        ended = plan.backend.now()
        plan.backend.stop()
        workers = [f"w{i}" for i in range(plan.backend.num_workers)]
        # Before the first unit there are workers that start, which no schedule could help.
        first = min((entry.started for entry in hopper.log), default=ended)
        schedule = schedule_summary(hopper.log, workers, first, ended)
        notes = (f"The first unit began {format_duration(first - driver.started)} into the search.",)
        summary = str(ScheduleReport(schedule, count_outcomes(books.records), because, notes))
        result = ModelSelectionResult(
            records=books.records,
            objective=objective.name,
            direction=objective.direction,
            source=source,
            schedule=schedule,
            schedule_log=hopper.log,
            stopped_because=because,
            directory=plan.directory,
        )
        _save(plan, result)
        return result
    finally:
        plan.backend.stop()
        for board in boards:
            board.close()
        reporter.close(books.view(hopper.snapshot(), plan.backend.now() - driver.started), summary)


def model_source(plan: SearchPlan) -> ModelSource:
    """Where the models of the search will be and how they read rows."""
    outputs = []
    space = plan.space
    for spec, target, classifies in zip(space.labels, space.targets, space.classifies, strict=True):
        width = int(spec.shape[0]) if spec.shape else 1
        if target["kind"] == "classes":
            kind = "binary" if target["as"] == "binary" else "onehot"
            outputs.append(OutputSpec(spec.name, kind, tuple(target["classes"]), len(target["classes"])))
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
    )


def check_objective(name: str, space: SearchSpace) -> None:
    """Refuse an objective that no candidate would report.

    Raises:
        ConfigError: the message lists those that they report.
    """
    known = [f"{prefix}{metric}" for metric in space.metric_names for prefix in ("val_", "")]
    if name not in known:
        raise ConfigError(
            f"`objective` must be a metric that the candidates report: {', '.join(known)}. "
            f"Received: objective={name!r}. Choose one of them, or give the head that metric."
        )


def _save(plan: SearchPlan, result: ModelSelectionResult) -> None:
    save_leaderboard(result.leaderboard(), f"{plan.directory}/leaderboard.csv")
    save_schedule(result.schedule_log, f"{plan.directory}/schedule.jsonl")
    plot_timeline(result.schedule_log, f"{plan.directory}/timeline.svg")
