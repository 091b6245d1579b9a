"""Where a state comes from when its holder is gone: the store, and nothing else."""

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
    (tmp_path / "states").mkdir()
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
    spec = CandidateSpec("t", "model", {"bytes": 50}, (), ())
    return RunCommand(unit, state, spec, keep=generation + 1 == len(SHARDS))


def _end_of_epoch(events: list[BackendEvent]) -> list[StateStored]:
    # A state inside an epoch is stored where that costs little; the one at its end, which `keep` is for, in any case.
    return [event for event in events if isinstance(event, StateStored) and event.generation == 2]


def _done(events: list[BackendEvent]) -> list[UnitDone]:
    return [event for event in events if isinstance(event, UnitDone)]


def _train_and_kill(backend: FakeEngineBackend) -> str:
    """Train on w0 until the epoch's state is stored, then kill it; return the name of the state."""
    backend.submit("w0", _run(0, StateRef(0)))
    _until(backend, _done)
    backend.submit("w0", _run(1, StateRef(1, holder="w0")))
    events = _until(backend, lambda events: _end_of_epoch(events) and _done(events))
    (stored,), (done,) = _end_of_epoch(events), _done(events)
    assert stored.unit == done.unit
    os.kill(int(done.report.metrics["pid"]), signal.SIGKILL)
    _until(backend, lambda events: any(isinstance(event, WorkerLost) for event in events))
    return stored.name


def _failed(backend: FakeEngineBackend, state: StateRef) -> UnitFailed:
    backend.submit("w1", _run(2, state))
    events = _until(backend, lambda events: any(isinstance(event, UnitFailed) for event in events))
    (failed,) = [event for event in events if isinstance(event, UnitFailed)]
    return failed


@pytest.mark.case(1)
def test_a_state_whose_holder_died_comes_from_the_store(backend: FakeEngineBackend, tmp_path: Path) -> None:
    name = _train_and_kill(backend)
    assert StateFiles(str(tmp_path / "states")).names("t")[-1] == name
    backend.submit("w1", _run(2, StateRef(2, holder="w0", stored=name)))
    (done,) = _done(_until(backend, _done))
    assert (done.worker, done.report.rows, done.report.metrics["loss"]) == ("w1", 52, 2.0)


@pytest.mark.case(12)
@pytest.mark.parametrize("file", ["safetensors", "json"])
def test_a_damaged_state_is_missing_not_used(backend: FakeEngineBackend, tmp_path: Path, file: str) -> None:
    name = _train_and_kill(backend)
    path = tmp_path / "states" / "t" / f"state-{name}.{file}"
    path.write_bytes(b"\x00" + path.read_bytes()[1:])
    failed = _failed(backend, StateRef(2, holder="w0", stored=name))
    assert (failed.reason, failed.trial_fault) == ("state_missing", False)
    assert f"State 2 of trial t is corrupt in the store, and no worker has it: {path} is damaged" in failed.message
    assert "goes on from the state stored before it" in failed.message


@pytest.mark.case(2, 12)
@pytest.mark.parametrize("suffix", ["safetensors", "json"])
def test_a_state_that_was_removed_is_missing(backend: FakeEngineBackend, tmp_path: Path, suffix: str) -> None:
    name = _train_and_kill(backend)
    (tmp_path / "states" / "t" / f"state-{name}.{suffix}").unlink()
    assert _failed(backend, StateRef(2, holder="w0", stored=name)).reason == "state_missing"


@pytest.mark.case(2)
def test_a_state_that_the_search_does_not_count_on_is_not_used(backend: FakeEngineBackend) -> None:
    """What lies in the store under the same generation may be of a lineage that was given up."""
    assert _train_and_kill(backend)
    failed = _failed(backend, StateRef(2, holder="w0"))
    assert (failed.reason, failed.trial_fault) == ("state_missing", False)
    assert "State 2 of trial t is not in the store and no worker has it." in failed.message


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
