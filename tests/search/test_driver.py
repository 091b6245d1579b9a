"""The loop of a search, on simulated workers: every trial ends, in the way that what happened to it calls for."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import Literal

import keras_tuner
import pytest

from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import FailUnit
from cerebro_nas.backend.simulated import Fault
from cerebro_nas.backend.simulated import JoinLate
from cerebro_nas.backend.simulated import Kill
from cerebro_nas.errors import BuildError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.errors import WorkerLostError
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import NoMoreTrials
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import Unit
from cerebro_nas.journal import Journal
from cerebro_nas.search import Books
from cerebro_nas.search import SearchDriver
from cerebro_nas.search import SearchParts
from cerebro_nas.search import StoppingRule
from cerebro_nas.search import Watch
from cerebro_nas.search import trial_seed
from cerebro_nas.stoppers import Curve
from cerebro_nas.stoppers import Stopper
from cerebro_nas.storage import Janitor
from cerebro_nas.storage import StateFiles
from cerebro_nas.testing import shard_search
from cerebro_nas.tracking import SearchView
from cerebro_nas.tracking import SilentReporter
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.tracking import leaderboard
from cerebro_nas.tuners import make_tuner
from cerebro_nas.worker import CandidateSpec

Metrics = Callable[[Unit, CandidateSpec], dict[str, float]]

EPOCHS = 3
TRAIN, VALID = [64, 64], [32]


def _entries() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 1, 1000)
    hp.Choice("activation", ["relu", "tanh"])
    return hp


class FakeSpace:
    """Candidates that are nothing but a number of parameters; `refuse` says which cannot be built."""

    def __init__(self, refuse: Callable[[int], BuildError | None] = lambda number: None) -> None:
        self.refuse = refuse
        self.built: dict[str, CandidateSpec] = {}
        self.asked = 0

    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int) -> CandidateSpec:
        self.asked += 1
        error = self.refuse(self.asked)
        if error is not None:
            raise error
        self.built[trial] = CandidateSpec(trial, "", {}, (), (), seed=seed, parameters=int(hp.get("units")))
        return self.built[trial]


class Listener(SilentReporter):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.views: list[SearchView] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def update(self, view: SearchView) -> None:
        self.views.append(view)


@dataclass
class Search:
    """A search on simulated workers, and what came of it."""

    directory: Path
    max_trials: int = 6
    num_workers: int = 2
    metrics: Metrics | None = None
    faults: Sequence[Fault] = ()
    rules: Sequence[StoppingRule] = ()
    stoppers: Sequence[Stopper] = ()
    space: FakeSpace = field(default_factory=FakeSpace)
    tuner: str = "greedy"
    seed: int = 3
    checkpoint: bool = True
    listener: Listener = field(default_factory=Listener)
    parallelism: int | None = None
    visit_order: Literal["adaptive", "fixed"] = "adaptive"
    store_seconds: float = 0.0
    watch: Watch = field(default_factory=Watch)
    because: str = ""

    def __post_init__(self) -> None:
        self.backend = SimulatedBackend(
            self.num_workers, metrics=self.metrics, faults=self.faults, store_seconds=self.store_seconds
        )
        self.states = StateFiles(str(self.directory / "states"))
        self.search = shard_search(TRAIN, VALID, checkpoint=self.checkpoint)
        self.books = Books(
            project="p",
            tuner=self.tuner,
            objectives=[("val_accuracy", "max")],
            max_trials=self.max_trials,
            epochs=EPOCHS,
            num_workers=self.num_workers,
        )
        self.hopper = Hopper(
            [ShardInfo(Shard(s.split, s.index), s.rows, s.nbytes) for s in self.search.shards],  # type: ignore[arg-type]
            num_workers=self.num_workers,
            parallelism=self.parallelism,
            visit_order=self.visit_order,
        )

    def run(self) -> Search:
        tuner = make_tuner(
            self.tuner,
            objective="val_accuracy",
            max_trials=self.max_trials,
            hyperparameters=_entries(),
            seed=self.seed,
            directory=str(self.directory / "tuner"),
        )
        janitor = Janitor(self.states)
        self.directory.mkdir(parents=True, exist_ok=True)
        journal = Journal.open(self.directory / "journal.jsonl")
        with self.backend, journal:
            self.backend.start(self.search)
            parts = SearchParts(
                space=self.space,
                tuner=tuner,
                hopper=self.hopper,
                backend=self.backend,
                journal=journal,
                states=self.states,
                janitor=janitor,
                books=self.books,
                reporter=self.listener,
                rules=self.rules,
                stoppers=self.stoppers,
                boards=(),
                seed=self.seed,
                watch=self.watch,
            )
            driver = SearchDriver(parts)
            self.because = driver.run()
            driver.wind_up(self.backend.stop())
        janitor.close(5.0)
        return self

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        return self.books.records

    @property
    def outcomes(self) -> Counter[tuple[str, str]]:
        return Counter((record.status, record.reason) for record in self.records)


def _accuracy(of: Callable[[Unit], float]) -> Metrics:
    """What workers report where only the validation accuracy matters."""
    return lambda unit, spec: {"loss": 1.0, "accuracy": of(unit) if unit.phase == "evaluate" else 0.5}


# --- every trial ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tuner", ["greedy", "random", "grid"])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_every_trial_ends(tmp_path: Path, tuner: str, num_workers: int) -> None:
    search = Search(tmp_path, tuner=tuner, num_workers=num_workers).run()
    assert search.outcomes == {("COMPLETED", "completed"): 6}
    assert search.because == "all 6 trials are done"
    units = EPOCHS * (len(TRAIN) + len(VALID))
    for record in search.records:
        assert len(record.history) == record.cost.epochs == EPOCHS
        assert record.cost.units == units
        assert record.cost.parameters == record.hyperparameters["units"]
        assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(record.metrics)
    assert len(search.hopper.log) == 6 * units


def test_what_is_written_of_each_trial(tmp_path: Path) -> None:
    curve = {0: 0.2, 1: 0.9, 2: 0.5}
    search = Search(tmp_path, metrics=_accuracy(lambda unit: curve[unit.epoch]), max_trials=2).run()
    for record in search.records:
        spec = CandidateSpec.from_json(search.states.read_spec(record.trial))
        assert spec == search.space.built[record.trial]
        assert spec.seed == trial_seed(search.seed, record.trial)
        # The state of the best epoch is the one to keep: after two epochs of two train units.
        best = search.states.best(record.trial)
        assert best is not None
        assert (best.generation, best.epoch) == (2 * len(TRAIN), 1)


def test_the_display_sees_the_search_begin_and_end(tmp_path: Path) -> None:
    views = Search(tmp_path).run().listener.views
    last = views[-1]
    assert len(last.finished) == 6
    assert last.running == ()
    assert last.units_done == last.units_known
    assert last.best is not None
    assert [v.elapsed for v in views] == sorted(v.elapsed for v in views)


def _rows(search: Search) -> list[dict[Any, Any]]:
    return leaderboard(search.records, "val_accuracy", "max").to_dict("records")


@pytest.mark.parametrize("tuner", ["greedy", "random"])
def test_the_same_seed_gives_the_same_leaderboard(tmp_path: Path, tuner: str) -> None:
    def quality(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
        return {"loss": 1.0, "accuracy": math.sin(spec.parameters) / 2 + 0.5 + unit.epoch / 100}

    def search(name: str, seed: int) -> list[dict[Any, Any]]:
        return _rows(Search(tmp_path / name, seed=seed, tuner=tuner, max_trials=8, metrics=quality).run())

    first = search("one", 3)
    assert search("two", 3) == first
    assert [row["hp.units"] for row in search("other", 4)] != [row["hp.units"] for row in first]


def test_trials_have_seeds_of_their_own() -> None:
    seeds = {trial_seed(search, trial) for search in range(3) for trial in ("0", "1", "2", "10")}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_space_with_fewer_candidates_than_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small() -> keras_tuner.HyperParameters:
        hp = keras_tuner.HyperParameters()
        hp.Int("units", 1, 3)
        return hp

    monkeypatch.setitem(globals(), "_entries", small)
    search = Search(tmp_path, tuner="grid", max_trials=50).run()
    assert sorted(record.hyperparameters["units"] for record in search.records) == [1, 2, 3]
    assert search.because == "the tuner has no further trial"


# --- candidates that cannot be built ----------------------------------------------------------------------------------


@pytest.mark.case(17, 18)
def test_rejected_candidates_are_recorded_and_replaced(tmp_path: Path) -> None:
    def refuse(number: int) -> BuildError | None:
        if number == 2:
            return BuildError("too many", reason="oversized", parameters=10**9)
        return BuildError("a negative size") if number in (3, 5) else None

    search = Search(tmp_path, space=FakeSpace(refuse)).run()
    assert search.outcomes == {
        ("COMPLETED", "completed"): 6,
        ("REJECTED", "invalid_graph"): 2,
        ("REJECTED", "oversized"): 1,
    }
    rejected = [record for record in search.records if record.status == "REJECTED"]
    assert all(record.cost.units == 0 and record.hyperparameters for record in rejected)
    assert len({record.trial for record in search.records}) == 9


def test_the_last_trial_may_be_rejected_too(tmp_path: Path) -> None:
    search = Search(tmp_path, max_trials=1, space=FakeSpace(lambda number: BuildError("no") if number == 1 else None))
    assert search.run().outcomes == {("REJECTED", "invalid_graph"): 1, ("COMPLETED", "completed"): 1}


@pytest.mark.case(18)
def test_a_space_in_which_nothing_can_be_built_ends_the_search(tmp_path: Path) -> None:
    space = FakeSpace(lambda number: BuildError("no such layer"))
    with pytest.raises(SearchAborted, match="No architecture that can be built.*no such layer"):
        Search(tmp_path, space=space).run()


@pytest.mark.case(17)
def test_a_limit_that_nothing_meets_names_the_smallest_seen(tmp_path: Path) -> None:
    space = FakeSpace(lambda number: BuildError("large", reason="oversized", parameters=5000 + number))
    with pytest.raises(SearchAborted, match=r"smallest seen has\s+5,001 parameters"):
        Search(tmp_path, space=space).run()


# --- early stopping ---------------------------------------------------------------------------------------------------


def test_early_stopping_stops_a_trial(tmp_path: Path) -> None:
    rules = [StoppingRule(monitor="val_accuracy", direction="max", patience=1)]
    worse = _accuracy(lambda unit: 0.9 - unit.epoch / 10)
    search = Search(tmp_path, rules=rules, metrics=worse).run()
    assert search.outcomes == {("STOPPED", "early_stopping"): 6}
    assert {record.cost.epochs for record in search.records} == {2}
    best = [search.states.best(record.trial) for record in search.records]
    assert {found.generation for found in best if found is not None} == {len(TRAIN)}
    assert None not in best


def test_a_trial_that_improves_is_not_stopped(tmp_path: Path) -> None:
    rules = [StoppingRule(monitor="val_accuracy", direction="max", patience=1)]
    search = Search(tmp_path, rules=rules, metrics=_accuracy(lambda unit: unit.epoch / 10)).run()
    assert search.outcomes == {("COMPLETED", "completed"): 6}


def test_any_of_several_rules_stops(tmp_path: Path) -> None:
    rules = [StoppingRule("val_loss", "min", patience=9), StoppingRule("val_accuracy", "max", patience=1)]
    search = Search(tmp_path, rules=rules, metrics=_accuracy(lambda unit: 0.5)).run()
    assert search.outcomes == {("STOPPED", "early_stopping"): 6}


# --- trials that fail -------------------------------------------------------------------------------------------------


def _first_trials(count: int) -> Callable[[str], bool]:
    """Whether a trial is among the first `count` that anything is asked about."""
    seen: list[str] = []

    def is_first(trial: str) -> bool:
        if trial not in seen:
            seen.append(trial)
        return seen.index(trial) < count

    return is_first


@pytest.mark.case(15)
@pytest.mark.parametrize("epoch", range(EPOCHS))
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_not_finite_fails_the_trial(tmp_path: Path, epoch: int, value: float) -> None:
    is_first = _first_trials(1)
    metrics = _accuracy(lambda unit: value if is_first(unit.trial) and unit.epoch == epoch else 0.5)
    search = Search(tmp_path, metrics=metrics).run()
    assert search.outcomes == {("FAILED", "nan_objective"): 1, ("COMPLETED", "completed"): 5}
    (failed,) = [record for record in search.records if record.status == "FAILED"]
    assert len(failed.history) == epoch
    assert any("nan_objective" in message for message in search.listener.messages)


@pytest.mark.case(15)
@pytest.mark.parametrize("epoch", range(EPOCHS))
def test_an_objective_that_is_missing_fails_the_trial_and_lists_what_is_there(tmp_path: Path, epoch: int) -> None:
    is_first = _first_trials(1)

    def metrics(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
        return {"loss": 1.0} if is_first(unit.trial) and unit.epoch == epoch else {"loss": 1.0, "accuracy": 0.5}

    search = Search(tmp_path, metrics=metrics).run()
    assert search.outcomes == {("FAILED", "metrics_missing"): 1, ("COMPLETED", "completed"): 5}
    (message,) = search.listener.messages
    assert "`val_accuracy` is not among its metrics, which are loss, val_loss" in message


def test_a_unit_that_fails_by_the_cluster_is_tried_again(tmp_path: Path) -> None:
    search = Search(tmp_path, faults=[FailUnit(reason="oom", times=2)]).run()
    assert search.outcomes == {("COMPLETED", "completed"): 6}
    assert Counter(entry.outcome for entry in search.hopper.log)["failed"] == 2


@pytest.mark.case(15)
def test_a_candidate_at_fault_fails_and_the_others_go_on(tmp_path: Path) -> None:
    search = Search(tmp_path, faults=[FailUnit(reason="nan_loss", trial_fault=True, epoch=1)]).run()
    assert search.outcomes == {("FAILED", "nan_loss"): 1, ("COMPLETED", "completed"): 5}
    (message,) = search.listener.messages
    assert "failed (nan_loss): nan_loss: simulated" in message


@pytest.mark.parametrize("trial_fault", [True, False])
def test_the_log_repeats_no_failure_that_the_display_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trial_fault: bool
) -> None:
    logger = logging.getLogger("cerebro_nas.search._driver")
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, logger=logger.name)
    try:
        search = Search(tmp_path, faults=[FailUnit(reason="oom", trial_fault=trial_fault)]).run()
    finally:
        logger.removeHandler(caplog.handler)
    logged = [line for line in caplog.messages if "failed on" in line]
    assert bool(logged) is not trial_fault
    assert len(search.listener.messages) == int(trial_fault)


def test_three_failures_alike_at_the_beginning_end_the_search(tmp_path: Path) -> None:
    search = Search(tmp_path, max_trials=20, faults=[FailUnit(reason="build_error", trial_fault=True, times=99)])
    with pytest.raises(SearchAborted) as caught:
        search.run()
    text = str(caught.value)
    assert "all failed with reason 'build_error'; none succeeded" in text
    assert text.endswith("The last one said: build_error: simulated")
    assert sum(record.status == "FAILED" for record in search.records) == 3


def test_three_failures_alike_after_a_success_do_not(tmp_path: Path) -> None:
    late = _first_trials(1)
    metrics = _accuracy(lambda unit: 0.5 if late(unit.trial) else math.nan)
    search = Search(tmp_path, num_workers=1, metrics=metrics)
    # The first trial alone runs to its end before a second one can fail thrice: one live trial at a time.
    search.hopper = Hopper(
        [ShardInfo(Shard(s.split, s.index), s.rows, s.nbytes) for s in search.search.shards],  # type: ignore[arg-type]
        num_workers=1,
        parallelism=1,
    )
    search.run()
    assert search.outcomes == {("COMPLETED", "completed"): 1, ("FAILED", "nan_objective"): 5}


def test_failures_of_two_kinds_are_not_failures_alike(tmp_path: Path) -> None:
    """The message says that the first three failed alike; where the first two did not, that would be untrue."""
    reasons = ("oom", "nan_loss", "oom", "oom")
    faults = [FailUnit(trial=str(i), reason=reason, trial_fault=True) for i, reason in enumerate(reasons)]
    search = Search(tmp_path, max_trials=8, num_workers=1, faults=faults)
    try:
        search.run()
    except SearchAborted as error:
        assert "first 3" not in str(error)
    else:
        assert search.outcomes == {("FAILED", "oom"): 3, ("FAILED", "nan_loss"): 1, ("COMPLETED", "completed"): 4}


# --- workers that go and come -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", [True, False])
@pytest.mark.parametrize("back_after", [0.005, None])
def test_a_worker_lost_on_the_way_delays_and_loses_nothing(
    tmp_path: Path, back_after: float | None, checkpoint: bool
) -> None:
    search = Search(tmp_path, faults=[Kill("w0", at=0.02, back_after=back_after)], checkpoint=checkpoint).run()
    assert search.outcomes == {("COMPLETED", "completed"): 6}
    assert all(len(record.history) == EPOCHS for record in search.records)
    assert any("Worker w0 was lost (killed)" in message for message in search.listener.messages)
    assert Counter(entry.outcome for entry in search.hopper.log)["lost"] == 1


def test_a_worker_that_comes_late_is_used(tmp_path: Path) -> None:
    search = Search(tmp_path, faults=[JoinLate("w1", 0.02)]).run()
    assert search.outcomes == {("COMPLETED", "completed"): 6}
    assert {entry.worker for entry in search.hopper.log} == {"w0", "w1"}


def test_all_workers_lost_for_good_is_an_error(tmp_path: Path) -> None:
    search = Search(tmp_path, faults=[Kill("w0", at=0.02), Kill("w1", at=0.03)])
    with pytest.raises(WorkerLostError, match="Every simulated worker is lost"):
        search.run()


def test_the_scheduler_is_told_of_the_last_trial_when_it_is_given(tmp_path: Path) -> None:
    search = Search(tmp_path, max_trials=3)
    told: list[int] = []
    handle = search.hopper.handle

    def watch(event: Any, now: float) -> Any:
        if isinstance(event, NoMoreTrials):
            told.append(sum(record.status not in ("COMPLETED", "STOPPED") for record in search.records))
        return handle(event, now)

    search.hopper.handle = watch  # type: ignore[method-assign]
    search.run()
    assert told == [3]
    assert [r.status for r in search.records] == ["COMPLETED"] * 3


class HTTPBudget2Stopper(Stopper):
    def should_stop(self, trial: Curve, others: Mapping[str, Curve]) -> str | None:
        return "enough"


class Impatient(HTTPBudget2Stopper):
    """Without the suffix."""


@pytest.mark.parametrize(("rule", "name"), [(HTTPBudget2Stopper(), "http_budget2"), (Impatient(), "impatient")])
def test_the_reason_of_a_rule_of_ones_own_is_its_class_in_snake_case(tmp_path: Path, rule: Stopper, name: str) -> None:
    assert Search(tmp_path, stoppers=[rule]).run().outcomes == {("STOPPED", name): 6}


def test_one_trial_is_said_in_the_singular(tmp_path: Path) -> None:
    assert Search(tmp_path, max_trials=1).run().because == "the only trial is done"
