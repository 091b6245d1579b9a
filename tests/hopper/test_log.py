"""The schedule log reads like the tuple of entries that it stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.hopper import Outcome
from cerebro_nas.hopper import Phase
from cerebro_nas.hopper import ScheduleEntry
from cerebro_nas.hopper import ScheduleLog
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit

SECONDS = st.floats(0, 1e6)
PHASES: list[Phase] = ["train", "evaluate", "call"]
OUTCOMES: list[Outcome] = ["done", "failed", "lost"]
ENTRIES = st.builds(
    ScheduleEntry,
    st.sampled_from(["w0", "w1"]),
    st.builds(
        Unit,
        st.text(max_size=3),
        st.sampled_from(PHASES),
        st.integers(0, 1000),
        st.one_of(st.none(), st.builds(Shard, st.sampled_from(["train", "valid"]), st.integers(0, 5))),
        st.integers(0, 9),
    ),
    SECONDS,
    SECONDS,
    SECONDS,
    st.sampled_from(OUTCOMES),
    st.one_of(
        st.dictionaries(st.sampled_from(["a_s", "b_s"]), SECONDS),
        st.just({"reason": "oom", "message": "…"}),
        st.just({"bytes": 3}),
    ),
)


def logged(entries: list[ScheduleEntry]) -> ScheduleLog:
    log = ScheduleLog()
    for e in entries:
        log.add(e.worker, e.unit, e.started, e.finished, e.busy_seconds, e.outcome, e.detail)
    return log


@given(st.lists(ENTRIES, max_size=12))
def test_it_gives_back_what_was_added(entries: list[ScheduleEntry]) -> None:
    log = logged(entries)
    assert list(log) == entries
    assert len(log) == len(entries)
    assert log == entries
    assert log[1:-1] == tuple(entries[1:-1])
    for i in range(-len(entries), len(entries)):
        assert log[i] == entries[i]
        assert list(log[i].detail) == list(entries[i].detail)
    with pytest.raises(IndexError):
        log[len(entries)]


def test_logs_differ_by_any_entry() -> None:
    entry = ScheduleEntry("w0", Unit("a", "call", 0, None), 0.0, 1.0, 1.0, "done")
    other = ScheduleEntry("w0", Unit("a", "call", 0, None), 0.0, 2.0, 1.0, "done")
    assert logged([entry]) == logged([entry])
    assert logged([entry]) != logged([other])
    assert logged([entry]) != logged([entry, entry])


def test_a_log_that_grows_is_read_to_its_end() -> None:
    entry = ScheduleEntry("w0", Unit("a", "call", 0, None), 0.0, 1.0, 1.0, "done")
    log = logged([entry])
    reader = iter(log)
    next(reader)
    log.add("w1", entry.unit, 1.0, 2.0, 1.0, "done", {})
    assert next(reader).worker == "w1"


def test_details_cannot_be_changed_through_an_entry() -> None:
    detail = {"reason": "oom"}
    log = logged([ScheduleEntry("w0", Unit("a", "call", 0, None), 0.0, 1.0, 0.0, "failed", detail)])
    detail["reason"] = "changed"
    log[0].detail["reason"] = "changed too"
    assert log[0].detail == {"reason": "oom"}
