"""What ends a search, and what ends a trial, before its time: budgets, rules, and limits of size and speed."""

from __future__ import annotations

import os
import re
import zlib
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_tuner
import pytest

from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend.simulated import SimulatedStore
from cerebro_nas.errors import BuildError
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import SearchAborted
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
from cerebro_nas.search import Settings
from cerebro_nas.search import StoppingRule
from cerebro_nas.search import replay
from cerebro_nas.stoppers import Curve
from cerebro_nas.stoppers import LearningCurveStopper
from cerebro_nas.stoppers import MedianStopper
from cerebro_nas.stoppers import PatienceStopper
from cerebro_nas.stoppers import Stopper
from cerebro_nas.stoppers import ThresholdStopper
from cerebro_nas.storage import Janitor
from cerebro_nas.storage import StateFiles
from cerebro_nas.testing import SimulatedCrash
from cerebro_nas.testing import crash_after
from cerebro_nas.testing import shard_search
from cerebro_nas.tracking import SilentReporter
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import make_tuner
from cerebro_nas.worker import CandidateSpec

TRAIN, VALID = [64, 64], [32]


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine fails here, and waiting for its disk is most of the time of a simulated search."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


def space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 1, 1000)
    return hp


class FakeSpace:
    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int) -> CandidateSpec:
        return CandidateSpec(trial, "", {}, (), (), seed=seed, parameters=int(hp.get("units")), flops=1)


def quality(spec: CandidateSpec) -> float:
    return zlib.crc32(f"{spec.parameters}".encode()) % 1000 / 1000


def learning(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
    value = quality(spec) * (1 - 0.5 ** (unit.epoch + 1))
    return {"loss": 1 - value, "accuracy": value}


def humped(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
    """Best after its second epoch, and worse from there on."""
    value = (0.5 + quality(spec) / 2) * (1 - 0.2 * abs(unit.epoch - 1))
    return {"loss": 1 - value, "accuracy": value}


class Listener(SilentReporter):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


@dataclass
class Search:
    """A search on simulated workers that may be run again on its directory."""

    directory: Path
    tuner: str = "random"
    options: dict[str, Any] = field(default_factory=dict)
    max_trials: int = 8
    epochs: int = 4
    parallelism: int | None = None
    metrics: Callable[[Unit, CandidateSpec], dict[str, float]] = learning
    seconds: Callable[[Unit, CandidateSpec], float] | None = None
    budgets: Budgets = field(default_factory=Budgets)
    stoppers: Sequence[Stopper] = ()
    rules: Sequence[StoppingRule] = ()
    max_latency_ms: float | None = None
    valid: list[int] = field(default_factory=lambda: list(VALID))
    space: FakeSpace = field(default_factory=FakeSpace)
    store: SimulatedStore = field(default_factory=SimulatedStore)
    listener: Listener = field(default_factory=Listener)
    because: str = ""

    def fresh(self) -> tuple[Hopper, Tuner, Books]:
        shards = shard_search(TRAIN, self.valid).shards
        hopper = Hopper(
            [ShardInfo(Shard(s.split, s.index), s.rows, s.nbytes) for s in shards],  # type: ignore[arg-type]
            num_workers=2,
            parallelism=self.parallelism,
            visit_order="fixed",
        )
        tuner = make_tuner(
            self.tuner,
            objective="val_accuracy",
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
            objectives=[("val_accuracy", "max")],
            max_trials=self.max_trials,
            epochs=self.epochs,
            num_workers=2,
        )
        return hopper, tuner, books

    def run(self) -> Search:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.hopper, self.made, self.books = self.fresh()
        self.backend = SimulatedBackend(2, metrics=self.metrics, seconds=self.seconds, store=self.store)
        self.states = StateFiles(str(self.directory / "states"))
        janitor = Janitor(self.states)
        try:
            with self.backend, Journal.open(self.journal) as journal:
                self.backend.start(shard_search(TRAIN, self.valid))
                self.driver = SearchDriver(self.parts(journal, janitor))
                self.because = self.driver.run()
                self.driver.wind_up(self.backend.stop())
        finally:
            janitor.close(5.0)
        return self

    def parts(self, journal: Journal, janitor: Janitor) -> SearchParts:
        return SearchParts(
            space=self.space,
            tuner=self.made,
            hopper=self.hopper,
            backend=self.backend,
            journal=journal,
            states=self.states,
            janitor=janitor,
            books=self.books,
            reporter=self.listener,
            rules=self.rules,
            boards=(),
            seed=5,
            stoppers=self.stoppers,
            budgets=self.budgets,
            max_latency_ms=self.max_latency_ms,
        )

    @property
    def journal(self) -> Path:
        return self.directory / "journal.jsonl"

    @property
    def size(self) -> int:
        with Journal.open(self.journal) as journal:
            return len(journal.records)

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        return self.books.records

    @property
    def outcomes(self) -> Counter[tuple[str, str]]:
        return Counter((record.status, record.reason) for record in self.records)

    @property
    def histories(self) -> dict[str, Any]:
        return {r.trial: (r.hyperparameters, r.status, r.reason, r.history) for r in self.records}

    def spent(self) -> str | None:
        best = self.books.best
        return self.budgets.spent(
            self.driver.now(), self.books.epochs_done, None if best is None else best.value, "max"
        )

    def check_kept(self) -> None:
        """The state of each trial's best epoch is kept, whatever ended the trial."""
        for record in self.records:
            if not record.history or record.status == "FAILED":
                continue
            best = self.states.best(record.trial)
            assert best is not None
            assert best.epoch == record.best_epoch("val_accuracy", "max")


# --- budgets ----------------------------------------------------------------------------------------------------------

TUNERS = ["random", "asha", "pbt"]
LIMITS: dict[str, Any] = {"time_budget": 0.06, "max_epochs_total": 9, "target": 0.55}


def is_spent(search: Search, limit: str) -> bool:
    best = search.books.best
    found = {
        "time_budget": search.driver.now(),
        "max_epochs_total": search.books.epochs_done,
        "target": -1.0 if best is None else best.value,
    }
    return bool(found[limit] >= LIMITS[limit])


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("tuner", [*TUNERS, "asha shards"])
def test_a_search_ends_with_what_it_has_once_a_budget_is_used_up(tmp_path: Path, tuner: str, limit: str) -> None:
    budgets, (name, *resource) = Budgets.make(**{limit: LIMITS[limit]}), tuner.split()
    options = {"resource": resource[0]} if resource else {}
    search = Search(tmp_path, name, options, max_trials=40, budgets=budgets, metrics=humped).run()
    assert is_spent(search, limit)
    assert search.because == search.spent()
    assert len(search.records) < 40
    assert not search.hopper.unfinished
    reason = "target" if limit == "target" else "budget"
    assert search.outcomes["STOPPED", reason] >= 1
    reasons = {found for status, found in search.outcomes if status == "STOPPED"}
    assert all(found in (reason, "not_promoted") or "replaced" in found for found in reasons)
    search.check_kept()
    # What ran then was not waited for.
    assert search.books.epochs_done <= 9 + 4 or limit != "max_epochs_total"
    last = max((entry.started for entry in search.hopper.log), default=0.0)
    assert last <= LIMITS["time_budget"] or limit != "time_budget"


@pytest.mark.parametrize("tuner", TUNERS)
def test_budgets_that_are_not_used_up_change_nothing(tmp_path: Path, tuner: str) -> None:
    free = Search(tmp_path / "free", tuner).run()
    rich = Search(tmp_path / "rich", tuner, budgets=Budgets.make(time_budget="4h", max_epochs_total=999, target=2.0))
    assert rich.run().histories == free.histories
    assert rich.because == free.because
    assert ("STOPPED", "budget") not in free.outcomes


def test_the_first_trial_is_enough_to_reach_a_target(tmp_path: Path) -> None:
    search = Search(tmp_path, budgets=Budgets.make(target=0.0), parallelism=1).run()
    assert search.outcomes == {("STOPPED", "target"): 1}
    assert search.because.startswith("the target is reached: ")


@pytest.mark.parametrize("limit", LIMITS)
def test_a_search_that_a_budget_ended_stays_as_it_is(tmp_path: Path, limit: str) -> None:
    search = Search(tmp_path, max_trials=40, budgets=Budgets.make(**{limit: LIMITS[limit]})).run()
    found, because = search.histories, search.because
    again = replace(search, listener=Listener()).run()
    assert again.histories == found
    assert again.because == because
    done, done_again = ([e for e in s.hopper.log if e.outcome == "done"] for s in (search, again))
    assert done_again == done


@pytest.mark.case(33)
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("tuner", ["random", "asha", "hyperband"])
def test_a_budget_that_is_raised_lets_the_search_go_on(tmp_path: Path, tuner: str, limit: str) -> None:
    first = Search(tmp_path, tuner, max_trials=30, budgets=Budgets.make(**{limit: LIMITS[limit]})).run()
    found, took = first.histories, first.driver.now()
    factor = 1.3 if limit == "target" else 3
    raised = Budgets.make(**{limit: LIMITS[limit] * factor})
    again = replace(first, budgets=raised).run()
    assert len(again.records) > len(found)
    assert {trial: again.histories[trial] for trial in found} == found
    assert again.driver.started == pytest.approx(took, abs=0.01)
    assert again.spent() == again.because or len(again.records) == 30
    again.check_kept()
    # Without any, it ends as every search does.
    last = replace(again, budgets=Budgets()).run()
    assert len(last.records) == 30
    assert not last.hopper.unfinished
    last.check_kept()


def test_time_counts_over_all_sessions(tmp_path: Path) -> None:
    search = Search(tmp_path, max_trials=40, budgets=Budgets.make(time_budget=0.1))
    with pytest.raises(SimulatedCrash), crash_after(60):
        search.run()
    search.run()
    assert search.driver.started > 0.02
    assert 0.1 <= search.driver.now() < 0.12
    assert search.backend.now() < 0.1


@pytest.mark.case(9)
@pytest.mark.parametrize("limit", ["max_epochs_total", "target"])
def test_a_driver_killed_around_the_end_of_a_budget_ends_alike(tmp_path: Path, limit: str) -> None:
    def search(name: str) -> Search:
        return Search(tmp_path / name, "asha", parallelism=1, budgets=Budgets.make(**{limit: LIMITS[limit]}))

    whole = search("whole").run()
    with Journal.open(whole.journal) as journal:
        spent = next(record.seq for record in journal.records if record.kind == "exhausted")
    for k in range(spent - 3, whole.size + 1):
        killed = search(f"killed-{k}")
        with pytest.raises(SimulatedCrash), crash_after(k):
            killed.run()
        assert killed.run().histories == whole.histories, f"after record {k}"
        assert killed.because == whole.because, f"after record {k}"


@pytest.mark.case(9, 33)
def test_a_budget_that_was_raised_is_not_why_a_search_ended(tmp_path: Path) -> None:
    search = Search(tmp_path / "whole", max_trials=2, budgets=Budgets.make(target=0.0)).run()
    with Journal.open(search.journal) as journal:
        spent = next(record.seq for record in journal.records if record.data.get("reason", "").startswith("the target"))
    killed = replace(search, directory=tmp_path / "killed", store=SimulatedStore())
    with pytest.raises(SimulatedCrash), crash_after(spent):
        killed.run()
    again = replace(killed, budgets=Budgets()).run()
    assert again.because == "all 2 trials are done"
    assert again.outcomes == {("COMPLETED", "completed"): 2}


# --- rules ------------------------------------------------------------------------------------------------------------

RULES: list[Stopper] = [
    MedianStopper(min_trials=2, start_epoch=2, among="all"),
    LearningCurveStopper(threshold=0.4, min_epochs=2, min_trials=2),
    PatienceStopper(2),
    ThresholdStopper(0.55, 2),
]
STOPPER_NAMES = dict(zip(map(type, RULES), ["median", "learning_curve", "patience", "threshold"], strict=True))


@pytest.mark.parametrize("stopper", RULES, ids=lambda rule: type(rule).__name__)
def test_a_rule_stops_trials_and_keeps_what_they_reached(tmp_path: Path, stopper: Stopper) -> None:
    free = Search(tmp_path / "free", epochs=6, max_trials=10, metrics=humped).run()
    search = Search(tmp_path / "ruled", epochs=6, max_trials=10, metrics=humped, stoppers=[stopper]).run()
    stopped = [record for record in search.records if record.status == "STOPPED"]
    assert {record.reason for record in stopped} == {STOPPER_NAMES[type(stopper)]}
    told = [message for message in search.listener.messages if message.startswith("Trial ")]
    assert len(told) == len(stopped)
    for record in stopped:
        assert 1 <= len(record.history) < 6
        assert any(message.startswith(f"Trial {record.trial} is stopped: ") for message in told)
    # What is not stopped is as it is without the rule.
    whole = {record.trial: record for record in free.records}
    for record in search.records:
        assert record.history == whole[record.trial].history[: len(record.history)]
    assert search.outcomes["COMPLETED", "completed"] + len(stopped) == 10
    assert len(free.listener.messages) == 0
    assert free.outcomes == {("COMPLETED", "completed"): 10}
    search.check_kept()


@pytest.mark.parametrize("stopper", [PatienceStopper(2), ThresholdStopper(0.55, 2)], ids=["patience", "threshold"])
def test_rules_that_look_at_one_trial_stop_it_where_they_say(tmp_path: Path, stopper: Stopper) -> None:
    free = Search(tmp_path / "free", epochs=6, metrics=humped).run()
    search = Search(tmp_path / "ruled", epochs=6, metrics=humped, stoppers=[stopper]).run()
    for before, record in zip(free.records, search.records, strict=True):
        values = tuple(metrics["val_accuracy"] for metrics in before.history)
        said = [stopper.should_stop(Curve(values[: n + 1], planned=6), {}) is not None for n in range(5)]
        assert len(record.history) == (said.index(True) + 1 if any(said) else 6)


class Note(Stopper):
    """Writes down what it is told; stops nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[Curve, dict[str, Curve]]] = []

    def should_stop(self, trial: Curve, others: Mapping[str, Curve]) -> str | None:
        self.asked.append((trial, dict(others)))
        return None


def test_a_rule_is_told_of_all_others_that_were_trained(tmp_path: Path) -> None:
    note = Note()
    search = Search(tmp_path, stoppers=[note]).run()
    free = Search(tmp_path / "free").run()
    assert search.histories == free.histories
    # After every epoch of each trial but the last one, when there is nothing left to stop.
    assert len(note.asked) == 8 * 3
    trial, others = note.asked[-1]
    assert len(others) == 7
    assert (trial.planned, trial.direction, trial.ended) == (4, "max", False)
    assert sum(curve.ended for curve in others.values()) >= 4
    assert all(curve.epochs == 4 for curve in others.values() if curve.ended)
    assert note.asked[0][0].epochs == 1


def test_a_trial_that_is_done_is_not_said_to_be_stopped(tmp_path: Path) -> None:
    rules = [StoppingRule("val_accuracy", "max", patience=3)]
    falling = Search(
        tmp_path,
        metrics=lambda unit, spec: {"loss": 1.0, "accuracy": 1 - unit.epoch / 10},
        stoppers=[PatienceStopper(3)],
        rules=rules,
    ).run()
    # Both would stop it after its fourth epoch, which is its last.
    assert falling.outcomes == {("COMPLETED", "completed"): 8}
    assert falling.listener.messages == []
    with Journal.open(falling.journal) as journal:
        assert [record for record in journal.records if record.kind == "stop"] == []


def test_the_first_rule_that_speaks_gives_the_reason(tmp_path: Path) -> None:
    search = Search(tmp_path, stoppers=[ThresholdStopper(-1.0, 1), ThresholdStopper(2.0, 2), PatienceStopper(1)])
    assert search.run().outcomes == {("STOPPED", "threshold"): 8}
    assert all("worse than 2" in message for message in search.listener.messages)


@pytest.mark.parametrize("tuner", ["asha", "hyperband", "pbt"])
def test_a_rule_and_a_tuner_that_promotes_get_along(tmp_path: Path, tuner: str) -> None:
    """What a rule stops as it pauses is not promoted; others are."""
    search = Search(tmp_path, tuner, max_trials=12, epochs=9, stoppers=[ThresholdStopper(0.3, 1)]).run()
    stopped = [record for record in search.records if record.reason == "threshold"]
    assert stopped
    assert all(len(record.history) == 1 and record.status == "STOPPED" for record in stopped)
    with Journal.open(search.journal) as journal:
        promoted = {record.data["trial"] for record in journal.records if record.kind == "promoted"}
    assert promoted
    assert not promoted & {record.trial for record in stopped}
    assert search.outcomes["COMPLETED", "completed"] >= 1
    assert not search.hopper.unfinished


@pytest.mark.case(9)
@pytest.mark.parametrize("k", [20, 45, 70])
def test_a_search_that_is_gone_on_with_stops_the_same_trials(tmp_path: Path, k: int) -> None:
    def search(name: str) -> Search:
        return Search(tmp_path / name, "asha", max_trials=10, parallelism=1, stoppers=[ThresholdStopper(0.3, 1)])

    whole, killed = search("whole").run(), search("killed")
    assert whole.size > 70
    with pytest.raises(SimulatedCrash), crash_after(k):
        killed.run()
    assert killed.run().histories == whole.histories


# --- speed ------------------------------------------------------------------------------------------------------------


def crawling(unit: Unit, spec: CandidateSpec) -> float:
    """Every third candidate takes 10 ms a row, the others 1 ms."""
    return 0.01 * 32 if int(spec.trial) % 3 == 0 and unit.phase == "evaluate" else 0.032


@pytest.mark.parametrize("epochs", [1, 2, 4])
@pytest.mark.parametrize("tuner", ["random", "asha", "hyperband", "pbt"])
def test_a_candidate_that_is_too_slow_fails_after_its_first_evaluation(tmp_path: Path, tuner: str, epochs: int) -> None:
    search = Search(tmp_path, tuner, epochs=epochs, max_trials=12, seconds=crawling, max_latency_ms=5.0).run()
    slow = [record for record in search.records if int(record.trial) % 3 == 0]
    assert {(record.status, record.reason) for record in slow} == {("FAILED", "too_slow")}
    assert all(len(record.history) == 1 for record in slow)
    assert all(record.cost.latency_ms == pytest.approx(10.0) for record in slow)
    assert [record.reason for record in search.records].count("too_slow") == len(slow)
    assert any("10 ms a row are more than max_latency_ms=5.0" in message for message in search.listener.messages)
    assert search.outcomes["COMPLETED", "completed"] >= 1
    # The tuner knows that they failed.
    assert {search.made.oracle.trials[record.trial].status for record in slow} == {"FAILED"}
    assert not search.hopper.unfinished


def test_speed_is_no_matter_where_it_is_not_limited_or_not_measured(tmp_path: Path) -> None:
    free = Search(tmp_path / "free", seconds=crawling).run()
    assert free.outcomes == {("COMPLETED", "completed"): 8}
    blind = Search(
        tmp_path / "blind",
        seconds=crawling,
        max_latency_ms=5.0,
        valid=[],
        metrics=lambda unit, spec: {"loss": 1.0, "val_accuracy": 0.5},
    ).run()
    assert blind.outcomes == {("COMPLETED", "completed"): 8}


def test_a_candidate_that_is_too_slow_reaches_no_target_and_is_not_the_best(tmp_path: Path) -> None:
    def metrics(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
        return {"loss": 1.0, "accuracy": 0.9 if int(spec.trial) % 3 == 0 else 0.5}

    search = Search(
        tmp_path, metrics=metrics, seconds=crawling, max_latency_ms=5.0, budgets=Budgets.make(target=0.8)
    ).run()
    assert search.outcomes == {("FAILED", "too_slow"): 3, ("COMPLETED", "completed"): 5}
    assert search.books.best is not None
    assert search.books.best.value == 0.5


@pytest.mark.case(9)
@pytest.mark.parametrize(("tuner", "epochs"), [("random", 1), ("asha", 4)])
def test_replaying_a_search_with_slow_candidates_ends_in_the_same_state(
    tmp_path: Path, tuner: str, epochs: int
) -> None:
    search = Search(tmp_path, tuner, epochs=epochs, seconds=crawling, max_latency_ms=5.0).run()
    hopper, made, books = search.fresh()
    with Journal.open(search.journal) as journal:
        replay(Ledger(hopper, made, books), journal.records)
    assert books.records == search.records
    assert books.best == search.books.best


def test_a_search_in_which_all_are_too_slow_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(SearchAborted, match="all failed with reason 'too_slow'.*more than max_latency_ms=0.5"):
        Search(tmp_path, max_trials=60, max_latency_ms=0.5, seconds=crawling).run()


# --- size -------------------------------------------------------------------------------------------------------------


class SmallOnes(FakeSpace):
    """As the real search space refuses: with what the candidate would have cost."""

    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int) -> CandidateSpec:
        spec = super().build(hp, trial=trial, seed=seed)
        flops = 2 * spec.parameters
        if flops > 1000:
            raise BuildError(f"{flops} operations", reason="oversized", parameters=spec.parameters)
        return replace(spec, flops=flops)


@pytest.mark.case(17)
@pytest.mark.parametrize("tuner", TUNERS)
def test_a_candidate_of_too_many_operations_is_never_trained(tmp_path: Path, tuner: str) -> None:
    search = Search(tmp_path, tuner, space=SmallOnes()).run()
    rejected = [record for record in search.records if record.status == "REJECTED"]
    assert rejected
    assert {record.reason for record in rejected} == {"oversized"}
    assert not {record.trial for record in rejected} & {entry.unit.trial for entry in search.hopper.log}
    given = [record for record in search.records if record.status != "REJECTED"]
    assert len(given) == 8
    assert all(record.cost.flops == 2 * record.hyperparameters["units"] <= 1000 for record in given)


# --- values that make no sense ----------------------------------------------------------------------------------------


WRONG: dict[tuple[str, str], list[Any]] = {
    ("time_budget", "must be a duration above 0"): ["soon", "4", "0h", -1, True, [1], {}],
    ("max_epochs_total", "must be a positive integer"): [0, -1, 1.5, "3", True, []],
    ("target", "must be a finite number"): ["0.9", float("nan"), float("inf"), True, [0.9]],
    ("stoppers", "must be rules such as"): ["medain", 3, ["median", None], MedianStopper, {}],
    ("max_flops", "must be a positive integer"): [0, -5, 0.5, "1e6", True],
    ("max_latency_ms", "must be milliseconds above 0"): [0, -1.0, "5", True, float("nan")],
}


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("name", "told", "value"), [(*key, value) for key, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_one_clear_error(name: str, told: str, value: Any) -> None:
    settings = Settings()
    settings.update(**{name: value})
    with pytest.raises(ConfigError) as caught:
        settings.check()
    text = str(caught.value)
    assert text.startswith(f"`{name}` {told}")
    assert re.search(rf"Received: {name}=", text)
    assert text.count("Received:") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("time_budget", value) for value in ("4h", "90m", 3600, 0.5)),
        ("max_epochs_total", 1),
        *(("target", value) for value in (0, -1.5, 1)),
        *(("stoppers", value) for value in ("median", ["median", PatienceStopper(3)], (), LearningCurveStopper())),
        ("max_flops", 1),
        *(("max_latency_ms", value) for value in (1, 0.001)),
    ],
)
def test_values_that_make_sense(name: str, value: Any) -> None:
    settings = Settings()
    settings.update(**{name: value})
    settings.check()
