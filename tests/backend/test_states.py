"""Where a state comes from when its holder is gone: the store, and nothing else (case 2)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cerebro_nas.backend import BackendEvent
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import RunCommand
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.storage import StateFiles
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec

HERE = Path(__file__).parent
SHARDS = tuple(ShardSpec("train", index, f"train/{index}", 1, 1) for index in range(2))


class FakeEngineBackend(LocalBackend):
    engine = "fake_engine:Engine"

    def _paths(self) -> tuple[str, ...]:
        return (*super()._paths(), str(HERE))


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[FakeEngineBackend]:
    with FakeEngineBackend(2) as backend:
        backend.start(SearchSpec("data", str(tmp_path / "states"), SHARDS, (), (), (), seed=0, batch_size=1))
        _until(backend, lambda events: len(events) == 2)
        yield backend


def _until(backend: LocalBackend, done: object) -> list[BackendEvent]:
    events: list[BackendEvent] = []
    deadline = time.monotonic() + 30
    while not done(events) and time.monotonic() < deadline:  # type: ignore[operator]
        events += backend.events(1.0)
    return events


def _run(generation: int, state: StateRef, phase: str = "train") -> RunCommand:
    unit = Unit("t", phase, 0, Shard("train", 0))  # type: ignore[arg-type]
    return RunCommand(unit, state, CandidateSpec("t", "model", {"bytes": 50}, (), ()))


def _train_and_kill(backend: FakeEngineBackend) -> list[BackendEvent]:
    """Train on w0 until the state is stored, then kill it."""
    backend.submit("w0", _run(0, StateRef(0)))
    events = _until(backend, lambda events: StateStored("t", 1) in events)
    (done,) = [event for event in events if isinstance(event, UnitDone)]
    os.kill(int(done.report.metrics["pid"]), signal.SIGKILL)
    return _until(backend, lambda events: any(isinstance(event, WorkerLost) for event in events))


def test_a_state_whose_holder_died_comes_from_the_store(backend: FakeEngineBackend, tmp_path: Path) -> None:
    assert _train_and_kill(backend)
    assert StateFiles(str(tmp_path / "states")).generations("t") == [1]
    backend.submit("w1", _run(1, StateRef(1, holder="w0", stored=True)))
    events = _until(backend, lambda events: any(isinstance(event, UnitDone) for event in events))
    (done,) = [event for event in events if isinstance(event, UnitDone)]
    assert (done.worker, done.report.rows, done.report.metrics["loss"]) == ("w1", 51, 1.0)


def test_a_damaged_state_is_missing_not_used(backend: FakeEngineBackend, tmp_path: Path) -> None:
    assert _train_and_kill(backend)
    path = tmp_path / "states" / "t" / "state-1.safetensors"
    path.write_bytes(b"\x00" + path.read_bytes()[1:])
    backend.submit("w1", _run(1, StateRef(1, holder="w0", stored=True)))
    events = _until(backend, lambda events: any(isinstance(event, UnitFailed) for event in events))
    (failed,) = [event for event in events if isinstance(event, UnitFailed)]
    assert (failed.reason, failed.trial_fault) == ("state_missing", False)


def test_a_state_that_was_fetched_to_evaluate_is_served_on(backend: FakeEngineBackend) -> None:
    """The scheduler takes the worker that ran last for the holder, also after an evaluation."""
    backend.submit("w0", _run(0, StateRef(0)))
    _until(backend, lambda events: any(isinstance(event, UnitDone) for event in events))
    backend.submit("w1", _run(1, StateRef(1, holder="w0"), "evaluate"))
    _until(backend, lambda events: any(isinstance(event, UnitDone) for event in events))
    backend.submit("w0", _run(1, StateRef(1, holder="w1")))
    events = _until(backend, lambda events: any(isinstance(event, UnitDone) for event in events))
    (done,) = [event for event in events if isinstance(event, UnitDone)]
    assert done.report.rows == 51
