"""The hopper event by event."""

from __future__ import annotations

import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import AskTrials
from cerebro_nas.hopper import Command
from cerebro_nas.hopper import DropState
from cerebro_nas.hopper import EpochFinished
from cerebro_nas.hopper import Event
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import IllegalEventError
from cerebro_nas.hopper import NoMoreTrials
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import SearchFinished
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialFinished
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import TrialsDeferred
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import TrialStopRequested
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import UnitReport
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost


def make(train: int = 2, valid: int = 0, *, workers: int = 1, parallelism: int = 1, attempts: int = 3) -> Hopper:
    shards = [ShardInfo(Shard("train", i), 10 * (i + 1), 0) for i in range(train)]
    shards += [ShardInfo(Shard("valid", i), 5, 0) for i in range(valid)]
    return Hopper(shards, num_workers=workers, parallelism=parallelism, max_attempts=attempts)


def begin(hopper: Hopper, *plans: TrialPlan, workers: int = 1) -> None:
    for i in range(workers):
        hopper.handle(WorkerJoined(f"w{i}"), 0.0)
    for plan in plans:
        hopper.handle(TrialAdded(plan), 0.0)


def step(hopper: Hopper, now: float = 1.0, loss: float = 1.0) -> tuple[RunUnit, list[Command]]:
    """Start one unit and finish it."""
    run = start(hopper, now)
    return run, hopper.handle(done(hopper, run, loss), now + 1)


def start(hopper: Hopper, now: float = 1.0) -> RunUnit:
    (run,) = hopper.poll(now)
    assert isinstance(run, RunUnit)
    return run


def done(hopper: Hopper, run: RunUnit, loss: float = 1.0) -> UnitDone:
    rows = 1 if run.unit.shard is None else 5 if run.unit.shard.split == "valid" else 10 * (run.unit.shard.index + 1)
    return UnitDone(run.worker, run.unit, UnitReport(rows, {"loss": loss}, 1.0, 0.9))


def failed(run: RunUnit, reason: str = "error", trial_fault: bool = False) -> UnitFailed:
    return UnitFailed(run.worker, run.unit, reason, "message", trial_fault)


def test_an_epoch_trains_then_evaluates_and_weights_metrics_by_rows() -> None:
    hopper = make(train=2, valid=1)
    begin(hopper, TrialPlan("a", epochs=2))
    losses = {}
    for loss in (1.0, 4.0):
        run, commands = step(hopper, loss=loss)
        losses[run.unit.shard] = loss
        assert commands == []
    run, commands = step(hopper, loss=7.0)
    assert (run.unit.phase, run.unit.epoch, run.unit.shard) == ("evaluate", 0, Shard("valid", 0))
    assert run.state == StateRef(2, "w0")
    mean = (10 * losses[Shard("train", 0)] + 20 * losses[Shard("train", 1)]) / 30
    (finished,) = commands
    assert isinstance(finished, EpochFinished)
    assert finished.metrics == pytest.approx({"loss": mean, "val_loss": 7.0})
    assert start(hopper).unit.epoch == 1


def test_handle_runs_nothing_so_that_a_stop_comes_before_the_next_unit() -> None:
    hopper = make(train=1)
    begin(hopper, TrialPlan("a", epochs=5))
    run, commands = step(hopper)
    assert commands == [EpochFinished("a", 0, {"loss": 1.0}, run.unit, 1)]
    commands = hopper.handle(TrialStopRequested("a", TrialStatus.STOPPED, "early"), 2.0)
    assert commands == [
        DropState("w0", "a"),
        TrialFinished("a", TrialStatus.STOPPED, "early", {"loss": 1.0}),
        AskTrials(1),
    ]
    assert hopper.poll(2.0) == []


def test_a_call_trial_is_one_unit_without_a_shard() -> None:
    hopper = make()
    begin(hopper, TrialPlan("f", epochs=0, kind="call"))
    hopper.handle(NoMoreTrials(), 0.5)
    run, commands = step(hopper, loss=3.0)
    assert (run.unit.phase, run.unit.shard) == ("call", None)
    assert TrialFinished("f", TrialStatus.COMPLETED, "completed", {"loss": 3.0}) in commands
    assert commands[-1] == SearchFinished()


def test_a_stopped_trial_lets_its_unit_run_out() -> None:
    hopper = make(train=2)
    begin(hopper, TrialPlan("a", epochs=1))
    run = start(hopper)
    hopper.handle(TrialStopRequested("a", TrialStatus.STOPPED, "x"), 1.0)
    hopper.handle(TrialAdded(TrialPlan("b", epochs=1)), 1.0)
    assert hopper.poll(1.0) == []
    assert hopper.handle(done(hopper, run), 2.0) == [DropState("w0", "a")]
    assert start(hopper).unit.trial == "b"


@pytest.mark.case(21)
def test_late_and_repeated_reports_are_ignored() -> None:
    hopper = make(train=2)
    begin(hopper, TrialPlan("a", epochs=1))
    run, _ = step(hopper)
    assert hopper.handle(done(hopper, run), 3.0) == []
    assert hopper.ignored == 1
    second = start(hopper, 3.0)
    hopper.handle(WorkerLost("w0", "gone"), 4.0)
    assert hopper.handle(done(hopper, second), 4.0) == []
    assert hopper.ignored == 2
    assert hopper.snapshot().trials[0].units_done == 0


@pytest.mark.case(1)
def test_a_lost_worker_rolls_its_trial_back_to_what_is_stored() -> None:
    hopper = make(train=2)
    begin(hopper, TrialPlan("a", epochs=3))
    runs = [step(hopper)[0] for _ in range(3)]
    hopper.handle(StateStored(runs[0].unit, 1, "first"), 2.0)
    hopper.handle(WorkerLost("w0", "gone"), 3.0)
    view = hopper.snapshot().trials[0]
    assert (view.epoch, view.generation, view.units_done) == (0, 1, 1)
    hopper.handle(WorkerJoined("w0", 1), 4.0)
    run, commands = step(hopper, 5.0, loss=9.0)
    assert run.state == StateRef(1, None, "first")
    assert run.unit.attempt == 1  # it was done before, by a life that is over
    assert isinstance(commands[0], EpochFinished)
    assert commands[0].epoch == 0


def test_a_state_on_a_living_worker_survives_the_loss_of_another() -> None:
    hopper = make(train=2, workers=2)
    begin(hopper, TrialPlan("a", epochs=1), workers=2)
    first, _ = step(hopper)
    second = start(hopper)
    assert second.worker != first.worker
    hopper.handle(WorkerLost(second.worker, "gone"), 3.0)
    third = start(hopper)
    assert third.worker == first.worker
    assert third.state == StateRef(1, first.worker)
    assert third.unit.attempt == 1


@pytest.mark.case(4)
def test_a_trial_that_costs_too_many_workers_fails() -> None:
    hopper = make()
    begin(hopper, TrialPlan("a", epochs=1))
    for attempt in range(3):
        start(hopper)
        commands = hopper.handle(WorkerLost("w0", "gone"), 1.0)
        hopper.handle(WorkerJoined("w0", attempt + 1), 1.0)
    assert TrialFinished("a", TrialStatus.FAILED, "worker_lost", {}) in commands


def test_a_failure_is_tried_elsewhere_and_then_given_up() -> None:
    hopper = make(train=1, workers=2, attempts=3)
    begin(hopper, TrialPlan("a", epochs=1), workers=2)
    workers = []
    for _ in range(3):
        run = start(hopper)
        workers.append(run.worker)
        commands = hopper.handle(failed(run), 2.0)
    assert workers[0] != workers[1]
    assert commands[0] == TrialFinished("a", TrialStatus.FAILED, "error", {})


def test_a_fault_of_the_trial_ends_it_at_once() -> None:
    hopper = make()
    begin(hopper, TrialPlan("a", epochs=1))
    commands = hopper.handle(failed(start(hopper), "nan_loss", trial_fault=True), 2.0)
    assert commands == [TrialFinished("a", TrialStatus.FAILED, "nan_loss", {}), AskTrials(1)]


@pytest.mark.case(12)
def test_a_missing_state_rolls_back_and_a_bad_store_is_not_trusted_again() -> None:
    hopper = make(train=2)
    begin(hopper, TrialPlan("a", epochs=1))
    run, _ = step(hopper)
    hopper.handle(StateStored(run.unit, 1, "first"), 2.0)
    hopper.handle(failed(start(hopper), "state_missing"), 3.0)
    assert start(hopper).state == StateRef(0)


def test_deferred_asks_come_again_with_the_next_epoch() -> None:
    hopper = make(train=1, parallelism=3)
    begin(hopper, TrialPlan("a", epochs=3))
    assert hopper.handle(TrialsDeferred(2), 0.5) == []
    _, commands = step(hopper)
    assert commands[-1] == AskTrials(2)


def test_more_trials_go_first_by_remaining_work_and_stay_where_they_are_in_a_tie() -> None:
    hopper = make(train=2, parallelism=2)
    begin(hopper, TrialPlan("short", epochs=1, cost=1.0), TrialPlan("long", epochs=1, cost=3.0))
    assert start(hopper).unit.trial == "long"


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (TrialAdded(TrialPlan("a", epochs=1)), "there was before"),
        (TrialAdded(TrialPlan("b", epochs=1)), "not asked for"),
        (TrialStopRequested("z", TrialStatus.STOPPED, ""), "never added"),
        (TrialStopRequested("a", TrialStatus.RUNNING, ""), "final status"),
        (StateStored(Unit("z", "train", 0, Shard("train", 0)), 1, "name"), "never added"),
        (TrialsDeferred(5), "outstanding"),
    ],
)
def test_illegal_events_tell_the_story_and_change_nothing(event: Event, problem: str) -> None:
    hopper = make()
    begin(hopper, TrialPlan("a", epochs=1))
    before = hopper.snapshot()
    with pytest.raises(IllegalEventError, match=problem):
        hopper.handle(event, 0.0)
    assert hopper.snapshot() == before


def test_the_story_names_the_events_of_the_trial() -> None:
    hopper = make()
    begin(hopper, TrialPlan("a", epochs=1))
    run = start(hopper)
    with pytest.raises(IllegalEventError, match=r"(?s)TrialAdded.*RunUnit"):
        hopper.handle(UnitDone("w9", run.unit, UnitReport(1, {}, 1.0, 1.0)), 1.0)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_workers=0"):
        Hopper([ShardInfo(Shard("train", 0), 1, 1)], num_workers=0)
    with pytest.raises(ConfigError, match="shards"):
        Hopper([ShardInfo(Shard("valid", 0), 1, 1)], num_workers=1)
    with pytest.raises(ConfigError, match="fetch_bytes_per_second"):
        Hopper([ShardInfo(Shard("train", 0), 1, 1)], num_workers=1, fetch_bytes_per_second=0)
