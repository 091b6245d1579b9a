"""Tuners that train in stages, on simulated workers: to the end, past failures and deaths, and never a visit twice."""

from __future__ import annotations

import math
import os
import random
import zlib
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import Literal

import keras_tuner
import pytest

from cerebro_nas.backend import RunCommand
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend import WorkerCommand
from cerebro_nas.backend.simulated import FailUnit
from cerebro_nas.backend.simulated import Fault
from cerebro_nas.backend.simulated import Kill
from cerebro_nas.backend.simulated import SimulatedStore
from cerebro_nas.errors import BuildError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import Unit
from cerebro_nas.journal import Journal
from cerebro_nas.journal import Record
from cerebro_nas.search import Books
from cerebro_nas.search import SearchDriver
from cerebro_nas.search import SearchParts
from cerebro_nas.storage import Janitor
from cerebro_nas.storage import StateFiles
from cerebro_nas.testing import SimulatedCrash
from cerebro_nas.testing import crash_after
from cerebro_nas.testing import shard_search
from cerebro_nas.tracking import SilentReporter
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.tuners import make_tuner
from cerebro_nas.tuners._rungs import hyperband_table
from cerebro_nas.worker import CandidateSpec

Metrics = Callable[[Unit, CandidateSpec], dict[str, float]]

TRAIN, VALID = [64, 80, 48], [32, 16]
STAGED = ["asha", "hyperband", "bohb", "pbt"]
OPTIONS: dict[str, dict[str, Any]] = {"pbt": {"population_size": 4, "truncation": 0.25}}


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine fails here, and waiting for its disk is most of the time of a simulated search."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


def space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 1, 1000)
    hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    return hp


class FakeSpace:
    """Candidates that are nothing but a number of parameters; `refuse` says of how many none can be built."""

    def __init__(self, refuse: Callable[[int], bool] = lambda units: False) -> None:
        self.refuse = refuse

    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int) -> CandidateSpec:
        units = int(hp.get("units"))
        if self.refuse(units):
            raise BuildError("no such thing", parameters=units)
        return CandidateSpec(trial, "", {}, (), (), seed=seed, parameters=units)


def quality(spec: CandidateSpec) -> float:
    return zlib.crc32(f"{spec.parameters}".encode()) % 1000 / 1000


def learning(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
    """A curve that follows from the candidate, the epoch and the shard."""
    value = quality(spec) * (1 - 0.7 ** (unit.epoch + 1))
    value += 0.001 * (unit.shard.index if unit.shard else 0)
    return {"loss": 1 - value, "accuracy": value}


class Recording(SimulatedBackend):
    """Remembers what it was told to run."""

    runs: list[tuple[str, RunCommand]]

    def submit(self, worker: str, command: WorkerCommand) -> None:
        if isinstance(command, RunCommand):
            self.runs.append((worker, command))
        super().submit(worker, command)


@dataclass
class Search:
    """A search on simulated workers, and what came of it."""

    directory: Path
    tuner: str
    options: dict[str, Any] = field(default_factory=dict)
    max_trials: int = 12
    epochs: int = 9
    num_workers: int = 3
    parallelism: int | None = None
    metrics: Metrics = learning
    faults: Sequence[Fault] = ()
    space: FakeSpace = field(default_factory=FakeSpace)
    seed: int = 3
    store_seconds: float = 0.002
    checkpoint: bool = True
    visit_order: Literal["adaptive", "fixed"] = "fixed"
    store: SimulatedStore = field(default_factory=SimulatedStore)
    because: str = ""

    def run(self) -> Search:
        self.directory.mkdir(parents=True, exist_ok=True)
        spec = shard_search(TRAIN, VALID, checkpoint=self.checkpoint)
        self.backend = Recording(
            self.num_workers,
            metrics=self.metrics,
            faults=self.faults,
            store=self.store,
            store_seconds=self.store_seconds,
            seed=self.seed,
        )
        self.backend.runs = []
        self.hopper = Hopper(
            [ShardInfo(Shard(s.split, s.index), s.rows, s.nbytes) for s in spec.shards],  # type: ignore[arg-type]
            num_workers=self.num_workers,
            parallelism=self.parallelism,
            visit_order=self.visit_order,
            max_worker_deaths_per_trial=99,
        )
        self.books = Books(
            project="p",
            tuner=self.tuner,
            objectives=[("val_accuracy", "max")],
            max_trials=self.max_trials,
            epochs=self.epochs,
            num_workers=self.num_workers,
        )
        self.oracle_tuner = make_tuner(
            self.tuner,
            objective="val_accuracy",
            max_trials=self.max_trials,
            hyperparameters=space(),
            seed=self.seed,
            directory=str(self.directory / "tuner"),
            max_epochs=self.epochs,
            num_shards=len(TRAIN),
            **OPTIONS.get(self.tuner, {}),
            **self.options,
        )
        states = StateFiles(str(self.directory / "states"))
        janitor = Janitor(states)
        try:
            with self.backend, Journal.open(self.journal) as journal:
                self.backend.start(spec)
                driver = SearchDriver(self.parts(journal, states, janitor))
                self.because = driver.run()
                driver.wind_up(self.backend.stop())
        finally:
            janitor.close(5.0)
        return self

    def parts(self, journal: Journal, states: StateFiles, janitor: Janitor) -> SearchParts:
        return SearchParts(
            space=self.space,
            tuner=self.oracle_tuner,
            hopper=self.hopper,
            backend=self.backend,
            journal=journal,
            states=states,
            janitor=janitor,
            books=self.books,
            reporter=SilentReporter(),
            rules=(),
            boards=(),
            seed=self.seed,
        )

    @property
    def journal(self) -> Path:
        return self.directory / "journal.jsonl"

    def noted(self, kind: str) -> list[Record]:
        with Journal.open(self.journal) as journal:
            return [record for record in journal.records if record.kind == kind]

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        return self.books.records

    @property
    def given(self) -> list[TrialRecord]:
        return [record for record in self.records if record.status != "REJECTED"]

    @property
    def statuses(self) -> Counter[str]:
        return Counter(record.status for record in self.records)

    @property
    def histories(self) -> dict[str, tuple[Any, ...]]:
        """What came of each trial, without what depends on the clock."""
        return {r.trial: (r.hyperparameters, r.status, r.history, r.parent, r.note) for r in self.records}


# --- to the end -------------------------------------------------------------------------------------------------------


def check_whole(search: Search) -> None:
    """Each trial has ended, and none has made a visit twice, or not from where it stood."""
    assert not search.hopper.unfinished
    assert set(search.statuses) <= {"COMPLETED", "STOPPED", "FAILED", "REJECTED"}
    assert len(search.given) == search.max_trials
    visited: Counter[tuple[str, int, Shard | None]] = Counter()
    trained: Counter[str] = Counter()
    for _, run in search.backend.runs:
        visited[run.unit.trial, run.unit.epoch, run.unit.shard] += 1
        assert run.state.generation == trained[run.unit.trial]
        trained[run.unit.trial] += run.unit.phase == "train"
    assert set(visited.values()) == {1}
    for record in search.given:
        evaluated = Counter(epoch for trial, epoch, shard in visited if trial == record.trial and shard in _VALID)
        # The epoch whose objective is no number was evaluated, and is not entered.
        epochs = len(record.history) + (record.reason == "nan_objective")
        assert evaluated == dict.fromkeys(range(epochs), len(VALID))
        per_pass = Counter(shard for trial, _, shard in visited if trial == record.trial and shard not in _VALID)
        # Shards of passes that are complete as often as there are passes, those of the last one once more or not.
        assert max(per_pass.values()) - min(per_pass[Shard("train", i)] for i in range(len(TRAIN))) <= 1


_VALID = {Shard("valid", i) for i in range(len(VALID))}


@pytest.mark.parametrize("visit_order", ["fixed", "adaptive"])
@pytest.mark.parametrize("resource", ["epochs", "shards"])
@pytest.mark.parametrize("tuner", STAGED)
def test_every_trial_ends_and_no_visit_is_made_twice(
    tmp_path: Path, tuner: str, resource: str, visit_order: Literal["adaptive", "fixed"]
) -> None:
    epochs = 9 if resource == "epochs" else 3
    options = {"resource": resource, **({"interval": 3} if tuner == "pbt" else {})}
    search = Search(tmp_path, tuner, options, epochs=epochs, visit_order=visit_order).run()
    check_whole(search)
    assert search.noted("promoted")
    complete = [record for record in search.records if record.status == "COMPLETED"]
    assert complete
    whole = epochs * len(TRAIN)
    for record in complete:
        units = record.cost.units - len(VALID) * len(record.history)
        inherited = record.note.get("inherited", 0) * (len(TRAIN) if resource == "epochs" else 1)
        assert units + inherited == whole
    assert search.because in ("all 12 trials are done", "the tuner has no further trial")


def test_with_shards_as_resource_a_first_look_costs_one_visit(tmp_path: Path) -> None:
    search = Search(tmp_path, "asha", {"resource": "shards"}, epochs=3).run()
    costs = Counter(record.cost.units for record in search.records if record.status == "STOPPED")
    assert costs[1 + len(VALID)] > len(search.records) // 2
    assert min(len(record.history) for record in search.records) == 1


def test_hyperband_trains_what_its_table_says(tmp_path: Path) -> None:
    table = hyperband_table(9, 3)
    search = Search(tmp_path, "hyperband", max_trials=sum(rungs[0].trials for rungs in table)).run()
    expected: Counter[int] = Counter()
    for rungs in table:
        going_on = [*(rung.trials for rung in rungs[1:]), 0]
        for rung, after in zip(rungs, going_on, strict=True):
            expected[rung.resource] += rung.trials - after
    assert Counter(len(record.history) for record in search.records) == expected
    stopped = [record.reason for record in search.records if record.status == "STOPPED"]
    assert set(stopped) == {"not_promoted"}


def test_hyperband_promotes_the_best(tmp_path: Path) -> None:
    search = Search(tmp_path, "hyperband", max_trials=9).run()
    first = [record for record in search.records if record.note["bracket"] == 0]
    by_worth = sorted(first, key=lambda record: -record.history[0]["val_accuracy"])
    assert sorted((len(record.history) for record in by_worth), reverse=True) == [
        len(record.history) for record in by_worth
    ]
    assert [len(record.history) for record in by_worth] == [9, 3, 3] + [1] * 6


def test_a_trial_that_hyperband_gives_up_gets_no_further_unit(tmp_path: Path) -> None:
    search = Search(tmp_path, "hyperband", max_trials=14).run()
    with Journal.open(search.journal) as journal:
        records = journal.records
    gone: set[str] = set()
    for record in records:
        if record.kind == "dismissed":
            gone.add(record.data["trial"])
        elif record.kind == "run":
            assert record.data["unit"]["trial"] not in gone
    assert {record.trial for record in search.records if record.status == "STOPPED"} == gone != set()


def test_asha_promotes_none_but_the_best_of_a_rung_at_that_time(tmp_path: Path) -> None:
    search = Search(tmp_path, "asha", max_trials=20).run()
    reached: dict[int, dict[str, float]] = {1: {}, 3: {}}
    values = {record.trial: record.history for record in search.records}
    with Journal.open(search.journal) as journal:
        records = journal.records
    for record in records:
        unit = record.data.get("unit", {})
        if record.data.get("type") == "UnitDone" and unit["phase"] == "evaluate" and unit["epoch"] + 1 in reached:
            reached[unit["epoch"] + 1][unit["trial"]] = values[unit["trial"]][unit["epoch"]]["val_accuracy"]
        elif record.kind == "promoted":
            rung = record.data["until"] // 3
            others = reached[rung]
            better = sum(value > others[record.data["trial"]] for value in others.values())
            assert better < max(1, len(others) // 3)
    assert len(search.noted("promoted")) >= 5


def test_a_promoted_trial_runs_the_specification_it_began_with(tmp_path: Path) -> None:
    search = Search(tmp_path, "asha").run()
    specs: dict[str, set[str]] = {}
    for _, run in search.backend.runs:
        specs.setdefault(run.unit.trial, set()).add(run.spec.to_json())
    assert {len(found) for found in specs.values()} == {1}


@pytest.mark.parametrize("tuner", STAGED)
def test_initial_configurations_come_first(tmp_path: Path, tuner: str) -> None:
    initial = [{"units": 7, "learning_rate": 0.01}, {"units": 900}]
    search = Search(tmp_path, tuner, {"initial_hps": initial}).run()
    first = [record.hyperparameters for record in search.records[:2]]
    assert first[0] == initial[0]
    assert first[1]["units"] == 900
    check_whole(search)


@pytest.mark.parametrize("tuner", STAGED)
def test_the_same_seed_gives_the_same_search(tmp_path: Path, tuner: str) -> None:
    first, again, other = (
        Search(tmp_path / name, tuner, max_trials=6, epochs=3, seed=seed).run().histories
        for name, seed in [("a", 3), ("b", 3), ("c", 4)]
    )
    assert again == first
    assert other != first


@pytest.mark.case(33)
@pytest.mark.parametrize("tuner", STAGED)
def test_more_trials_may_be_asked_for(tmp_path: Path, tuner: str) -> None:
    first = Search(tmp_path, tuner, max_trials=8, epochs=4).run()
    again = replace(first, max_trials=12).run()
    assert len(again.records) == 12
    assert not again.hopper.unfinished
    assert {trial: again.histories[trial] for trial in first.histories} == first.histories
    assert all(record.history for record in again.records)


# --- population-based training ----------------------------------------------------------------------------------------


def test_pbt_goes_on_with_the_state_of_a_better_one(tmp_path: Path) -> None:
    search = Search(tmp_path, "pbt", max_trials=16).run()
    children = [record for record in search.records if record.parent]
    assert children
    begun = {run.unit.trial: run.spec for _, run in search.backend.runs}
    values = {record.trial: record for record in search.records}
    for child in children:
        spec = begun[child.trial]
        assert spec.parent == child.parent == child.note["lineage"][-1]
        # The state by which the parent was judged, whatever it has been trained for meanwhile.
        assert int(spec.parent_state.split("-")[0]) == child.note["inherited"] * len(TRAIN)
        # Along a line of ancestors nobody is trained for more than nine epochs.
        assert child.note["inherited"] + len(child.history) <= 9
        # `units` shapes the network, and stays what it was.
        assert child.hyperparameters["units"] == values[child.parent].hyperparameters["units"]
        assert child.hyperparameters["learning_rate"] != values[child.parent].hyperparameters["learning_rate"]
    replaced = [record for record in search.records if record.reason == "replaced"]
    assert len(replaced) == len(children)
    assert {record.status for record in replaced} == {"STOPPED"}


# --- failures ---------------------------------------------------------------------------------------------------------


def bad(trial: str) -> bool:
    return int(trial) % 5 == 2


def failing(epoch: int) -> Metrics:
    """Those that fail are the best until then, so that they are promoted."""

    def metrics(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
        found = learning(unit, spec)
        if not bad(unit.trial):
            return found
        return {"loss": 1.0, "accuracy": 1 + found["accuracy"] if unit.epoch < epoch else math.nan}

    return metrics


@pytest.mark.case(15)
@pytest.mark.parametrize("epoch", [0, 2, 3])
@pytest.mark.parametrize("tuner", STAGED)
def test_failures_hold_no_promotion_up(tmp_path: Path, tuner: str, epoch: int) -> None:
    search = Search(tmp_path, tuner, max_trials=18, metrics=failing(epoch)).run()
    check_whole(search)
    failed = [record for record in search.records if record.status == "FAILED"]
    assert failed
    assert {record.reason for record in failed} == {"nan_objective"}
    assert {len(record.history) for record in failed} == {epoch}
    assert all(bad(record.trial) for record in failed)
    assert search.statuses["COMPLETED"] >= 1
    # In place of those that failed, others go on.
    promoted = {record.data["trial"] for record in search.noted("promoted")}
    assert len(promoted - {record.trial for record in failed}) >= 3


@pytest.mark.case(15)
@pytest.mark.parametrize("tuner", STAGED)
def test_failures_while_the_good_ones_are_paused_are_not_all_there_is(tmp_path: Path, tuner: str) -> None:
    """A trial that pauses has succeeded so far; only where nothing does is it the program or the data."""

    def metrics(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
        return {"loss": 1.0, "accuracy": math.nan if "1" <= unit.trial.lstrip("0") <= "4" else quality(spec)}

    search = Search(tmp_path, tuner, max_trials=9, num_workers=1, metrics=metrics).run()
    assert search.statuses["FAILED"] == 4
    assert search.statuses["COMPLETED"] >= 1


@pytest.mark.parametrize("tuner", STAGED)
def test_a_search_in_which_all_fail_is_given_up(tmp_path: Path, tuner: str) -> None:
    search = Search(tmp_path, tuner, metrics=lambda unit, spec: {"loss": 1.0, "accuracy": math.nan})
    with pytest.raises(SearchAborted, match="The first 3 trials that ended all failed with reason 'nan_objective'"):
        search.run()


@pytest.mark.case(17)
@pytest.mark.parametrize("tuner", STAGED)
def test_rejected_candidates_take_no_place_on_a_rung(tmp_path: Path, tuner: str) -> None:
    search = Search(tmp_path, tuner, space=FakeSpace(lambda units: units % 3 == 0)).run()
    check_whole(search)
    assert search.statuses["REJECTED"] >= 1
    if tuner == "hyperband":
        assert Counter(len(record.history) for record in search.given)[9] >= 1


@pytest.mark.parametrize("tuner", STAGED)
def test_a_candidate_at_fault_after_its_promotion_is_out_of_the_way(tmp_path: Path, tuner: str) -> None:
    faults = [FailUnit(reason="oom", trial_fault=True, epoch=1, times=3)]
    search = Search(tmp_path, tuner, max_trials=16, faults=faults).run()
    assert Counter(record.reason for record in search.records)["oom"] == 3
    assert search.statuses["COMPLETED"] >= 1


# --- workers that die -------------------------------------------------------------------------------------------------


def kills(seed: int, seconds: float, workers: int) -> list[Fault]:
    draw = random.Random(seed)
    names = [f"w{i}" for i in range(workers)]
    return [
        Kill(draw.choice(names), at=draw.uniform(0, seconds), back_after=draw.choice([0.0, 0.005, 0.05]))
        for _ in range(draw.randint(1, 8))
    ]


def dies_and_ends_alike(
    directory: Path, tuner: str, seed: int, options: dict[str, Any], checkpoint: bool = True
) -> None:
    def search(name: str, faults: Sequence[Fault] = ()) -> Search:
        return Search(
            directory / name,
            tuner,
            options,
            epochs=4,
            max_trials=8,
            parallelism=1,
            seed=seed,
            faults=faults,
            # What a child begins with would be lost with its parent's worker on the way to the store.
            store_seconds=0.0 if tuner == "pbt" else 0.004,
            checkpoint=checkpoint,
        ).run()

    whole = search("whole")
    killed = search("killed", kills(seed, whole.backend.now(), 3))
    assert killed.histories == whole.histories
    assert not killed.hopper.unfinished


@pytest.mark.case(1)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("resource", ["epochs", "shards"])
@pytest.mark.parametrize("tuner", ["asha", "pbt"])
def test_deaths_of_workers_change_no_result(tmp_path: Path, tuner: str, resource: str, seed: int) -> None:
    """With one trial at a time; with more, who is promoted depends on who is there first."""
    dies_and_ends_alike(tmp_path, tuner, seed, {"resource": resource})


@pytest.mark.case(1)
@pytest.mark.parametrize("seed", range(3))
def test_nor_do_they_where_nothing_is_stored(tmp_path: Path, seed: int) -> None:
    dies_and_ends_alike(tmp_path, "asha", seed, {}, checkpoint=False)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.case(1)
@pytest.mark.parametrize("tuner", STAGED)
def test_deaths_of_workers_change_no_result_over_many_seeds(tmp_path: Path, tuner: str) -> None:
    for seed in range(60):
        dies_and_ends_alike(tmp_path / str(seed), tuner, seed, {"resource": "epochs" if seed % 2 else "shards"})


def by_epoch(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
    """A curve that follows from the candidate and the epoch alone."""
    value = quality(spec) * (1 - 0.7 ** (unit.epoch + 1))
    return {"loss": 1 - value, "accuracy": value}


def check_figures(search: Search) -> None:
    curves = search.books.curves()
    for record in search.records:
        spec = CandidateSpec(record.trial, "", {}, (), (), parameters=record.hyperparameters["units"])
        units = [Unit(record.trial, "evaluate", epoch, Shard("valid", 0)) for epoch in range(len(record.history))]
        expected = [by_epoch(unit, spec)["accuracy"] for unit in units]
        assert [found["val_accuracy"] for found in record.history] == pytest.approx(expected)
        # Where shards are the resource, trials are judged several times in an epoch, and end within one.
        assert record.cost.epochs - len(curves[record.trial].values) in (0, 1)


@pytest.mark.case(1)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tuner", ["asha", "pbt"])
def test_where_many_run_at_a_time_deaths_change_no_figure(tmp_path: Path, tuner: str, seed: int) -> None:
    """Others may be promoted; but an epoch of a candidate comes to what it always comes to."""
    faults = kills(seed, 0.4, 3)
    search = Search(tmp_path, tuner, faults=faults, metrics=by_epoch, seed=seed, store_seconds=0.01).run()
    assert sum(search.backend.struck()) > 0
    assert set(search.statuses) <= {"COMPLETED", "STOPPED"}
    assert search.statuses["COMPLETED"] >= 1
    check_figures(search)


def dies_again_and_again(directory: Path, seed: int) -> None:
    """Workers die at any time, and their driver after any record, until it has died often enough."""
    draw = random.Random(seed)
    search = Search(
        directory,
        draw.choice(STAGED),
        {"resource": draw.choice(["epochs", "shards"])},
        epochs=4,
        max_trials=8,
        parallelism=draw.choice([None, 1, 4]),
        metrics=by_epoch,
        seed=seed,
        store_seconds=draw.choice([0.0, 0.004, 0.02]),
        checkpoint=draw.random() < 0.8,
    )
    for _ in range(4):
        search.faults = kills(draw.randrange(10**6), 0.2, 3)
        try:
            with crash_after(draw.randint(5, 150)):
                search.run()
        except SimulatedCrash:
            continue
        break
    else:
        search.run()
    assert not search.hopper.unfinished
    assert set(search.statuses) <= {"COMPLETED", "STOPPED"}
    assert search.statuses["COMPLETED"] >= 1
    check_figures(search)


@pytest.mark.case(1, 9)
@pytest.mark.parametrize("seed", range(6))
def test_workers_and_drivers_that_die_change_no_figure(tmp_path: Path, seed: int) -> None:
    dies_again_and_again(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.case(1, 9)
def test_workers_and_drivers_that_die_change_no_figure_over_many_seeds(tmp_path: Path) -> None:
    for seed in range(100, 200):
        dies_again_and_again(tmp_path / str(seed), seed)
