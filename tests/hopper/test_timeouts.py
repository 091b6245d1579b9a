"""Which units take too long."""

from __future__ import annotations

from typing import Any

import pytest

from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Overdue
from cerebro_nas.hopper import RunUnit
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import TrialAdded
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitReport
from cerebro_nas.hopper import WorkerJoined

ROWS = 1000


def make(*costs: float, workers: int = 1, shards: int = 8, nbytes: int = 0, **settings: Any) -> Hopper:
    infos = [ShardInfo(Shard("train", i), ROWS, nbytes) for i in range(shards)]
    hopper = Hopper(infos, num_workers=workers, parallelism=len(costs), fetch_bytes_per_second=1.0, **settings)
    for i in range(workers):
        hopper.handle(WorkerJoined(f"w{i}"), 0.0)
    for i, cost in enumerate(costs):
        hopper.handle(TrialAdded(TrialPlan(f"t{i}", 9, cost)), 0.0)
    return hopper


def start(hopper: Hopper, now: float = 0.0) -> RunUnit:
    (run,) = hopper.poll(now)
    assert isinstance(run, RunUnit)
    return run


def measure(hopper: Hopper, seconds: float, units: int = 1) -> None:
    for _ in range(units):
        run = start(hopper)
        hopper.handle(UnitDone(run.worker, run.unit, UnitReport(ROWS, {}, seconds, seconds)), 0.0)


def limit(hopper: Hopper, late: float = 1e9) -> float:
    (overdue,) = hopper.overdue(late)
    return overdue.limit


@pytest.mark.case(19)
def test_a_unit_is_overdue_after_ten_times_what_such_units_took() -> None:
    hopper = make(1.0)
    measure(hopper, 20.0, units=3)
    run = start(hopper, 5.0)
    assert hopper.overdue(205.0) == []
    (overdue,) = hopper.overdue(206.0)
    assert (overdue.worker, overdue.unit, overdue.seconds) == ("w0", run.unit, 201.0)
    assert overdue.limit == pytest.approx(200.0)


def test_before_anything_was_measured_the_limit_is_another_one() -> None:
    hopper = make(1e6)
    start(hopper)
    assert hopper.overdue(900.0) == []
    assert limit(hopper) == 900.0


def test_a_short_unit_has_a_minute() -> None:
    hopper = make(1.0)
    measure(hopper, 0.5)
    start(hopper)
    assert hopper.overdue(60.0) == []
    assert limit(hopper) == 60.0


def test_a_limit_of_its_own_replaces_all_that() -> None:
    hopper = make(1.0, unit_timeout=5.0)
    run = start(hopper)
    assert hopper.overdue(5.0) == []
    assert hopper.overdue(6.0) == [Overdue("w0", run.unit, 6.0, 5.0)]


def test_a_much_larger_candidate_may_take_longer() -> None:
    hopper = make(1.0, workers=1)
    measure(hopper, 20.0)
    hopper = make(50.0, 1.0, workers=2)
    large, small = (run for run in hopper.poll(0.0) if isinstance(run, RunUnit))
    assert (large.unit.trial, small.unit.trial) == ("t0", "t1")
    hopper.handle(UnitDone(small.worker, small.unit, UnitReport(ROWS, {}, 20.0, 20.0)), 20.0)
    # By the small one's time, a unit of the large one takes 1000 s.
    assert limit(hopper) == pytest.approx(10_000.0)


def test_a_shard_that_must_be_fetched_is_allowed_for() -> None:
    hopper = make(1.0, shards=2, nbytes=100)
    measure(hopper, 20.0)
    start(hopper)
    assert limit(hopper) == pytest.approx(10 * (20.0 + 100.0))


def test_only_the_newest_units_count() -> None:
    hopper = make(1.0, shards=300)
    measure(hopper, 1000.0, units=60)
    measure(hopper, 20.0, units=101)
    start(hopper)
    assert limit(hopper) == pytest.approx(200.0, rel=0.01)
