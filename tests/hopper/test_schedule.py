"""Figures of a schedule log."""

from __future__ import annotations

import pytest

from cerebro_nas.hopper import ScheduleEntry
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import WorkerUsage
from cerebro_nas.hopper import schedule_summary


def test_summary_of_a_small_schedule() -> None:
    shard = Shard("train", 0)
    log = [
        ScheduleEntry("w0", Unit("a", "train", 0, shard), 0.0, 4.0, 3.0, "done"),
        ScheduleEntry("w1", Unit("b", "train", 0, shard), 0.0, 1.0, 1.0, "done"),
        ScheduleEntry("w1", Unit("a", "train", 1, shard), 4.0, 7.0, 2.0, "failed"),
    ]
    summary = schedule_summary(log, ["w0", "w1", "w2"], 0.0, 8.0)
    assert summary.makespan == 8.0
    assert summary.workers == (
        WorkerUsage("w0", 1, 3.0, 4.0, 4.0),
        WorkerUsage("w1", 1, 3.0, 4.0, 4.0),
        WorkerUsage("w2", 0, 0.0, 0.0, 8.0),
    )
    assert summary.utilisation == pytest.approx(6.0 / 24.0)
    assert summary.lower_bound == 7.0


def test_an_empty_schedule_has_no_utilisation() -> None:
    assert schedule_summary([], ["w0"], 0.0, 0.0).utilisation == 0.0
