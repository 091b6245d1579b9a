"""A driver that dies anywhere, and one that takes its place: the leaderboard is that of a search without the death."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import Literal

import keras_tuner
import pytest

from cerebro_nas.backend import BackendEvent
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import FailUnit
from cerebro_nas.backend.simulated import Fault
from cerebro_nas.backend.simulated import Kill
from cerebro_nas.backend.simulated import SimulatedStore
from cerebro_nas.errors import BuildError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import FencedError
from cerebro_nas.errors import ResumeMismatchError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.errors import StoreError
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import Unit
from cerebro_nas.journal import Journal
from cerebro_nas.search import Books
from cerebro_nas.search import Ledger
from cerebro_nas.search import SearchDriver
from cerebro_nas.search import SearchParts
from cerebro_nas.search import StoppingRule
from cerebro_nas.search import replay
from cerebro_nas.storage import Janitor
from cerebro_nas.storage import StateFiles
from cerebro_nas.testing import SimulatedCrash
from cerebro_nas.testing import crash_after
from cerebro_nas.testing import shard_search
from cerebro_nas.tracking import SilentReporter
from cerebro_nas.tracking import leaderboard
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import make_tuner
from cerebro_nas.worker import CandidateSpec

TRAIN, VALID = [64, 64], [32]


def _space(tuner: str) -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 1, 1000)
    if tuner == "cmaes":
        hp.Float("rate", 0.0, 1.0)
    hp.Choice("activation", ["relu", "tanh", "elu"])
    return hp


# Tuners with settings of their own, under names of their own.
_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "tpe": ("tpe", {"n_startup_jobs": 1}),
    "asha": ("asha", {"resource": "shards", "factor": 2}),
    "hyperband": ("hyperband", {"factor": 2}),
    "pbt": ("pbt", {"population_size": 2, "truncation": 0.5}),
    "heirs": ("evolution", {"population_size": 1, "sample_size": 1, "inherit_weights": True}),
}


class FakeSpace:
    """Candidates of a number of parameters; every fourth cannot be built."""

    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int) -> CandidateSpec:
        units = int(hp.get("units"))
        if units % 4 == 0:
            raise BuildError("a multiple of four", parameters=units)
        return CandidateSpec(trial, "", {}, (), (), seed=seed, parameters=units)


def _metrics(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
    """Follows from trial and epoch alone; some candidates get worse and stop, some become no number."""
    if spec.parameters % 7 == 0 and unit.epoch == 1:
        return {"loss": math.nan, "accuracy": math.nan if unit.phase == "evaluate" else 0.5}
    slope = math.sin(spec.parameters)
    return {"loss": 1.0, "accuracy": 0.5 + 0.1 * slope * unit.epoch + 0.3 * math.cos(spec.parameters)}


class Batching(SimulatedBackend):
    """Hands out what happened within 10 ms at once, as a real backend does while its driver is busy."""

    def events(self, timeout: float) -> list[BackendEvent]:
        found, until = super().events(timeout), self.now() + 0.01
        while found and self.now() < until:
            found += super().events(until - self.now())
        return found


@dataclass
class Plan:
    """A search that can be run any number of times on one directory."""

    directory: Path
    tuner: str | keras_tuner.Oracle = "random"
    max_trials: int = 5
    epochs: int = 3
    parallelism: int | None = None
    faults: tuple[Fault, ...] = ()
    num_workers: int = 2
    visit_order: Literal["adaptive", "fixed"] = "adaptive"
    store_seconds: float = 0.001
    store: SimulatedStore = field(default_factory=SimulatedStore)
    kind: type[SimulatedBackend] = SimulatedBackend

    def __post_init__(self) -> None:
        self.books: Books | None = None
        self.told: dict[str, Any] = {}

    def fresh(self) -> tuple[Hopper, Tuner, Books]:
        shards = shard_search(TRAIN, VALID).shards
        hopper = Hopper(
            [ShardInfo(Shard(s.split, s.index), s.rows, s.nbytes) for s in shards],  # type: ignore[arg-type]
            num_workers=self.num_workers,
            parallelism=self.parallelism,
            visit_order=self.visit_order,
        )
        name, options = _OPTIONS.get(str(self.tuner), (self.tuner, {}))
        tuner = make_tuner(
            name,
            objective="val_accuracy",
            max_trials=self.max_trials,
            hyperparameters=_space(str(self.tuner)),
            seed=None if isinstance(self.tuner, keras_tuner.Oracle) else 7,
            directory=str(self.directory / "tuner"),
            max_epochs=self.epochs,
            num_shards=len(TRAIN),
            **options,
        )
        books = Books(
            project="p",
            tuner=str(self.tuner),
            objectives=[("val_accuracy", "max")],
            max_trials=self.max_trials,
            epochs=self.epochs,
            num_workers=self.num_workers,
        )
        return hopper, tuner, books

    def run(self) -> Plan:
        self.directory.mkdir(parents=True, exist_ok=True)
        backend = self.kind(
            self.num_workers,
            metrics=_metrics,
            faults=self.faults,
            store=self.store,
            store_seconds=self.store_seconds,
            hop_seconds=0.0005,
        )
        hopper, tuner, books = self.fresh()
        states = StateFiles(str(self.directory / "states"))
        janitor = Janitor(states)
        try:
            with backend, Journal.open(self.directory / "journal.jsonl") as journal:
                backend.start(shard_search(TRAIN, VALID))
                driver = SearchDriver(
                    SearchParts(
                        space=FakeSpace(),
                        tuner=tuner,
                        hopper=hopper,
                        backend=backend,
                        journal=journal,
                        states=states,
                        janitor=janitor,
                        books=books,
                        reporter=SilentReporter(),
                        rules=[StoppingRule("val_accuracy", "max", patience=1)],
                        boards=(),
                        seed=7,
                    )
                )
                driver.run()
                driver.wind_up(backend.stop())
        finally:
            janitor.close(5.0)
        self.books = books
        self.told = _told(tuner)
        return self

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The leaderboard without what depends on the clock."""
        if self.books is None:
            raise RuntimeError("run it first")
        table = leaderboard(self.books.records, "val_accuracy", "max")
        rows = table.drop(
            columns=[c for c in table.columns if c in ("cost.seconds", "cost.units", "cost.latency_ms")]
        ).to_dict("records")
        return sorted(({str(k): repr(v) for k, v in row.items()} for row in rows), key=lambda row: row["trial"])

    @property
    def journal(self) -> Path:
        return self.directory / "journal.jsonl"


def _told(tuner: Tuner) -> dict[str, Any]:
    """What the tuner knows."""
    found: dict[str, Any] = json.loads(json.dumps(tuner.oracle.get_state()))
    return found


def _without_name(row: dict[str, Any]) -> list[tuple[str, Any]]:
    return [item for item in row.items() if item[0] != "trial"]


def _refuse() -> CandidateSpec:
    raise BuildError("too large", reason="oversized", parameters=10**9)


def _records(path: Path) -> int:
    with Journal.open(path) as journal:
        return len(journal.records)


@pytest.mark.case(9)
@pytest.mark.parametrize(
    ("max_trials", "epochs"), [(3, 2), pytest.param(6, 3, marks=pytest.mark.chaos)], ids=["small", "larger"]
)
@pytest.mark.parametrize(
    ("tuner", "parallelism"),
    # What an asynchronous tuner proposes next follows from what came first, unless one trial runs at a time.
    [
        ("random", None),
        ("grid", 3),
        *((name, 1) for name in ("greedy", "tpe", "cmaes", "rl", "asha", "hyperband", "pbt", "heirs")),
    ],
)
def test_a_driver_killed_after_any_record_is_taken_over(
    tmp_path: Path, tuner: str, parallelism: int | None, max_trials: int, epochs: int
) -> None:
    def search(name: str) -> Plan:
        return Plan(tmp_path / name, tuner, max_trials, epochs, parallelism)

    whole = search("whole").run()
    assert "'COMPLETED'" in {row["status"] for row in whole.rows}
    for k in range(1, _records(whole.journal) + 1):
        plan = search("killed")
        shutil.rmtree(plan.directory, ignore_errors=True)
        with pytest.raises(SimulatedCrash), crash_after(k):
            plan.run()
        assert plan.run().rows == whole.rows, f"after record {k}"


@pytest.mark.case(9)
def test_nothing_is_left_undecided_where_events_come_in_batches(tmp_path: Path) -> None:
    """What one event led to is decided before the next one is written down."""

    def search(name: str) -> Plan:
        return Plan(tmp_path / name, max_trials=6, epochs=4, num_workers=4, kind=Batching)

    whole = search("whole").run()
    assert {"'STOPPED'", "'FAILED'"} & {row["status"] for row in whole.rows}
    with Journal.open(whole.journal) as journal:
        evaluations = [r.seq for r in journal.records if r.data.get("unit", {}).get("phase") == "evaluate"]
    for k in evaluations:
        plan = search(f"killed-{k}")
        with pytest.raises(SimulatedCrash), crash_after(k):
            plan.run()
        assert plan.run().rows == whole.rows, f"after record {k}"


@pytest.mark.case(33)
@pytest.mark.parametrize(("before", "after"), [(4, 1), (1, 4), (3, 2)])
def test_another_number_of_workers_goes_on_with_it(tmp_path: Path, before: int, after: int) -> None:
    whole = Plan(tmp_path / "whole").run()
    for k in (3, 12, 30, 60):
        store = SimulatedStore()
        first = Plan(tmp_path / f"a{k}", num_workers=before, store=store)
        with pytest.raises(SimulatedCrash), crash_after(k):
            first.run()
        assert Plan(first.directory, num_workers=after, store=store).run().rows == whole.rows, f"after record {k}"


@pytest.mark.case(17)
def test_a_search_given_up_for_rejections_can_be_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(tmp_path / "a", max_trials=2)
    with monkeypatch.context() as patch:
        patch.setattr(FakeSpace, "build", lambda self, hp, *, trial, seed: _refuse())
        with pytest.raises(SearchAborted, match="in 50 samples"):
            plan.run()
    # Somebody made the limit higher, or the blocks smaller.
    assert [row["status"] for row in plan.run().rows].count("'REJECTED'") >= 50
    assert plan.books is not None
    assert sum(record.status in ("COMPLETED", "STOPPED", "FAILED") for record in plan.books.records) == 2


@pytest.mark.case(14)
def test_a_mark_that_cannot_be_written_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, calls = StateFiles.mark_best, itertools.count()

    def stumbles(self: StateFiles, *arguments: Any) -> None:
        if next(calls) < 3:
            raise StoreError("the disk stumbled")
        mark(self, *arguments)

    monkeypatch.setattr(StateFiles, "mark_best", stumbles)
    plan = Plan(tmp_path / "a").run()
    states = StateFiles(str(plan.directory / "states"))
    assert plan.books is not None
    for record in plan.books.records:
        if record.status in ("COMPLETED", "STOPPED"):
            best = states.best(record.trial)
            assert best is not None
            assert best.epoch == record.best_epoch("val_accuracy", "max")


@pytest.mark.case(9)
def test_a_driver_killed_again_and_again_gets_there(tmp_path: Path) -> None:
    whole = Plan(tmp_path / "whole").run()
    plan = Plan(tmp_path / "killed")
    deaths = 0
    while True:
        try:
            with crash_after(16):
                plan.run()
        except SimulatedCrash:
            deaths += 1
        else:
            break
    assert deaths > 3
    assert plan.rows == whole.rows


@pytest.mark.case(1)
@pytest.mark.case(9)
@pytest.mark.parametrize("k", [9, 30, 55])
def test_workers_and_the_driver_may_both_die(tmp_path: Path, k: int) -> None:
    whole = Plan(tmp_path / "whole").run()
    faults = (Kill("w0", 0.01, back_after=0.01), Kill("w1", 0.02, back_after=0.01), FailUnit(reason="error", times=2))
    store = SimulatedStore()
    plan = Plan(tmp_path / "killed", faults=faults, store=store)
    with pytest.raises(SimulatedCrash), crash_after(k):
        plan.run()
    # Not again: a trial that three workers die with is given up.
    assert Plan(plan.directory, store=store).run().rows == whole.rows


@pytest.mark.parametrize(
    ("name", "store_seconds"),
    [
        *((name, 0.001) for name in ("greedy", "bayesian", "cmaes", "rl", "asha", "hyperband", "pbt", "heirs")),
        # Children wait for the states of their parents, and other things happen meanwhile.
        *((name, 0.02) for name in ("pbt", "heirs")),
    ],
)
def test_replaying_a_journal_gives_the_state_it_ended_in(tmp_path: Path, name: str, store_seconds: float) -> None:
    faults = (Kill("w0", 0.02, back_after=0.01), FailUnit(reason="error", times=2))
    plan = Plan(tmp_path / "a", name, max_trials=8, faults=faults, store_seconds=store_seconds).run()
    hopper, tuner, books = plan.fresh()
    with Journal.open(plan.journal) as journal:
        replay(Ledger(hopper, tuner, books), journal.records)
        kinds = {record.kind for record in journal.records}
    assert plan.books is not None
    assert books.records == plan.books.records
    assert _told(tuner) == plan.told
    assert hopper.finished
    assert store_seconds < 0.01 or "proposed" in kinds


def test_a_finished_search_stays_as_it_is(tmp_path: Path) -> None:
    plan = Plan(tmp_path / "a").run()
    rows, best = plan.rows, [StateFiles(str(plan.directory / "states")).best(row["trial"][1:-1]) for row in plan.rows]
    again = Plan(tmp_path / "a").run()
    assert again.rows == rows
    assert [StateFiles(str(plan.directory / "states")).best(row["trial"][1:-1]) for row in rows] == best


@pytest.mark.case(33)
@pytest.mark.parametrize("k", [None, 20])
def test_more_trials_may_be_asked_for(tmp_path: Path, k: int | None) -> None:
    whole = Plan(tmp_path / "whole", max_trials=9).run()
    first = Plan(tmp_path / "a", max_trials=5)
    if k is None:
        first.run()
    else:
        with pytest.raises(SimulatedCrash), crash_after(k):
            first.run()
    rows = Plan(tmp_path / "a", max_trials=9).run().rows
    # KerasTuner pads the names of trials to the width of `max_trials`.
    assert sorted(_without_name(row) for row in rows) == sorted(_without_name(row) for row in whole.rows)


@pytest.mark.case(33)
def test_new_trials_train_for_more_epochs_where_more_are_asked_for(tmp_path: Path) -> None:
    Plan(tmp_path / "a", max_trials=2).run()
    plan = Plan(tmp_path / "a", max_trials=6, epochs=6).run()
    assert plan.books is not None
    epochs = [record.cost.epochs for record in plan.books.records if record.status == "COMPLETED"]
    assert epochs[0] == 3
    assert epochs[-1] == 6


def test_an_oracle_that_follows_from_no_seed_gets_its_trials_back(tmp_path: Path) -> None:
    """KerasTuner's own draw anew in every process; what was begun is finished, not begun again."""

    def oracle() -> keras_tuner.Oracle:
        return keras_tuner.oracles.RandomSearchOracle(
            objective=keras_tuner.Objective("val_accuracy", "max"), max_trials=5
        )

    with pytest.raises(SimulatedCrash), crash_after(40):
        Plan(tmp_path / "a", oracle()).run()
    with Journal.open(tmp_path / "a" / "journal.jsonl") as journal:
        given = {r.data["trial"]: r.data["values"] for r in journal.records if r.kind in ("trial", "rejected")}
    assert len(given) > 2
    plan = Plan(tmp_path / "a", oracle()).run()
    assert plan.books is not None
    found = {record.trial: record.hyperparameters for record in plan.books.records}
    assert {trial: found[trial] for trial in given} == given


@pytest.mark.case(11)
def test_a_torn_record_is_as_if_it_had_not_been_written(tmp_path: Path) -> None:
    whole = Plan(tmp_path / "whole").run()
    plan = Plan(tmp_path / "a")
    with pytest.raises(SimulatedCrash), crash_after(25):
        plan.run()
    plan.journal.write_bytes(plan.journal.read_bytes()[:-9])
    assert plan.run().rows == whole.rows
    assert list(plan.directory.glob("journal.jsonl.torn-*"))


@pytest.mark.case(11)
def test_a_record_that_cannot_follow_is_damage(tmp_path: Path) -> None:
    plan = Plan(tmp_path / "a")
    with pytest.raises(SimulatedCrash), crash_after(25):
        plan.run()
    with Journal.open(plan.journal) as journal:
        journal.append(
            "run", {"worker": "w9", "unit": {"trial": "z", "phase": "train", "epoch": 0, "shard": None}}, 9.0
        )
    with pytest.raises(CorruptStateError, match=r"record 26 \(run\) cannot follow"):
        plan.run()


@pytest.mark.case(11)
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("event", {"type": "Nothing"}),
        ("event", {"type": "UnitDone", "worker": 3}),
        ("run", {"unit": {}}),
        ("stop", {"trial": "0", "status": "GONE"}),
        ("trial", {"trial": "0"}),
        ("odd", {}),
        ("session", {"limits": 3}),
    ],
)
def test_a_record_that_says_nothing_is_damage(tmp_path: Path, kind: str, data: dict[str, Any]) -> None:
    hopper, tuner, books = Plan(tmp_path).fresh()
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        journal.append(kind, data, 0.0)
    with Journal.open(tmp_path / "journal.jsonl") as journal, pytest.raises((CorruptStateError, ResumeMismatchError)):
        replay(Ledger(hopper, tuner, books), journal.records)


def test_a_specification_that_was_changed_is_built_again(tmp_path: Path) -> None:
    whole = Plan(tmp_path / "whole").run()
    plan = Plan(tmp_path / "a")
    with pytest.raises(SimulatedCrash), crash_after(15):
        plan.run()
    states = StateFiles(str(plan.directory / "states"))
    for trial in states.trials():
        states.write_spec(trial, CandidateSpec(trial, "evil", {}, (), ()).to_json())
    assert plan.run().rows == whole.rows
    assert all("evil" not in states.read_spec(trial) for trial in states.trials()[-2:])


@pytest.mark.case(27)
def test_a_driver_that_was_replaced_writes_nothing_more(tmp_path: Path) -> None:
    plan = Plan(tmp_path / "a", max_trials=2)
    plan.run()
    with Journal.open(plan.journal) as old:
        plan.max_trials = 3
        plan.run()
        size = plan.journal.stat().st_size
        with pytest.raises(FencedError):
            old.append("event", {}, 0.0)
    assert plan.journal.stat().st_size == size
