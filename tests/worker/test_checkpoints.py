"""The thread that writes states: what it skips, what it must not skip, and how it ends."""

from __future__ import annotations

import threading

import pytest

from cerebro_nas.errors import StoreError
from cerebro_nas.worker._checkpoints import Checkpoints


class SlowStore:
    """Remembers what was written; the first write waits for `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.written: list[tuple[str, int, bytes]] = []
        self.refused: set[int] = set()

    def write(self, trial: str, generation: int, payload: bytes) -> None:
        self.begun.set()
        self.go.wait(10)
        if generation in self.refused:
            raise StoreError("no space left")
        self.written.append((trial, generation, payload))

    def read(self, trial: str, generation: int) -> bytes:
        raise NotImplementedError


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


def _checkpoints(store: SlowStore, epoch: int) -> tuple[Checkpoints, list[tuple[str, int]], list[str]]:
    stored: list[tuple[str, int]] = []
    failed: list[str] = []
    return Checkpoints(store, lambda t, g: stored.append((t, g)), failed.append, epoch), stored, failed


def _fill(checkpoints: Checkpoints, store: SlowStore, generations: range) -> None:
    for generation in generations:
        checkpoints.put("a", generation, bytes([generation]))
        if generation == generations.start:
            assert store.begun.wait(10)
    store.go.set()


def test_states_that_were_superseded_are_skipped(store: SlowStore) -> None:
    checkpoints, stored, _ = _checkpoints(store, epoch=100)
    _fill(checkpoints, store, range(1, 6))
    assert checkpoints.close(10)
    assert store.written == [("a", 1, b"\x01"), ("a", 5, b"\x05")]
    assert stored == [("a", 1), ("a", 5)]


def test_the_end_of_an_epoch_is_never_skipped(store: SlowStore) -> None:
    """The best state of a trial is one of these, and it is what a search gives in the end."""
    checkpoints, _, _ = _checkpoints(store, epoch=2)
    _fill(checkpoints, store, range(1, 8))
    assert checkpoints.close(10)
    assert [generation for _, generation, _ in store.written] == [1, 2, 4, 6, 7]


def test_trials_do_not_supersede_each_other(store: SlowStore) -> None:
    checkpoints, _, _ = _checkpoints(store, epoch=100)
    checkpoints.put("a", 1, b"a")
    assert store.begun.wait(10)
    checkpoints.put("b", 1, b"b")
    checkpoints.put("c", 1, b"c")
    store.go.set()
    assert checkpoints.close(10)
    assert [trial for trial, _, _ in store.written] == ["a", "b", "c"]


def test_a_write_that_fails_is_told_and_the_next_one_goes_on(store: SlowStore) -> None:
    store.refused = {1}
    checkpoints, stored, failed = _checkpoints(store, epoch=1)
    _fill(checkpoints, store, range(1, 3))
    assert checkpoints.close(10)
    assert stored == [("a", 2)]
    assert failed == ["State 1 of trial a was not stored: no space left"]


def test_close_says_when_it_could_not_finish(store: SlowStore) -> None:
    checkpoints, _, _ = _checkpoints(store, epoch=1)
    checkpoints.put("a", 1, b"a")
    assert store.begun.wait(10)
    assert not checkpoints.close(0.05)
    store.go.set()
