"""Metrics that are no means over rows, where an epoch has several validation shards."""

from __future__ import annotations

import json

import pytest

from cerebro_nas.hopper import Command
from cerebro_nas.hopper import EpochFinished
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import IllegalEventError
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitReport
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.search._records import event_data
from cerebro_nas.search._records import read_event

ROWS = (5, 10, 20)
SUMS = ([1.0, 2.0], [10.0, 20.0], [100.0, 200.0])


def _make(valid: int = 3) -> Hopper:
    shards = [ShardInfo(Shard("train", 0), 50, 0)]
    shards += [ShardInfo(Shard("valid", i), ROWS[i], 0) for i in range(valid)]
    hopper = Hopper(shards, num_workers=1, parallelism=1)
    hopper.handle(WorkerJoined("w0"), 0.0)
    hopper.handle(TrialAdded(TrialPlan("a", epochs=2)), 0.0)
    return hopper


def _report(run: RunUnit, *, counts: bool = True) -> UnitReport:
    """Of a worker: it counts, and says what follows once it knows of the others; `r2` is its own."""
    shard = run.unit.shard
    if shard is None or shard.split == "train":
        return UnitReport(50, {"loss": 1.0}, 1.0, 1.0)
    metrics, own = {"loss": float(shard.index), "r2": -9.0, "own": float(shard.index)}, SUMS[shard.index]
    if run.sums:
        merged = {"r2": sum(run.sums["r2"]) + sum(own), "loss of another model": 3.0}
        return UnitReport(ROWS[shard.index], metrics, 1.0, 1.0, merged=merged)
    return UnitReport(ROWS[shard.index], metrics, 1.0, 1.0, sums={"r2": own} if counts else {})


def _step(hopper: Hopper, *, counts: bool = True) -> tuple[RunUnit, UnitDone, list[Command]]:
    (run,) = hopper.poll(1.0)
    assert isinstance(run, RunUnit)
    event = UnitDone(run.worker, run.unit, _report(run, counts=counts))
    return run, event, hopper.handle(event, 2.0)


def test_the_last_evaluation_gets_what_the_others_counted_and_says_what_follows() -> None:
    hopper = _make()
    assert _step(hopper)[0].sums == {}
    for _epoch in range(2):
        first, _, _ = _step(hopper)
        second, _, _ = _step(hopper)
        assert (first.sums, second.sums) == ({}, {})
        last, _, commands = _step(hopper)
        left = last.unit.shard
        assert left is not None
        others = [sums for index, sums in enumerate(SUMS) if index != left.index]
        assert last.sums == {"r2": [sum(column) for column in zip(*others, strict=True)]}
        (finished,) = [command for command in commands if isinstance(command, EpochFinished)]
        # The loss, and what has no sums, stay means over the rows; no name comes in that no worker gave before.
        mean = (10 * 1 + 20 * 2) / 35
        assert finished.metrics == pytest.approx({"loss": 1.0, "val_loss": mean, "val_own": mean, "val_r2": 333.0})
        if _epoch == 0:
            _step(hopper)


def test_a_single_validation_shard_is_told_nothing() -> None:
    hopper = _make(valid=1)
    _step(hopper)
    run, _, commands = _step(hopper, counts=False)
    assert run.sums == {}
    (finished,) = [command for command in commands if isinstance(command, EpochFinished)]
    assert finished.metrics["val_r2"] == -9.0


def test_without_the_sums_of_one_shard_metrics_are_means_over_the_rows() -> None:
    """Its unit was done before the driver was updated, say."""
    hopper = _make()
    _step(hopper)
    _step(hopper, counts=False)
    _step(hopper)
    last, _, commands = _step(hopper)
    assert last.sums == {}
    (finished,) = [command for command in commands if isinstance(command, EpochFinished)]
    assert finished.metrics["val_r2"] == -9.0


@pytest.mark.parametrize("cut", range(9))
def test_a_search_that_is_gone_on_with_says_the_same(cut: int) -> None:
    """Whatever the record of it ends with, also between two evaluations of an epoch."""
    hopper, record, expected = _make(), [], []
    for _ in range(8):
        run, event, commands = _step(hopper)
        record.append((run, json.dumps(event_data(event))))
        expected += [command for command in commands if isinstance(command, EpochFinished)]
    assert [epoch.metrics["val_r2"] for epoch in expected] == [333.0, 333.0]
    again, found = _make(), []
    for run, text in record[:cut]:
        assert again.launch(run.worker, run.unit, 1.0) == run
        found += again.handle(read_event(json.loads(text)), 2.0)
    for _ in range(8 - cut):
        found += _step(again)[2]
    assert [command for command in found if isinstance(command, EpochFinished)] == expected


def test_records_without_sums_are_what_they_were() -> None:
    event = UnitDone("w0", Unit("a", "evaluate", 0, Shard("valid", 0)), UnitReport(5, {"loss": 1.0}, 1.0, 1.0))
    assert set(event_data(event)["report"]) == {"rows", "metrics", "seconds", "busy_seconds", "detail"}
    assert read_event(json.loads(json.dumps(event_data(event)))) == event


def test_the_story_of_an_error_does_not_tell_the_sums() -> None:
    hopper = _make()
    _step(hopper)
    _, event, _ = _step(hopper)
    with pytest.raises(IllegalEventError) as error:
        hopper.launch("w0", Unit("b", "train", 0, Shard("train", 0)), 3.0)
    assert "sums" not in str(error.value)
    assert all(not getattr(getattr(item, "report", None), "sums", {}) for _, item in hopper._story._items)
    assert event.report.sums
