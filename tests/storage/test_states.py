from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import StoreError
from cerebro_nas.storage import StateFiles


@pytest.fixture
def states(tmp_path: Path) -> StateFiles:
    return StateFiles(f"file://{tmp_path}/my states")


def test_last_two_and_best_are_kept(states: StateFiles) -> None:
    for generation in range(1, 4):
        states.write("t1", generation, b"%d" % generation)
        if generation == 2:
            states.mark_best("t1", 2)
    for generation in range(4, 12):
        states.write("t1", generation, b"%d" % generation)
    assert states.generations("t1") == [2, 10, 11]
    assert states.best("t1") == 2
    assert [states.read("t1", generation) for generation in (2, 10, 11)] == [b"2", b"10", b"11"]
    with pytest.raises(StoreError):
        states.read("t1", 9)


def test_trials_are_apart(states: StateFiles) -> None:
    states.write("t1", 1, b"one")
    states.write("t2", 1, b"two")
    assert (states.read("t1", 1), states.read("t2", 1)) == (b"one", b"two")
    assert (states.generations("t3"), states.best("t3")) == ([], None)


def test_best_may_be_marked_before_it_is_written(states: StateFiles) -> None:
    states.mark_best("t", 2)
    for generation in range(1, 6):
        states.write("t", generation, b"x")
    assert states.generations("t") == [2, 4, 5]


def test_only_the_best_is_left(states: StateFiles) -> None:
    for generation in (1, 2):
        states.write("t", generation, b"x")
    states.delete_others("t")
    assert states.generations("t") == [1, 2]
    states.mark_best("t", 1)
    states.delete_others("t")
    assert states.generations("t") == [1]


def test_writing_a_generation_again_replaces_it(states: StateFiles) -> None:
    states.write("t", 1, b"first")
    states.write("t", 1, b"second attempt")
    assert states.read("t", 1) == b"second attempt"


@pytest.mark.parametrize("damage", [b"", b"payloaX", b"payload and more"])
def test_damaged_payload(states: StateFiles, tmp_path: Path, damage: bytes) -> None:
    states.write("t", 1, b"payload")
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(damage)
    with pytest.raises(CorruptStateError):
        states.read("t", 1)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}"])
def test_damaged_manifest(states: StateFiles, tmp_path: Path, damage: bytes) -> None:
    states.write("t", 1, b"payload")
    (file,) = tmp_path.rglob("state-1.json")
    file.write_bytes(damage)
    with pytest.raises(CorruptStateError):
        states.read("t", 1)


def test_a_payload_without_a_manifest_is_not_there(states: StateFiles, tmp_path: Path) -> None:
    states.write("t", 1, b"payload")
    (file,) = tmp_path.rglob("state-1.json")
    file.unlink()
    assert states.generations("t") == []
    with pytest.raises(StoreError):
        states.read("t", 1)


def test_spec(states: StateFiles) -> None:
    states.write_spec("t", '{"ü": 1}')
    assert states.read_spec("t") == '{"ü": 1}'
    with pytest.raises(StoreError):
        states.read_spec("other")


def test_trials_cannot_lead_elsewhere(states: StateFiles) -> None:
    with pytest.raises(ConfigError):
        states.write("../x", 1, b"")


def _write_many(url: str) -> None:
    states = StateFiles(url)
    for generation in range(1, 151):
        states.write("t", generation, b"%d" % generation * 1000)


def test_a_worker_writes_while_the_driver_marks(tmp_path: Path) -> None:
    states = StateFiles(str(tmp_path))
    process = multiprocessing.get_context("spawn").Process(target=_write_many, args=(str(tmp_path),))
    process.start()
    try:
        while process.is_alive():
            for generation in states.generations("t"):
                try:
                    assert states.read("t", generation) == b"%d" % generation * 1000
                except CorruptStateError:
                    raise
                except StoreError:
                    continue  # pruned in between
    finally:
        process.join()
    assert process.exitcode == 0
    assert states.generations("t") == [149, 150]
