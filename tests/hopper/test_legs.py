"""Epochs that are shorter than a pass over the shards."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.hopper import EpochFinished
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import IllegalEventError
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialPaused
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitReport
from cerebro_nas.hopper import VisitOrder
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.hopper import legs_between
from cerebro_nas.hopper._legs import Legs

# --- counting ---------------------------------------------------------------------------------------------------------


def test_without_lengths_an_epoch_is_a_pass() -> None:
    legs = Legs(4, 3)
    assert [legs.at(generation) for generation in (0, 3, 4, 7, 8, 11)] == [0, 0, 1, 1, 2, 2]
    assert [legs.start(epoch) for epoch in range(4)] == [0, 4, 8, 12]
    assert legs.total == 12
    assert [legs.pass_start(generation) for generation in (0, 3, 4, 9)] == [0, 0, 4, 8]


def test_lengths_say_where_epochs_begin() -> None:
    legs = Legs(4, 4, (1, 3, 4, 2))
    assert [legs.at(generation) for generation in range(10)] == [0, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert [legs.start(epoch) for epoch in range(5)] == [0, 1, 4, 8, 10]
    assert legs.total == 10
    # Passes do not depend on them.
    assert [legs.pass_start(generation) for generation in (0, 1, 3, 4, 9)] == [0, 0, 0, 4, 8]


@pytest.mark.parametrize(
    ("start", "end", "num_train", "legs"),
    [
        (0, 1, 4, (1,)),
        (0, 4, 4, (4,)),
        (0, 6, 4, (4, 2)),
        (0, 8, 4, (4, 4)),
        (1, 4, 4, (3,)),
        (3, 5, 4, (1, 1)),
        (1, 12, 4, (3, 4, 4)),
        (4, 6, 4, (2,)),
        (5, 5, 4, ()),
        (0, 3, 1, (1, 1, 1)),
    ],
)
def test_legs_between(start: int, end: int, num_train: int, legs: tuple[int, ...]) -> None:
    assert legs_between(start, end, num_train) == legs


@given(st.integers(1, 9), st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_legs_in_stages_end_at_stages_and_passes_and_nowhere_else(num_train: int, steps: list[int]) -> None:
    legs: tuple[int, ...] = ()
    stages = []
    for step in steps:
        until = sum(legs) + step
        legs += legs_between(sum(legs), until, num_train)
        stages.append(until)
        assert sum(legs) == until
    ends = [sum(legs[: i + 1]) for i in range(len(legs))]
    assert set(ends) == {*stages, *range(num_train, stages[-1] + 1, num_train)}
    counted = Legs(num_train, len(legs), legs)
    for generation in range(stages[-1]):
        epoch = counted.at(generation)
        assert counted.start(epoch) <= generation < counted.start(epoch + 1)
        # No epoch is in two passes.
        assert counted.pass_start(counted.start(epoch)) == counted.pass_start(generation)


# --- in the hopper ----------------------------------------------------------------------------------------------------


def make(plan: TrialPlan, train: int = 4, valid: int = 2, order: VisitOrder = "adaptive", seed: int = 0) -> Hopper:
    infos = [ShardInfo(Shard("train", i), 10, 0) for i in range(train)]
    infos += [ShardInfo(Shard("valid", i), 5, 0) for i in range(valid)]
    hopper = Hopper(infos, num_workers=1, parallelism=1, visit_order=order, seed=seed)
    hopper.handle(WorkerJoined("w0"), 0.0)
    hopper.handle(TrialAdded(plan), 0.0)
    return hopper


def run_all(hopper: Hopper) -> tuple[list[RunUnit], list[EpochFinished]]:
    """Run until there is nothing to do."""
    runs, epochs = [], []
    while units := hopper.poll(0.0):
        (run,) = units
        assert isinstance(run, RunUnit)
        runs.append(run)
        rows = 10 if run.unit.phase == "train" else 5
        said = hopper.handle(UnitDone(run.worker, run.unit, UnitReport(rows, {"loss": 1.0}, 1.0, 1.0)), 0.0)
        epochs += [command for command in said if isinstance(command, EpochFinished)]
    return runs, epochs


def visits(runs: Sequence[RunUnit], phase: str = "train") -> list[tuple[int, int]]:
    return [(run.unit.epoch, run.unit.shard.index) for run in runs if run.unit.phase == phase and run.unit.shard]


@pytest.mark.parametrize("order", ["adaptive", "fixed"])
@pytest.mark.parametrize("legs", [(1, 3), (2, 2), (1, 1, 1, 1), (4, 1, 3), (1, 1, 2, 4, 3)])
def test_a_pass_in_legs_visits_each_shard_once_and_each_leg_ends_with_all_validation_shards(
    legs: tuple[int, ...], order: VisitOrder
) -> None:
    runs, epochs = run_all(make(TrialPlan("a", len(legs), legs=legs), order=order))
    found = visits(runs)
    assert [sum(epoch == leg for epoch, _ in found) for leg in range(len(legs))] == list(legs)
    for begin in range(0, len(found), 4):
        shards = [shard for _, shard in found[begin : begin + 4]]
        assert len(set(shards)) == len(shards)
    assert sorted(visits(runs, "evaluate")) == [(leg, shard) for leg in range(len(legs)) for shard in range(2)]
    assert [(epoch.epoch, epoch.generation) for epoch in epochs] == [(i, sum(legs[: i + 1])) for i in range(len(legs))]


def test_in_a_fixed_order_legs_follow_the_order_of_the_whole_pass() -> None:
    whole, _ = run_all(make(TrialPlan("a", 2), order="fixed", seed=5))
    parts, _ = run_all(make(TrialPlan("a", 4, legs=(1, 3, 2, 2)), order="fixed", seed=5))
    assert [shard for _, shard in visits(parts)] == [shard for _, shard in visits(whole)]
    assert [shard for _, shard in visits(whole)][:4] != [0, 1, 2, 3]


def test_the_unit_before_an_evaluation_is_the_one_to_keep() -> None:
    runs, _ = run_all(make(TrialPlan("a", 3, legs=(1, 3, 2))))
    assert [run.keep for run in runs if run.unit.phase == "train"] == [True, False, False, True, False, True]
    assert not any(run.keep for run in runs if run.unit.phase == "evaluate")
    runs, _ = run_all(make(TrialPlan("a", 2)))
    assert [run.keep for run in runs if run.unit.phase == "train"] == [False, False, False, True] * 2


def test_without_validation_shards_a_leg_ends_with_its_last_visit() -> None:
    runs, epochs = run_all(make(TrialPlan("a", 2, legs=(1, 3)), valid=0))
    assert len(runs) == 4
    assert [(epoch.epoch, epoch.generation) for epoch in epochs] == [(0, 1), (1, 4)]


def test_what_is_left_is_told_in_legs() -> None:
    hopper = make(TrialPlan("a", 3, legs=(1, 3, 2)))
    (view,) = hopper.snapshot().trials
    assert (view.units_done, view.units_total) == (0, 6 + 3 * 2)
    for done in range(1, 12):
        (run,) = hopper.poll(0.0)
        assert isinstance(run, RunUnit)
        rows = 10 if run.unit.phase == "train" else 5
        hopper.handle(UnitDone("w0", run.unit, UnitReport(rows, {"loss": 1.0}, 1.0, 1.0)), 0.0)
        (view,) = hopper.snapshot().trials
        assert view.units_done == done
    assert view.remaining_seconds == pytest.approx(1.0)


@pytest.mark.parametrize("stored", range(1, 5))
def test_after_a_death_a_leg_goes_on_with_the_shards_that_its_pass_has_left(stored: int) -> None:
    """The visits of an earlier leg of the same pass count, whatever generation the store has."""
    hopper = make(TrialPlan("a", 3, legs=(1, 2, 1), pauses=True))
    states: list[tuple[RunUnit, str]] = []
    while len(states) < 4:
        (run,) = hopper.poll(0.0)
        assert isinstance(run, RunUnit)
        hopper.handle(UnitDone("w0", run.unit, UnitReport(10, {"loss": 1.0}, 1.0, 1.0)), 0.0)
        if run.unit.phase == "train":
            states.append((run, f"s{len(states)}"))
            if len(states) <= stored:
                hopper.handle(StateStored(run.unit, len(states), states[-1][1]), 0.0)
    kept = [run.unit.shard for run, _ in states[:stored]]
    hopper.handle(WorkerLost("w0", "died"), 0.0)
    hopper.handle(WorkerJoined("w1"), 0.0)
    runs, _ = run_all(hopper)
    again = [run.unit.shard for run in runs if run.unit.phase == "train"]
    assert len({*kept, *again}) == len(kept) + len(again) == 4
    assert runs[0].state.generation == stored
    assert hopper.unfinished == ("a",)
    assert hopper.snapshot().trials == ()


def test_a_plan_that_pauses_says_so_at_its_end() -> None:
    hopper = make(TrialPlan("a", 1, legs=(1,), pauses=True), valid=0)
    (run,) = hopper.poll(0.0)
    assert isinstance(run, RunUnit)
    said = hopper.handle(UnitDone("w0", run.unit, UnitReport(10, {"loss": 1.0}, 1.0, 1.0)), 0.0)
    assert [type(command) for command in said[:2]] == [EpochFinished, TrialPaused]


@pytest.mark.parametrize(
    ("epochs", "legs"), [(2, (1,)), (1, (1, 1)), (2, (0, 1)), (1, (5,)), (1, (-1,)), (2, (3, 3)), (3, (4, 2, 3))]
)
def test_legs_that_cannot_be_are_refused(epochs: int, legs: tuple[int, ...]) -> None:
    hopper = Hopper([ShardInfo(Shard("train", i), 10, 0) for i in range(4)], num_workers=1)
    hopper.handle(WorkerJoined("w0"), 0.0)
    with pytest.raises(IllegalEventError, match="must plan .*for each epoch"):
        hopper.handle(TrialAdded(TrialPlan("a", epochs, legs=legs)), 0.0)
    assert hopper.snapshot().trials == ()
