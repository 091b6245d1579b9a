"""Searches for several objectives at once, on simulated workers: what is judged, kept, and shown."""

from __future__ import annotations

import math
import os
import zlib
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_tuner
import pytest

from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import SimulatedStore
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import Unit
from cerebro_nas.journal import Journal
from cerebro_nas.search import Books
from cerebro_nas.search import Budgets
from cerebro_nas.search import Ledger
from cerebro_nas.search import SearchDriver
from cerebro_nas.search import SearchParts
from cerebro_nas.search import StoppingRule
from cerebro_nas.search import replay
from cerebro_nas.stoppers import Curve
from cerebro_nas.stoppers import PatienceStopper
from cerebro_nas.stoppers import Stopper
from cerebro_nas.storage import Janitor
from cerebro_nas.storage import StateFiles
from cerebro_nas.testing import SimulatedCrash
from cerebro_nas.testing import crash_after
from cerebro_nas.testing import shard_search
from cerebro_nas.tracking import SilentReporter
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.tracking import leaderboard
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import make_objective
from cerebro_nas.tuners import make_tuner
from cerebro_nas.tuners import objectives_of
from cerebro_nas.worker import CandidateSpec

TRAIN, VALID = [64, 64], [32]
LATENCY = keras_tuner.Objective("latency_ms", "min")
ALL_TUNERS = [
    *("greedy", "random", "grid", "bayesian", "tpe", "multivariate_tpe", "cmaes", "sobol", "hyperband", "asha"),
    *("bohb", "pbt", "evolution", "differential_evolution", "rl"),
]


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine fails here, and waiting for its disk is most of the time of a simulated search."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


class FakeSpace:
    """Candidates that are nothing but a number of parameters, and twice as many operations."""

    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int) -> CandidateSpec:
        units = int(hp.get("units"))
        return CandidateSpec(trial, "", {}, (), (), seed=seed, parameters=units, flops=2 * units)


def space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 1, 1000)
    hp.Float("rate", 0.0, 1.0)
    return hp


def accuracy(unit: Unit, spec: CandidateSpec) -> float:
    """Larger ones are better as a rule, best in their second epoch."""
    draw = zlib.crc32(f"{spec.parameters}".encode()) % 100 / 1000
    return (0.4 + spec.parameters / 2500 + draw) * (1 - 0.2 * abs(unit.epoch - 1))


def learning(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
    value = accuracy(unit, spec)
    return {"loss": 1 - value, "accuracy": value}


def seconds(unit: Unit, spec: CandidateSpec) -> float:
    """A row takes a candidate as many microseconds as it has parameters, and more in its first epoch."""
    return 32e-6 * spec.parameters * (1.5 if unit.epoch == 0 else 1.0)


@dataclass
class Search:
    """A search on simulated workers that may be run again on its directory."""

    directory: Path
    tuner: str = "random"
    objective: Any = field(default_factory=lambda: ["val_accuracy", "latency_ms"])
    options: dict[str, Any] = field(default_factory=dict)
    max_trials: int = 10
    epochs: int = 3
    parallelism: int | None = None
    metrics: Callable[[Unit, CandidateSpec], dict[str, float]] = learning
    budgets: Budgets = field(default_factory=Budgets)
    stoppers: tuple[Stopper, ...] = ()
    rules: tuple[StoppingRule, ...] = ()
    store: SimulatedStore = field(default_factory=SimulatedStore)

    def fresh(self) -> tuple[Hopper, Tuner, Books]:
        shards = shard_search(TRAIN, VALID).shards
        hopper = Hopper(
            [ShardInfo(Shard(s.split, s.index), s.rows, s.nbytes) for s in shards],  # type: ignore[arg-type]
            num_workers=2,
            parallelism=self.parallelism,
            visit_order="fixed",
        )
        tuner = make_tuner(
            self.tuner,
            objective=self.objective,
            max_trials=self.max_trials,
            hyperparameters=space(),
            seed=5,
            directory=str(self.directory / "tuner"),
            max_epochs=self.epochs,
            num_shards=len(TRAIN),
            **self.options,
        )
        books = Books(
            project="p",
            tuner=self.tuner,
            objectives=[(part.name, part.direction) for part in objectives_of(tuner.objective)],
            max_trials=self.max_trials,
            epochs=self.epochs,
            num_workers=2,
        )
        return hopper, tuner, books

    def run(self) -> Search:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.hopper, self.made, self.books = self.fresh()
        backend = SimulatedBackend(2, metrics=self.metrics, seconds=seconds, store=self.store)
        self.states = StateFiles(str(self.directory / "states"))
        janitor = Janitor(self.states)
        try:
            with backend, Journal.open(self.journal) as journal:
                backend.start(shard_search(TRAIN, VALID))
                driver = SearchDriver(
                    SearchParts(
                        space=FakeSpace(),
                        tuner=self.made,
                        hopper=self.hopper,
                        backend=backend,
                        journal=journal,
                        states=self.states,
                        janitor=janitor,
                        books=self.books,
                        reporter=SilentReporter(),
                        rules=self.rules,
                        boards=(),
                        seed=5,
                        stoppers=self.stoppers,
                        budgets=self.budgets,
                    )
                )
                self.because = driver.run()
                driver.wind_up(backend.stop())
        finally:
            janitor.close(5.0)
        return self

    @property
    def journal(self) -> Path:
        return self.directory / "journal.jsonl"

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        return self.books.records

    @property
    def rows(self) -> list[dict[Any, Any]]:
        table = leaderboard(self.records, self.books.objective, self.books.direction, others=self.books.objectives[1:])
        return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]

    def histories(self) -> dict[str, Any]:
        return {r.trial: (r.hyperparameters, r.status, r.reason, r.history, r.parent) for r in self.records}


def front(search: Search) -> set[str]:
    """The trials that no other one dominates, by the definition."""
    points = {}
    for record in search.records:
        epoch = record.best_epoch(search.books.objective, search.books.direction)
        if record.status not in ("FAILED", "REJECTED") and epoch is not None:
            points[record.trial] = [
                -record.history[epoch][name] if direction == "max" else record.history[epoch][name]
                for name, direction in search.books.objectives
            ]
    return {
        trial
        for trial, point in points.items()
        if not any(
            all(a <= b for a, b in zip(other, point, strict=True)) and other != point for other in points.values()
        )
    }


# --- what is judged ---------------------------------------------------------------------------------------------------


def test_measures_are_among_the_metrics_of_each_epoch(tmp_path: Path) -> None:
    search = Search(tmp_path, objective=["val_accuracy", "latency_ms", "parameters", "flops"]).run()
    for record in search.records:
        units = record.hyperparameters["units"]
        latencies = [metrics["latency_ms"] for metrics in record.history]
        assert latencies == pytest.approx([0.0015 * units, 0.001 * units, 0.001 * units])
        assert {(metrics["parameters"], metrics["flops"]) for metrics in record.history} == {(units, 2 * units)}
        assert record.cost.latency_ms == pytest.approx(0.001 * units)
        assert (record.cost.parameters, record.cost.flops) == (units, 2 * units)


def test_measures_are_recorded_where_they_are_no_objectives_too(tmp_path: Path) -> None:
    search = Search(tmp_path, objective="val_accuracy").run()
    for record, row in zip(sorted(search.records, key=lambda r: r.trial), sorted(search.rows, key=_name), strict=True):
        units = record.hyperparameters["units"]
        assert not {"latency_ms", "parameters", "flops"} & set(record.metrics)
        assert row["cost.latency_ms"] == pytest.approx(0.001 * units)
        assert (row["cost.parameters"], row["cost.flops"]) == (units, 2 * units)
        assert "pareto" not in row


def _name(row: dict[Any, Any]) -> str:
    return str(row["trial"])


@pytest.mark.parametrize("tuner", ALL_TUNERS)
def test_every_tuner_searches_for_several_objectives(tmp_path: Path, tuner: str) -> None:
    search = Search(tmp_path, tuner, epochs=2, max_trials=8).run()
    assert len(search.records) == 8
    assert {record.status for record in search.records} <= {"COMPLETED", "STOPPED"}
    found = {row["trial"] for row in search.rows if row["pareto"]}
    assert found == front(search) != set()
    # The tuner has been told of both.
    for trial in search.made.oracle.trials.values():
        assert trial.metrics.exists("val_accuracy")
        assert trial.metrics.exists("latency_ms")


def test_the_first_objective_decides_which_epoch_counts(tmp_path: Path) -> None:
    search = Search(tmp_path).run()
    for row in search.rows:
        record = next(record for record in search.records if record.trial == row["trial"])
        # The second epoch is the most accurate one, and as quick as the third.
        assert row["best_epoch"] == 1
        assert row["score"] == record.history[1]["val_accuracy"]
        assert row["metric.latency_ms"] == record.history[1]["latency_ms"]
        best = search.states.best(record.trial)
        assert best is not None
        assert (best.epoch, best.generation) == (1, 2 * len(TRAIN))


def test_the_first_objective_may_be_a_measure(tmp_path: Path) -> None:
    search = Search(tmp_path, objective=["parameters", "val_accuracy"]).run()
    assert search.books.best is not None
    smallest = min(record.hyperparameters["units"] for record in search.records)
    assert search.books.best.value == smallest
    assert search.rows[0]["score"] == smallest
    # All epochs have as many: the first of them counts.
    assert {row["best_epoch"] for row in search.rows} == {0}
    assert {row["trial"] for row in search.rows if row["pareto"]} == front(search)


def test_a_front_has_the_most_accurate_and_the_quickest(tmp_path: Path) -> None:
    rows = Search(tmp_path, max_trials=25).run().rows
    on_front = [row for row in rows if row["pareto"]]
    assert 2 <= len(on_front) < len(rows)
    assert max(rows, key=lambda row: row["score"]) in on_front
    assert min(rows, key=lambda row: row["metric.latency_ms"]) in on_front
    on_front.sort(key=lambda row: row["score"])
    latencies = [row["metric.latency_ms"] for row in on_front]
    assert latencies == sorted(latencies)


@pytest.mark.parametrize("tuner", ["evolution", pytest.param("bayesian", marks=pytest.mark.slow)])
def test_a_tuner_that_learns_finds_more_of_the_front(tmp_path: Path, tuner: str) -> None:
    """Of two objectives that agree, its later trials are better in both than its first ones."""

    def agreeing(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
        return {"loss": 1.0, "accuracy": 1 - spec.parameters / 1000}

    options = {"population_size": 6, "sample_size": 3} if tuner == "evolution" else {}
    search = Search(tmp_path, tuner, options=options, max_trials=40, epochs=1, parallelism=2, metrics=agreeing).run()
    units = [record.hyperparameters["units"] for record in search.records]
    assert sum(units[-10:]) < 0.6 * sum(units[:10])


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.case(15)
@pytest.mark.parametrize("epoch", range(3))
@pytest.mark.parametrize("tuner", ["random", "asha", "evolution"])
def test_an_objective_that_is_no_number_fails_the_trial_whichever_it_is(tmp_path: Path, tuner: str, epoch: int) -> None:
    def metrics(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
        bad = spec.trial.endswith("4") and unit.epoch == epoch and unit.phase == "evaluate"
        return {**learning(unit, spec), "loss": math.nan if bad else 1.0}

    search = Search(tmp_path, tuner, objective=["val_accuracy", "val_loss"], metrics=metrics).run()
    failed = [record for record in search.records if record.status == "FAILED"]
    if tuner != "asha":
        assert [record.trial[-1] for record in failed] == ["4"]
    for record in failed:
        assert (record.reason, len(record.history)) == ("nan_objective", epoch)
    failed_rows = [row for row in search.rows if row["status"] == "FAILED"]
    assert not any(row["pareto"] for row in failed_rows)
    assert [row["status"] for row in search.rows[len(search.rows) - len(failed_rows) :]] == ["FAILED"] * len(failed)
    assert {row["trial"] for row in search.rows if row["pareto"]} == front(search)


@pytest.mark.case(15)
def test_an_objective_that_is_missing_fails_the_trial_whichever_it_is(tmp_path: Path) -> None:
    def metrics(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
        found = learning(unit, spec)
        return {"accuracy": found["accuracy"]} if spec.trial.endswith("4") else found

    search = Search(tmp_path, objective=["val_accuracy", "val_loss"], metrics=metrics).run()
    assert Counter(record.reason for record in search.records) == {"completed": 9, "metrics_missing": 1}


# --- with the rest of a search ----------------------------------------------------------------------------------------


def test_a_target_is_one_of_the_first_objective(tmp_path: Path) -> None:
    search = Search(tmp_path, max_trials=40, budgets=Budgets.make(target=0.7)).run()
    assert search.because.startswith("the target is reached")
    assert len(search.records) < 40
    assert search.books.best is not None
    assert search.books.best.value >= 0.7


def test_rules_look_at_the_first_objective(tmp_path: Path) -> None:
    search = Search(tmp_path, epochs=6, stoppers=(PatienceStopper(2),)).run()
    # It gets worse from the second epoch on, while the latency stays.
    assert {(record.status, record.reason) for record in search.records} == {("STOPPED", "patience")}
    assert {len(record.history) for record in search.records} == {4}
    assert any(row["pareto"] for row in search.rows)


@pytest.mark.parametrize("tuner", ["random", "greedy", "asha", "rl"])
def test_configurations_to_begin_with_are_tried_first(tmp_path: Path, tuner: str) -> None:
    initial = [{"units": 3, "rate": 0.25}, {"units": 999, "rate": 0.75}]
    search = Search(tmp_path, tuner, options={"initial_hps": initial}).run()
    assert [record.hyperparameters for record in search.records[:2]] == initial
    # The smallest of all is on the front whatever it is worth.
    assert {row["trial"] for row in search.rows if row["pareto"]} >= {search.records[0].trial}


@pytest.mark.case(9)
@pytest.mark.parametrize("k", [15, 40, 66])
@pytest.mark.parametrize("tuner", ["asha", "evolution"])
def test_a_search_for_several_objectives_is_gone_on_with(tmp_path: Path, tuner: str, k: int) -> None:
    def search(name: str) -> Search:
        # A measured latency is another one when it is measured again; the others are not.
        objective = ["val_accuracy", "parameters"]
        options = {"population_size": 3, "sample_size": 2} if tuner == "evolution" else {}
        return Search(tmp_path / name, tuner, objective, options, max_trials=8, parallelism=1)

    whole, killed = search("whole").run(), search("killed")
    with pytest.raises(SimulatedCrash), crash_after(k):
        killed.run()
    assert killed.run().histories() == whole.histories()
    again = replace(killed).run()
    assert again.histories() == whole.histories()


@pytest.mark.case(9)
@pytest.mark.parametrize("tuner", ["asha", "pbt", "evolution"])
def test_replaying_gives_measured_objectives_back(tmp_path: Path, tuner: str) -> None:
    search = Search(tmp_path, tuner).run()
    hopper, made, books = search.fresh()
    with Journal.open(search.journal) as journal:
        replay(Ledger(hopper, made, books), journal.records)
    assert books.records == search.records
    assert hopper.finished


def test_objectives_are_told_with_their_directions() -> None:
    objective = make_objective(["val_accuracy", LATENCY])
    assert [(part.name, part.direction) for part in objectives_of(objective)] == [
        ("val_accuracy", "max"),
        ("latency_ms", "min"),
    ]


# --- rules ------------------------------------------------------------------------------------------------------------


class Everybody(Stopper):
    """Stops whatever it is asked about."""

    def should_stop(self, trial: Curve, others: Mapping[str, Curve]) -> str | None:
        return "it is one of them"


def test_what_nothing_dominates_is_not_stopped(tmp_path: Path) -> None:
    objective = ["val_accuracy", keras_tuner.Objective("parameters", "min")]
    everybody = Everybody()
    search = Search(tmp_path, objective=objective, stoppers=(everybody,)).run()

    stopped = [record for record in search.records if record.status == "STOPPED"]
    assert 0 < len(stopped) < len(search.records)
    for record in stopped:
        mine = record.metrics["val_accuracy"], -record.metrics["parameters"]
        assert any(
            (metrics["val_accuracy"], -metrics["parameters"]) > mine and metrics["parameters"] <= -mine[1]
            for other in search.records
            for metrics in other.history
        )
    assert len(Search(tmp_path / "one", objective="val_accuracy", stoppers=(everybody,)).run().records[0].history) == 1


@pytest.mark.parametrize("resource", ["epochs", "shards"])
def test_early_stopping_counts_passes_wherever_trials_are_judged(tmp_path: Path, resource: str) -> None:
    def better_with_each_pass(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
        done = unit.epoch if resource == "epochs" else unit.epoch // len(TRAIN)
        return {"loss": 1.0 / (1 + done), "accuracy": 0.5}

    search = Search(
        tmp_path,
        tuner="pbt",
        objective="val_loss",
        options={"resource": resource, "interval": 1, "population_size": 2, "truncation": 0.5, "populations": 1},
        max_trials=2,
        epochs=4,
        metrics=better_with_each_pass,
        rules=(StoppingRule(patience=1),),
    ).run()
    assert Counter(record.reason for record in search.records)["early_stopping"] == 0
