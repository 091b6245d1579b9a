"""The books: what was done, what it gave, and what a display is shown."""

from __future__ import annotations

import math

import pytest

from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitReport
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.search import Books
from cerebro_nas.tracking import Direction
from cerebro_nas.tracking import SearchView
from cerebro_nas.tracking import TrialCost

SHARDS = [ShardInfo(Shard("train", 0), 10, 10), ShardInfo(Shard("valid", 0), 5, 5)]


def _books(
    direction: Direction = "max", max_trials: int | None = 4, objective: str = "val_accuracy", purpose: str = ""
) -> Books:
    return Books(
        project="p",
        tuner="greedy",
        objectives=[(objective, direction)],
        max_trials=max_trials,
        epochs=3,
        num_workers=1,
        purpose=purpose,
    )


def _unit(trial: str) -> Unit:
    return Unit(trial, "train", 0, Shard("train", 0))


def _report(seconds: float = 2.0, busy: float = 1.0) -> UnitReport:
    return UnitReport(rows=10, metrics={}, seconds=seconds, busy_seconds=busy)


def _epochs(books: Books, trial: str, values: list[float]) -> list[bool]:
    return [books.epoch(trial, epoch, {"val_accuracy": value}) for epoch, value in enumerate(values)]


def test_a_trial_from_its_beginning_to_its_end() -> None:
    books = _books()
    books.open("a", {"units": 8}, TrialCost(parameters=100))
    assert books["a"].status == "WAITING"
    books.unit("w0", _unit("a"), _report(2.0))
    books.unit("w1", _unit("a"), _report(3.0))
    assert books["a"].status == "RUNNING"
    _epochs(books, "a", [0.5, 0.7])
    books.close("a", "COMPLETED", "completed")
    record = books["a"]
    assert (record.status, record.reason, record.hyperparameters) == ("COMPLETED", "completed", {"units": 8})
    assert (record.cost.parameters, record.cost.seconds, record.cost.epochs, record.cost.units) == (100, 5.0, 2, 2)
    assert record.metrics == {"val_accuracy": 0.7}
    assert [metrics["val_accuracy"] for metrics in record.history] == [0.5, 0.7]


def test_the_hyperparameters_are_kept_as_they_were() -> None:
    books, values = _books(), {"units": 8}
    books.open("a", values)
    values["units"] = 16
    assert books["a"].hyperparameters == {"units": 8}


@pytest.mark.parametrize(
    ("direction", "expected"), [("max", [True, True, False, False]), ("min", [True, False, False, True])]
)
def test_says_whether_an_epoch_is_the_best_of_its_trial(direction: Direction, expected: list[bool]) -> None:
    books = _books(direction)
    books.open("a", {})
    # An equal value is no improvement: the first of equals is kept.
    assert _epochs(books, "a", [0.5, 0.7, 0.5, 0.4]) == expected


def test_an_epoch_without_a_finite_objective_is_never_the_best() -> None:
    books = _books()
    books.open("a", {})
    assert not books.epoch("a", 0, {"val_accuracy": math.nan})
    assert not books.epoch("a", 1, {"val_loss": 1.0})
    assert books.epoch("a", 2, {"val_accuracy": 0.1})


def test_the_best_trial_is_that_of_the_best_epoch_of_all() -> None:
    assert _books().best is None
    books = _books()
    for trial, values in {"a": [0.5, 0.6], "b": [0.8, 0.2], "c": [0.8]}.items():
        books.open(trial, {})
        _epochs(books, trial, values)
    assert books.best is not None
    assert (books.best.trial, books.best.value) == ("b", 0.8)


def test_an_epoch_that_is_run_again_replaces_what_followed() -> None:
    books = _books()
    books.open("a", {})
    _epochs(books, "a", [0.1, 0.2, 0.3])
    books.epoch("a", 1, {"val_accuracy": 0.25})
    assert [metrics["val_accuracy"] for metrics in books["a"].history] == [0.1, 0.25]
    assert books["a"].cost.epochs == 2


def test_records_stay_in_the_order_in_which_trials_were_made() -> None:
    books = _books()
    for trial in ("c", "a", "b"):
        books.open(trial, {})
    books.close("b", "REJECTED", "oversized")
    assert [record.trial for record in books.records] == ["c", "a", "b"]


def test_the_view_counts_every_trial_once() -> None:
    books, hopper = _books(), Hopper(SHARDS, num_workers=1, parallelism=2)
    hopper.handle(WorkerJoined("w0"), 0.0)
    for trial in ("live", "waiting"):
        books.open(trial, {}, TrialCost(parameters=10))
        hopper.handle(TrialAdded(TrialPlan(trial, epochs=3)), 0.0)
    hopper.poll(0.0)
    for trial, status in {"r": "REJECTED", "f": "FAILED", "s": "STOPPED", "c": "COMPLETED"}.items():
        books.open(trial, {})
        books.unit("w0", _unit(trial), _report(2.0, 1.0))
        books.close(trial, status, "why")
    view = books.view(hopper.snapshot(), 8.0)
    counts = view.counts
    assert (counts.running, counts.waiting) == (1, 1)
    assert (counts.done, counts.failed, counts.rejected) == (2, 1, 1)
    assert [(trial.trial, trial.status) for trial in view.finished] == [
        ("r", "REJECTED"),
        ("f", "FAILED"),
        ("s", "STOPPED"),
        ("c", "COMPLETED"),
    ]
    (worker,) = view.workers
    assert (worker.units_done, worker.busy_share) == (4, 0.5)
    # Each live trial has 3 epochs of a train and an evaluation unit before it.
    assert (view.units_done, view.units_known) == (4, 4 + 2 * 3 * 2)
    assert view.max_trials == 4


def test_a_promoted_trial_is_not_paused_any_more() -> None:
    books, hopper = _books(), Hopper(SHARDS, num_workers=1, parallelism=2)
    hopper.handle(WorkerJoined("w0"), 0.0)
    for trial in ("promoted", "paused"):
        books.open(trial, {})
        books.unit("w0", _unit(trial), _report())
        books.pause(trial)
    # It goes on, and none of its further units was done yet.
    hopper.handle(TrialAdded(TrialPlan("promoted", epochs=3)), 0.0)
    hopper.poll(0.0)
    counts = books.view(hopper.snapshot(), 1.0).counts
    assert (counts.running, counts.waiting, counts.paused) == (1, 0, 1)


def test_no_time_has_passed() -> None:
    books, hopper = _books(), Hopper(SHARDS, num_workers=1)
    hopper.handle(WorkerJoined("w0"), 0.0)
    assert books.view(hopper.snapshot(), 0.0).workers[0].busy_share == 0.0


def test_measures_of_a_candidate_are_metrics_where_they_are_objectives() -> None:
    books = Books(
        project="p",
        tuner="greedy",
        objectives=[("val_accuracy", "max"), ("latency_ms", "min"), ("flops", "min")],
        max_trials=2,
        epochs=3,
        num_workers=1,
    )
    hopper = Hopper(SHARDS, num_workers=1)
    view = books.view(hopper.snapshot(), 0.0)
    assert (view.objective, view.others) == ("val_accuracy", (("latency_ms", "min"), ("flops", "min")))
    books.open("a", {}, TrialCost(parameters=10, flops=20))
    assert books.with_measures("a", {"val_accuracy": 0.5}) == {"val_accuracy": 0.5, "flops": 20.0}
    evaluation = Unit("a", "evaluate", 0, Shard("valid", 0))
    for busy in (0.2, 0.1, 0.3):
        books.unit("w0", evaluation, UnitReport(rows=10, metrics={}, seconds=1.0, busy_seconds=busy))
    books.unit("w0", _unit("a"), UnitReport(rows=10, metrics={}, seconds=1.0, busy_seconds=0.001))
    assert books["a"].cost.latency_ms == pytest.approx(10.0)
    assert books.with_measures("a", {}) == {"flops": 20.0, "latency_ms": pytest.approx(10.0)}


def test_curves_are_of_trials_that_can_be_compared() -> None:
    books = _books()
    for trial in ("a", "b", "c"):
        books.open(trial, {})
    _epochs(books, "a", [0.1, 0.2])
    _epochs(books, "b", [0.3])
    books.close("a", "STOPPED", "early_stopping")
    books.close("c", "FAILED", "oom")
    curves = books.curves()
    assert {name: (curve.values, curve.ended) for name, curve in curves.items()} == {
        "a": ((0.1, 0.2), True),
        "b": ((0.3,), False),
    }
    assert books.epochs_done == 3


def test_curves_are_over_passes_through_the_data_however_often_a_trial_is_judged() -> None:
    books = _books()
    books.visits_per_epoch = 4
    books.open("a", {})
    for epoch, (visits, value) in enumerate([(1, 0.1), (3, 0.2), (9, 0.3), (12, 0.4), (14, 0.5)]):
        books.epoch("a", epoch, {"val_accuracy": value}, visits)
    values = books.curves()["a"].values
    assert [value if math.isfinite(value) else None for value in values] == [0.2, None, 0.4]
    assert books.epochs_done == 3
    assert books["a"].cost.epochs == 4, "three and a half, not the number of times that it was judged"
    # A fault sets it back: what is done again counts once.
    books.epoch("a", 2, {"val_accuracy": 0.35}, 9)
    assert books.epochs_done == 2


def test_a_display_has_no_scores_where_nothing_is_compared() -> None:
    def view(purpose: str) -> SearchView:
        books = _books(objective="epochs", purpose=purpose)
        books.open("a", {})
        books.epoch("a", 0, {"epochs": 1.0})
        books.close("a", "COMPLETED", "")
        return books.view(Hopper(SHARDS, num_workers=1).snapshot(), 1.0)

    shown = view("training again")
    assert (shown.best, shown.finished[0].value, shown.headline) == (None, None, ("training again",))
    shown = view("")
    assert (shown.best is None, shown.finished[0].value) == (False, 1.0)
    assert shown.headline == ("greedy", "max epochs")


def test_a_pass_ends_with_the_judgement_after_its_last_shard() -> None:
    books = _books()
    books.visits_per_epoch = 4
    books.open("a", {})
    for epoch, visits in enumerate([1, 2, 4, 5, 8, 12]):
        books.epoch("a", epoch, {"val_accuracy": float(visits)}, visits)
    assert [metrics["val_accuracy"] for metrics in books.passes("a")] == [4.0, 8.0, 12.0]


def test_a_curve_says_for_how_long_its_weights_were_trained_before() -> None:
    books = _books()
    books.open("a", {})
    _epochs(books, "a", [0.5, 0.6])
    books.open("b", {}, parent="a", inherited=books.trained("a"))
    _epochs(books, "b", [0.7])
    assert [curve.inherited for curve in books.curves().values()] == [0, 2]
    assert books.trained("b") == 3


def test_in_front_is_what_no_other_is_better_than() -> None:
    books = _books()
    books.objectives = (("val_accuracy", "max"), ("latency_ms", "min"))
    for trial, metrics in {
        "fast": {"val_accuracy": 0.5, "latency_ms": 1.0},
        "good": {"val_accuracy": 0.9, "latency_ms": 3.0},
        "twin": {"val_accuracy": 0.9, "latency_ms": 3.0},
        "slow": {"val_accuracy": 0.9, "latency_ms": 4.0},
        "failed": {"val_accuracy": 1.0, "latency_ms": 0.1},
        "unmeasured": {"val_accuracy": 0.5},
    }.items():
        books.open(trial, {})
        books.epoch(trial, 0, metrics)
    books.close("failed", "FAILED", "nan_loss")
    in_front = {trial: books.is_in_front(trial) for trial in ("fast", "good", "twin", "slow", "unmeasured")}
    assert in_front == {"fast": True, "good": True, "twin": True, "slow": False, "unmeasured": False}
