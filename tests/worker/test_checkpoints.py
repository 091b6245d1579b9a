"""The thread that writes states: what it must write, what it may leave, what it makes of failures, and how it ends."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.errors import StoreError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.worker import _checkpoints
from cerebro_nas.worker._checkpoints import Checkpoints
from cerebro_nas.worker._write_budget import SHARE
from cerebro_nas.worker._write_budget import WriteBudget


class Store:
    """Remembers what was written; while `go` is not set, a write waits."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()
        self.written: list[tuple[str, int]] = []
        self.full = False
        self.tries = 0

    def write(self, trial: str, generation: int, payload: bytes) -> str:
        self.tries += 1
        self.begun.set()
        self.go.wait(10)
        if self.full:
            error = StoreError("/store/t needs 3 MiB free")
            error.errno = errno.ENOSPC
            raise error
        self.written.append((trial, generation))
        return f"{generation:06d}-{len(self.written):08x}"

    def read(self, trial: str, name: str) -> bytes:
        raise NotImplementedError


class Bench:
    """Checkpoints on a store, and what they told."""

    def __init__(self, epoch: int = 100, budget: WriteBudget | None = None) -> None:
        self.store = Store()
        self.stored: list[tuple[Unit, int, str]] = []
        self.failed: list[str] = []
        self.checkpoints = Checkpoints(self.store, lambda *news: self.stored.append(news), self.failed.append, budget)
        self._epoch = epoch

    def put(self, trial: str, generation: int, payload: bytes = b"x", seconds: float = 1000.0) -> None:
        keep = generation % self._epoch == 0
        self.checkpoints.put(_unit(trial, generation), generation, payload, seconds, keep=keep)

    def hold(self, trial: str = "other", generation: int = 1) -> None:
        """Have the thread stuck in a write until `go` is set."""
        self.store.go.clear()
        self.store.begun.clear()
        self.put(trial, generation)
        assert self.store.begun.wait(10)

    def settle(self) -> None:
        """Wait until the thread has nothing to do that it may do."""
        checkpoints = self.checkpoints
        with checkpoints._changed:
            assert checkpoints._changed.wait_for(
                lambda: checkpoints._writing is None and checkpoints._next() is None, 10
            )


def _unit(trial: str, generation: int) -> Unit:
    return Unit(trial, "train", 0, Shard("train", generation))


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.store.go.set()
    bench.checkpoints.close(10)


@pytest.fixture
def poor() -> Iterator[Bench]:
    """May spend nothing on states inside an epoch; an epoch has two train units."""
    bench = Bench(epoch=2, budget=WriteBudget(share=0.0))
    yield bench
    bench.store.go.set()
    bench.checkpoints.close(10)


# --- what is written --------------------------------------------------------------------------------------------------


def test_the_unit_the_generation_and_the_name_are_told(bench: Bench) -> None:
    bench.put("a", 3)
    assert bench.checkpoints.flush(10)
    assert bench.stored == [(_unit("a", 3), 3, "000003-00000001")]
    assert not bench.failed


def test_states_that_were_superseded_are_skipped(bench: Bench) -> None:
    bench.hold()
    for generation in range(1, 6):
        bench.put("a", generation)
    bench.store.go.set()
    assert bench.checkpoints.flush(10)
    assert bench.store.written == [("other", 1), ("a", 5)]


@pytest.mark.case(12)
def test_the_end_of_an_epoch_is_never_skipped(poor: Bench) -> None:
    """The best state of a trial is one of these, and it is what a search gives in the end."""
    poor.hold("a", 2)
    for generation in range(3, 8):
        poor.put("a", generation)
    poor.store.go.set()
    poor.settle()
    assert poor.store.written == [("a", 2), ("a", 4), ("a", 6)]
    assert poor.checkpoints.close(10)
    assert poor.store.written[3:] == [("a", 7)]


def test_trials_do_not_supersede_each_other(bench: Bench) -> None:
    bench.hold("a")
    bench.put("b", 1)
    bench.put("c", 1)
    bench.store.go.set()
    assert bench.checkpoints.flush(10)
    assert [trial for trial, _ in bench.store.written] == ["a", "b", "c"]


def test_what_waited_longest_comes_first_and_ends_of_epochs_before(bench: Bench) -> None:
    bench.hold()
    for trial, generation in (("a", 1), ("b", 1), ("a", 2), ("c", 100)):
        bench.put(trial, generation)
    bench.store.go.set()
    assert bench.checkpoints.flush(10)
    assert bench.store.written[1:] == [("c", 100), ("a", 2), ("b", 1)]


# --- the budget -------------------------------------------------------------------------------------------------------


def test_without_a_budget_the_newest_waits_for_a_flush(poor: Bench) -> None:
    for trial, generation in (("a", 1), ("b", 1), ("a", 3)):
        poor.put(trial, generation)
    poor.settle()
    assert not poor.store.written
    assert poor.checkpoints.flush(10)
    assert sorted(poor.store.written) == [("a", 3), ("b", 1)]


def test_a_skipped_state_is_written_when_there_is_a_budget_again() -> None:
    bench = Bench(budget=WriteBudget(share=0.5))
    bench.put("a", 1, b"x" * 10**6, seconds=0.001)
    bench.settle()
    assert not bench.store.written
    bench.put("b", 1, seconds=10.0)
    bench.settle()
    assert sorted(bench.store.written) == [("a", 1), ("b", 1)]
    assert bench.checkpoints.close(10)


def test_a_flush_leaves_it_in_use(poor: Bench) -> None:
    for generation in (1, 3, 5):
        poor.put("a", generation)
        assert poor.checkpoints.flush(10)
    assert [generation for _, generation in poor.store.written] == [1, 3, 5]
    poor.put("a", 7)
    poor.settle()
    assert len(poor.store.written) == 3


def test_what_another_worker_has_newer_is_forgotten_but_for_ends_of_epochs(poor: Bench) -> None:
    poor.hold("a", 2)
    poor.put("b", 2)
    poor.put("b", 3)
    poor.put("c", 1)
    for trial in ("b", "c", "never seen"):
        poor.checkpoints.forget(trial)
    poor.store.go.set()
    assert poor.checkpoints.close(10)
    assert poor.store.written == [("a", 2), ("b", 2)]


_UNITS = st.lists(st.tuples(st.integers(1, 10**8), st.floats(0.001, 30)), min_size=1, max_size=60)


@given(units=_UNITS, slowness=st.floats(0.1, 20), waiting=st.floats(0, 5))
def test_writing_takes_no_more_than_its_share(units: list[tuple[int, float]], slowness: float, waiting: float) -> None:
    """What a write costs is not known before, so the last one may exceed the budget by its error."""
    budget, trained, taken, worst = WriteBudget(), 0.0, 0.0, 0.0
    for size, seconds in units:
        budget.earn(seconds)
        trained += seconds
        if budget.allows(size):
            busy = slowness * (0.001 + size / 1e9)
            cost = busy + 0.05 * waiting
            budget.spend(size, busy, waiting)
            taken += cost
            worst = max(worst, cost)
    assert taken <= SHARE * trained + worst


@given(st.integers(1, 10**8), st.floats(0.1, 20))
def test_the_estimate_comes_to_what_writes_cost(size: int, slowness: float) -> None:
    budget = WriteBudget(share=1.0)
    cost = slowness * (0.001 + size / 1e9)
    for _ in range(40):
        budget.spend(size, cost, 0.0)
        budget.earn(cost)
    assert not budget.allows(size)
    budget.earn(0.98 * cost)
    assert not budget.allows(size)
    budget.earn(0.04 * cost)
    assert budget.allows(size)


def test_a_long_stall_does_not_end_checkpointing() -> None:
    """A write that waited for a minute is no reason never to write again."""
    budget = WriteBudget()
    budget.spend(10**6, 0.01, 60.0)
    written = 0
    for _ in range(600):
        budget.earn(1.0)
        if budget.allows(10**6):
            budget.spend(10**6, 0.004, 0.01)
            written += 1
    assert written > 300


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.case(13)
def test_a_full_disk_is_told_once_and_nothing_is_lost(bench: Bench) -> None:
    bench.store.full = True
    for generation in (100, 101, 200):
        bench.put("a", generation)
        bench.settle()
    assert bench.store.tries == 3
    assert bench.failed == ["State 100 of trial a was not stored: /store/t needs 3 MiB free"]
    bench.store.full = False
    bench.put("a", 201)
    assert bench.checkpoints.flush(10)
    assert bench.store.written == [("a", 100), ("a", 200), ("a", 201)]


@pytest.mark.case(13)
def test_a_flush_says_that_a_state_could_not_be_written(bench: Bench) -> None:
    bench.store.full = True
    bench.put("a", 1)
    assert not bench.checkpoints.flush(10)
    bench.store.full = False
    assert bench.checkpoints.flush(10)
    assert bench.store.written == [("a", 1)]


@pytest.mark.case(13)
def test_one_trial_that_cannot_be_written_does_not_hold_up_another() -> None:
    bench = Bench()
    write = bench.store.write

    def refuse_a(trial: str, generation: int, payload: bytes) -> str:
        if trial == "a":
            raise StoreError("a is out of reach")
        return write(trial, generation, payload)

    bench.store.write = refuse_a  # type: ignore[method-assign]
    for trial in "abab":
        bench.put(trial, 100)
    assert not bench.checkpoints.close(10)
    assert bench.store.written == [("b", 100), ("b", 100)]


@pytest.mark.case(13)
def test_a_write_that_fails_after_news_came_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came while it was failing was its chance to be tried again, and was given before it had failed."""
    write = bench.store.write

    def once_full(trial: str, generation: int, payload: bytes) -> str:
        name = write(trial, generation, payload)
        if bench.store.tries == 1:
            raise StoreError("needs 3 MiB free")
        return name

    monkeypatch.setattr(bench.store, "write", once_full)
    bench.hold("t", generation=100)
    bench.put("other", 1)
    bench.store.go.set()
    bench.settle()
    assert [(unit.trial, generation) for unit, generation, _ in bench.stored].count(("t", 100)) == 1


@pytest.mark.case(14)
def test_a_store_that_stalls_does_not_fill_the_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checkpoints, "_HELD_BYTES", 50)
    bench.hold()
    for generation in range(100, 1100, 100):
        bench.put("a", generation, b"x" * 10)
    bench.store.go.set()
    assert bench.checkpoints.flush(10)
    assert [generation for _, generation in bench.store.written] == [1, 700, 800, 900, 1000]
    assert bench.failed == ["State 100 of trial a was given up: too many wait."]


def test_close_says_when_it_could_not_finish(bench: Bench) -> None:
    bench.hold()
    assert not bench.checkpoints.close(0.05)
    bench.store.go.set()


@pytest.mark.case(35)
def test_no_thread_is_left() -> None:
    before = threading.active_count()
    for _ in range(20):
        bench = Bench()
        bench.put("a", 1)
        assert bench.checkpoints.close(10)
        bench.checkpoints._thread.join(10)
    assert threading.active_count() == before


# --- whatever comes ---------------------------------------------------------------------------------------------------

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.floats(0, 0.2)),
        st.tuples(st.sampled_from(["flush", "fail", "heal"]), st.just(""), st.just(0.0)),
    ),
    max_size=40,
)


@pytest.mark.case(13)
@settings(max_examples=60, deadline=None)
@given(steps=_STEPS, epoch=st.integers(1, 4))
def test_after_a_flush_the_store_has_the_newest_of_every_trial_and_all_ends_of_epochs(
    steps: list[tuple[str, str, float]], epoch: int
) -> None:
    bench = Bench(epoch)
    newest: dict[str, int] = {}
    for kind, trial, seconds in steps:
        if kind == "put":
            newest[trial] = newest.get(trial, 0) + 1
            bench.put(trial, newest[trial], seconds=seconds)
        elif kind == "flush":
            assert bench.checkpoints.flush(10) or bench.store.full
        else:
            bench.store.full = kind == "fail"
    bench.store.full = False
    assert bench.checkpoints.close(10)
    written = bench.store.written
    ends = {(trial, end) for trial, last in newest.items() for end in range(epoch, last + 1, epoch)}
    assert ends | set(newest.items()) <= set(written)
    assert len(set(written)) == len(written)
    assert [(unit.trial, generation) for unit, generation, _ in bench.stored] == written
    for trial in newest:
        order = [generation for name, generation in written if name == trial]
        assert order == sorted(order)
