"""Trials that pause, and what may become of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cerebro_nas.hopper import AskTrials
from cerebro_nas.hopper import Command
from cerebro_nas.hopper import DropState
from cerebro_nas.hopper import EpochFinished
from cerebro_nas.hopper import Event
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import IllegalEventError
from cerebro_nas.hopper import MoreTrials
from cerebro_nas.hopper import NoMoreTrials
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import SearchFinished
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialFinished
from cerebro_nas.hopper import TrialPaused
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import TrialPromoted
from cerebro_nas.hopper import TrialsDeferred
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import TrialStopRequested
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import UnitReport
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost

PLAN = TrialPlan("a", epochs=1, pauses=True)


def make(*plans: TrialPlan, train: int = 2, valid: int = 0, workers: int = 1, parallelism: int = 1) -> Hopper:
    shards = [ShardInfo(Shard("train", i), 10, 0) for i in range(train)]
    shards += [ShardInfo(Shard("valid", i), 5, 0) for i in range(valid)]
    hopper = Hopper(shards, num_workers=workers, parallelism=parallelism, max_attempts=2)
    for i in range(workers):
        hopper.handle(WorkerJoined(f"w{i}"), 0.0)
    for plan in plans:
        hopper.handle(TrialAdded(plan), 0.0)
    return hopper


def start(hopper: Hopper) -> RunUnit:
    (run,) = hopper.poll(0.0)
    assert isinstance(run, RunUnit)
    return run


def done(run: RunUnit, loss: float = 1.0) -> UnitDone:
    return UnitDone(run.worker, run.unit, UnitReport(10, {"loss": loss}, 1.0, 1.0))


def run_on(hopper: Hopper, store: bool = False) -> list[RunUnit]:
    """Run until there is nothing to do; `store`: each state reaches the store."""
    runs = []
    while units := hopper.poll(0.0):
        (run,) = units
        assert isinstance(run, RunUnit)
        hopper.handle(done(run), 0.0)
        runs.append(run)
        if store and run.unit.phase == "train":
            made = run.state.generation + 1
            hopper.handle(StateStored(run.unit, made, f"{run.unit.trial}-{made}"), 0.0)
    return runs


def feed(hopper: Hopper, *events: Event) -> list[Command]:
    return [command for event in events for command in hopper.handle(event, 0.0)]


# --- pausing ----------------------------------------------------------------------------------------------------------


def test_a_trial_pauses_after_its_last_evaluation_and_makes_room() -> None:
    hopper = make(PLAN, valid=1)
    for _ in range(2):
        assert feed(hopper, done(start(hopper))) == []
    said = feed(hopper, done(start(hopper)))
    assert [type(command) for command in said] == [EpochFinished, TrialPaused, AskTrials]
    assert said[-1] == AskTrials(1)
    assert hopper.poll(0.0) == []
    assert hopper.unfinished == ("a",)
    assert not hopper.has_live_trials
    assert hopper.snapshot().trials == ()
    assert hopper.snapshot().finished == {}
    assert hopper.plan_of("a") == PLAN


def test_any_number_of_trials_may_be_paused() -> None:
    hopper = make()
    for i in range(10):
        assert hopper.snapshot().asked == 1
        feed(hopper, TrialAdded(TrialPlan(f"t{i}", 1, pauses=True)))
        run_on(hopper)
    assert len(hopper.unfinished) == 10
    assert not hopper.finished


def test_pausing_is_not_final() -> None:
    assert not TrialStatus.PAUSED.is_final


def test_a_paused_trial_leaves_its_worker_once_the_store_has_it() -> None:
    hopper = make(PLAN)
    run_on(hopper)
    assert hopper.state_of("a") == StateRef(2, "w0")
    last = hopper.log[-1].unit
    assert feed(hopper, StateStored(last, 2, "s2")) == [DropState("w0", "a")]
    assert hopper.state_of("a") == StateRef(2, None, "s2")
    assert hopper.stored_names("a") == ("s2",)
    # It came late, twice.
    assert feed(hopper, StateStored(last, 2, "s2-again")) == []
    assert hopper.ignored == 1


def test_a_trial_whose_state_is_stored_already_leaves_its_worker_as_it_pauses() -> None:
    hopper = make(PLAN, valid=1)
    for _ in range(2):
        run = start(hopper)
        feed(hopper, done(run))
    feed(hopper, StateStored(run.unit, 2, "s2"))
    said = feed(hopper, done(start(hopper)))
    assert said[1:3] == [TrialPaused("a"), DropState("w0", "a")]


def test_a_worker_that_goes_takes_the_state_of_a_paused_trial_along() -> None:
    hopper = make(PLAN)
    first = start(hopper)
    feed(hopper, done(first), StateStored(first.unit, 1, "s1"))
    run_on(hopper)
    feed(hopper, WorkerLost("w0", "died"))
    assert hopper.state_of("a") == StateRef(1, None, "s1")
    feed(hopper, WorkerJoined("w0", 1), TrialPromoted(replace(PLAN, epochs=2, pauses=False)))
    runs = run_on(hopper)
    # The visit that was lost is made again, and its epoch judged again, before the next one.
    assert [(run.unit.epoch, run.state.generation) for run in runs] == [(0, 1), (1, 2), (1, 3)]
    assert runs[0].unit.shard != first.unit.shard
    assert hopper.snapshot().finished == {TrialStatus.COMPLETED: 1}


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", [True, False])
def test_a_promoted_trial_goes_on_from_its_own_state(store: bool) -> None:
    hopper = make(PLAN, valid=1)
    first = run_on(hopper, store)
    assert feed(hopper, TrialPromoted(replace(PLAN, epochs=3))) == []
    (view,) = hopper.snapshot().trials
    assert (view.trial, view.epoch, view.epochs, view.units_done) == ("a", 1, 3, 3)
    again = run_on(hopper, store)
    assert [run.unit.epoch for run in first] == [0] * 3
    assert [run.unit.epoch for run in again] == [1] * 3 + [2] * 3
    assert again[0].state == StateRef(2, None if store else "w0", "a-2" if store else "")
    assert hopper.unfinished == ("a",)
    feed(hopper, TrialPromoted(replace(PLAN, epochs=4, pauses=False)))
    run_on(hopper, store)
    assert hopper.snapshot().finished == {TrialStatus.COMPLETED: 1}
    assert not hopper.unfinished


def test_a_promotion_within_a_pass_visits_what_is_left_of_it() -> None:
    plan = TrialPlan("a", 1, legs=(1,), pauses=True)
    hopper = make(plan, train=3, valid=1)
    shards = [run.unit.shard for run in run_on(hopper) if run.unit.phase == "train"]
    for legs in ((1, 1), (1, 1, 1)):
        feed(hopper, TrialPromoted(replace(plan, epochs=len(legs), legs=legs)))
        runs = run_on(hopper)
        assert [run.unit.phase for run in runs] == ["train", "evaluate"]
        shards.append(runs[0].unit.shard)
    assert sorted(shard.index for shard in shards if shard) == [0, 1, 2]


def test_a_promotion_answers_an_ask() -> None:
    hopper = make(PLAN, parallelism=2)
    assert hopper.snapshot().asked == 1
    run_on(hopper)
    assert hopper.snapshot().asked == 2
    feed(hopper, TrialPromoted(replace(PLAN, epochs=2)))
    assert hopper.snapshot().asked == 1


def test_paused_trials_do_not_keep_deferred_asks_waiting() -> None:
    hopper = make(PLAN, parallelism=3)
    feed(hopper, TrialsDeferred(2))
    assert feed(hopper, done(start(hopper))) == []
    assert feed(hopper, done(start(hopper)))[-1] == AskTrials(3)


def test_waiting_for_nothing_but_paused_trials_is_refused() -> None:
    hopper = make(PLAN)
    run_on(hopper)
    with pytest.raises(IllegalEventError, match="nothing could ever end the search"):
        feed(hopper, TrialsDeferred(1))


def test_a_promoted_trial_may_fail() -> None:
    hopper = make(PLAN)
    run_on(hopper)
    feed(hopper, TrialPromoted(replace(PLAN, epochs=2)))
    for _ in range(2):
        said = feed(hopper, UnitFailed("w0", start(hopper).unit, "error", "", trial_fault=False))
    # What it had reached stays known.
    assert TrialFinished("a", TrialStatus.FAILED, "error", {"loss": 1.0}) in said
    assert hopper.unfinished == ()


def test_a_promoted_trial_whose_stored_state_is_damaged_goes_back_to_the_one_before() -> None:
    hopper = make(PLAN)
    run_on(hopper, store=True)
    assert hopper.stored_names("a") == ("a-1", "a-2")
    feed(hopper, TrialPromoted(replace(PLAN, epochs=2, pauses=False)))
    run = start(hopper)
    assert run.state == StateRef(2, None, "a-2")
    feed(hopper, UnitFailed("w0", run.unit, "state_missing", "damaged", trial_fault=False))
    again = run_on(hopper)
    assert [(run.unit.epoch, run.state.generation) for run in again] == [(0, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (TrialPlan("b", 2), "promotes a trial that is not paused"),
        (TrialPlan("a", 1), "must go beyond the plan so far"),
        (TrialPlan("a", 2, legs=(1, 1)), "must go beyond the plan so far"),
        (TrialPlan("a", 2, kind="call"), "must go beyond the plan so far"),
        (TrialPlan("a", 2, cost=0.0), "must predict a cost above 0"),
        (TrialPlan("a", 2, legs=(2,)), "for each epoch"),
    ],
)
def test_promotions_that_cannot_be(plan: TrialPlan, told: str) -> None:
    hopper = make(PLAN)
    run_on(hopper)
    before = hopper.snapshot()
    with pytest.raises(IllegalEventError, match=told):
        feed(hopper, TrialPromoted(plan))
    assert hopper.snapshot() == before
    assert hopper.plan_of("a") == PLAN


def test_legs_already_gone_cannot_be_changed() -> None:
    plan = TrialPlan("a", 1, legs=(1,), pauses=True)
    hopper = make(plan, train=3)
    run_on(hopper)
    with pytest.raises(IllegalEventError, match="must go beyond the plan so far"):
        feed(hopper, TrialPromoted(replace(plan, epochs=2, legs=(2, 1))))


def test_a_trial_that_runs_or_has_ended_is_not_promoted() -> None:
    hopper = make(replace(PLAN, pauses=False), parallelism=2)
    longer = replace(PLAN, epochs=2)
    for _ in range(2):
        with pytest.raises(IllegalEventError, match="not paused"):
            feed(hopper, TrialPromoted(longer))
        run_on(hopper)
    with pytest.raises(IllegalEventError, match="there was before"):
        feed(hopper, TrialAdded(PLAN))


def test_a_promotion_that_nobody_asked_for_is_refused() -> None:
    hopper = make(PLAN)
    run_on(hopper)
    feed(hopper, TrialAdded(TrialPlan("b", 1)))
    with pytest.raises(IllegalEventError, match="not asked for"):
        feed(hopper, TrialPromoted(replace(PLAN, epochs=2)))
    with pytest.raises(IllegalEventError, match="there was before"):
        feed(hopper, TrialAdded(PLAN))


# --- ending -----------------------------------------------------------------------------------------------------------


def test_a_dismissed_trial_ends_with_what_it_reached_and_gets_no_unit_any_more() -> None:
    hopper = make(PLAN)
    run_on(hopper)
    said = feed(hopper, TrialStopRequested("a", TrialStatus.STOPPED, "number 3 of 3"))
    assert said == [DropState("w0", "a"), TrialFinished("a", TrialStatus.STOPPED, "number 3 of 3", {"loss": 1.0})]
    assert hopper.unfinished == ()
    assert hopper.state_of("a") is None
    assert hopper.stored_names("a") == ()
    assert hopper.poll(0.0) == []
    # Once is enough, and it does not come back.
    assert feed(hopper, TrialStopRequested("a", TrialStatus.STOPPED, "again")) == []
    with pytest.raises(IllegalEventError, match="not paused"):
        feed(hopper, TrialPromoted(replace(PLAN, epochs=2)))
    assert hopper.snapshot().finished == {TrialStatus.STOPPED: 1}


def test_a_paused_trial_is_not_ended_as_paused() -> None:
    hopper = make(PLAN)
    run_on(hopper)
    with pytest.raises(IllegalEventError, match="final status"):
        feed(hopper, TrialStopRequested("a", TrialStatus.PAUSED, "x"))


def test_at_the_end_of_a_search_paused_trials_end_too() -> None:
    hopper = make(PLAN)
    run_on(hopper)
    said = feed(hopper, NoMoreTrials())
    assert said[1:] == [TrialFinished("a", TrialStatus.STOPPED, "not_promoted", {"loss": 1.0}), SearchFinished()]
    assert hopper.finished


def test_as_long_as_anything_runs_paused_trials_stay() -> None:
    hopper = make(PLAN)
    run_on(hopper)
    feed(hopper, TrialAdded(TrialPlan("b", 1)))
    assert feed(hopper, NoMoreTrials()) == []
    assert hopper.unfinished == ("b", "a")
    feed(hopper, done(start(hopper)))
    said = feed(hopper, done(start(hopper)))
    assert [c.trial for c in said if isinstance(c, TrialFinished)] == ["b", "a"]
    assert said[-1] == SearchFinished()


def test_a_search_that_goes_on_does_not_wake_those_that_ended() -> None:
    hopper = make(PLAN)
    run_on(hopper)
    feed(hopper, NoMoreTrials())
    assert feed(hopper, MoreTrials()) == [AskTrials(1)]
    with pytest.raises(IllegalEventError, match="not paused"):
        feed(hopper, TrialPromoted(replace(PLAN, epochs=2)))
