"""What the driver knows of its workers, without any: signs of progress, replacements on purpose, and late reports."""

from __future__ import annotations

import logging

import pytest

from cerebro_nas.backend._table import WorkerTable
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import WorkerLostError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitReport
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.worker.link import SupersededError
from cerebro_nas.worker.messages import Done
from cerebro_nas.worker.messages import DropMessage
from cerebro_nas.worker.messages import Failed
from cerebro_nas.worker.messages import Heartbeat
from cerebro_nas.worker.messages import Leaving
from cerebro_nas.worker.messages import Register
from cerebro_nas.worker.messages import Report

UNIT = Unit("t0", "train", 0, Shard("train", 1), attempt=2)
DONE = Done(UNIT, UnitReport(10, {"loss": 1.0}, 0.5, 0.4))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(clock: Clock) -> WorkerTable:
    table = WorkerTable(["w0"], max_restarts=0, clock=clock)
    table.register(_hello(0))
    table.take(0.0)
    return table


def _hello(attempt: int) -> Register:
    return Register("w0", attempt, 1000 + attempt, "here", "grpc://127.0.0.1:1")


def _beat(table: WorkerTable, progress: int, busy: bool = True) -> None:
    table.heartbeat(Heartbeat("w0", 0, progress, busy, 1))


@pytest.mark.case(19)
def test_a_worker_stalls_from_its_last_progress_on_and_only_while_it_is_busy(table: WorkerTable, clock: Clock) -> None:
    assert table.stalled("w0") is None  # nothing to do
    clock.now = 110.0
    _beat(table, 0)
    clock.now = 115.0
    assert table.stalled("w0") == 5.0  # since it began, not since it joined
    _beat(table, 7)
    clock.now = 117.0
    _beat(table, 7)
    assert table.stalled("w0") == 2.0
    clock.now = 118.0
    _beat(table, 7, busy=False)
    assert table.stalled("w0") is None
    assert table.stalled("w9") is None


@pytest.mark.case(19)
def test_a_process_that_says_nothing_stalls_too(table: WorkerTable, clock: Clock) -> None:
    _beat(table, 3)
    clock.now += 60.0
    assert table.stalled("w0") == 60.0
    table.silent(15.0)
    assert table.stalled("w0") is None  # lost, which is more


def test_a_fresh_process_begins_with_no_progress(table: WorkerTable, clock: Clock) -> None:
    _beat(table, 50)
    clock.now += 30.0
    table.register(_hello(1))
    assert table.stalled("w0") is None
    table.heartbeat(Heartbeat("w0", 1, 0, True, 1))
    assert table.stalled("w0") == 0.0


@pytest.mark.case(19)
def test_a_replacement_on_purpose_is_a_loss_but_no_death(table: WorkerTable) -> None:
    for attempt in range(3):
        assert table.dismiss("w0", "timeout")
        assert table.take(0.0) == [WorkerLost("w0", "timeout")]
        assert not table.dismiss("w0", "timeout")  # it is gone already
        assert table.died("w0", attempt, "killed")
        table.register(_hello(attempt + 1))
        assert table.take(0.0) == [WorkerJoined("w0", attempt + 1)]
    assert not table.died("w0", 3, "boom")  # a death of its own still counts, and max_restarts is 0
    with pytest.raises(BackendError, match="worker='w9'"):
        table.dismiss("w9", "timeout")


def test_a_worker_that_leaves_was_planned_to_and_did_not_die(table: WorkerTable) -> None:
    table.report(Report("w0", 0, 1, Leaving("its memory is 900 MB")))
    assert table.take(0.0) == [WorkerLost("w0", "its memory is 900 MB", planned=True)]
    table.submit("w0", DropMessage("t"))  # void, and no error: the search has not read of it yet
    assert table.died("w0", 0, "exited with status 5")
    table.register(_hello(1))
    assert not table.died("w0", 1, "boom")


@pytest.mark.case(3, 21)
@pytest.mark.parametrize("news", [DONE, Failed(UNIT, "error", "late", trial_fault=False)])
def test_a_late_report_is_refused_with_a_warning_that_names_both_attempts(
    table: WorkerTable, clock: Clock, caplog: pytest.LogCaptureFixture, news: Done | Failed
) -> None:
    clock.now += 60.0
    assert table.silent(15.0) == ["w0"]
    table.register(_hello(4))
    table.take(0.0)
    with caplog.at_level(logging.WARNING), pytest.raises(SupersededError, match="Attempt 0"):
        table.report(Report("w0", 0, 1, news))
    (record,) = caplog.records
    assert "attempt 0 of worker w0 comes too late and is refused; attempt 4 serves now" in record.getMessage()
    assert "trial='t0'" in record.getMessage()
    assert table.take(0.0) == []


@pytest.mark.case(3)
def test_a_late_report_without_a_successor_says_why_it_is_late(
    table: WorkerTable, caplog: pytest.LogCaptureFixture
) -> None:
    table.dismiss("w0", "timeout")
    with pytest.raises(SupersededError):
        table.report(Report("w0", 0, 1, DONE))
    assert "refused; it was lost: timeout" in caplog.text


@pytest.mark.case(6)
def test_when_no_worker_is_left_it_is_said_what_to_do(table: WorkerTable) -> None:
    assert not table.died("w0", 0, "ended by SIGKILL")
    table.take(0.0)
    with pytest.raises(WorkerLostError, match=r"kept: mend the cause and run the search again.*w0: ended by SIGKILL"):
        table.take(0.0)


@pytest.mark.case(7)
def test_what_is_below_the_floor_neither_joins_nor_is_replaced(table: WorkerTable) -> None:
    """A cancelled Spark task may start one more program before its end comes."""
    table.dismiss("w0", "timeout")
    table.refuse_below("w0", 1_000_000)
    table.take(0.0)
    assert not table.died("w0", 0, "superseded")  # its supervisor asks, and is to start no other
    with pytest.raises(SupersededError):
        table.register(_hello(1))
    assert table.died("w0", None, "its Spark job was cancelled")  # whoever keeps the jobs is; no death is counted
    table.register(_hello(1_000_000))
    assert table.take(0.0) == [WorkerJoined("w0", 1)]
