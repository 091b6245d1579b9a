"""Real worker processes that hang, pile up memory, stop and come back: how they are seen, ended and replaced."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cerebro_nas.backend import BackendEvent
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import RunCommand
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend._pool import Session
from cerebro_nas.backend._process import WorkerProcess
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.testing import run_search
from cerebro_nas.testing import tiny_search
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec
from cerebro_nas.worker._program import EXIT_RECYCLED

HERE = Path(__file__).parent
SHARDS = tuple(ShardSpec("train", index, f"train/{index}", 1, 1) for index in range(2))


class FakeEngineBackend(LocalBackend):
    engine = "fake_engine:Engine"
    stop_seconds = 5.0

    def _paths(self) -> tuple[str, ...]:
        return (*super()._paths(), str(HERE))


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchSpec:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # As the driver does, before the first unit of a trial.
    for trial in ("t", "u", "v", "fine"):
        (tmp_path / "states" / trial).mkdir(parents=True)
    return SearchSpec("data", str(tmp_path / "states"), SHARDS, (), (), (), seed=0, batch_size=1)


@pytest.fixture
def backend(search: SearchSpec) -> Iterator[FakeEngineBackend]:
    """One worker that must not die once: every replacement in these tests is one on purpose."""
    with FakeEngineBackend(1, max_restarts=0) as backend:
        backend.start(search)
        assert _until(backend, WorkerJoined)
        yield backend


def _run(trial: str, generation: int = 0, stored: str = "", **plan: Any) -> RunCommand:
    unit = Unit(trial, "train", 0, Shard("train", generation % 2))
    return RunCommand(unit, StateRef(generation, None, stored), CandidateSpec(trial, "model", plan, (), ()))


def _until(backend: LocalBackend, last: type[Any], seconds: float = 30.0) -> list[BackendEvent]:
    """Everything that happens up to the first event of a kind."""
    events: list[BackendEvent] = []
    deadline = time.monotonic() + seconds
    while not any(isinstance(event, last) for event in events):
        assert time.monotonic() < deadline, events
        events += backend.events(0.2)
    return events


def _pid(backend: LocalBackend) -> int:
    return backend._processes["w0"].pid


def _wait(truth: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.case(19)
def test_a_hanging_step_is_seen_and_its_process_replaced(backend: FakeEngineBackend) -> None:
    assert backend.stalled_seconds("w0") is None
    backend.submit("w0", _run("steady", steps=80))
    stalls = []
    while not any(isinstance(event, UnitDone) for event in backend.events(0.2)):
        stalls.append(backend.stalled_seconds("w0") or 0.0)
    assert max(stalls) < 4.0  # a heartbeat and a half
    backend.submit("w0", _run("stuck", do="hang"))
    _wait(lambda: (backend.stalled_seconds("w0") or 0.0) > 4.5)
    pid = _pid(backend)
    backend.restart("w0", "the unit takes too long")
    events = [event for event in _until(backend, WorkerJoined) if not isinstance(event, StateStored)]
    assert events == [WorkerLost("w0", "the unit takes too long"), WorkerJoined("w0", 1)]
    assert not Path(f"/proc/{pid}").exists()
    backend.submit("w0", _run("other"))
    assert _until(backend, UnitDone)


@pytest.mark.case(3, 19)
def test_a_stopped_process_can_be_replaced(backend: FakeEngineBackend) -> None:
    pid = _pid(backend)
    os.kill(pid, signal.SIGSTOP)
    backend.restart("w0", "stopped")
    assert _until(backend, WorkerJoined)[0] == WorkerLost("w0", "stopped")
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(BackendError, match="worker='w5'"):
        backend.restart("w5", "no such one")


@pytest.mark.case(16)
@pytest.mark.parametrize("how", ["oom", "memory"])
def test_a_unit_without_memory_fails_and_the_next_one_finds_a_fresh_process(
    backend: FakeEngineBackend, how: str
) -> None:
    before = _pid(backend)
    backend.submit("w0", _run("fine"))
    (done,) = [event for event in _until(backend, UnitDone) if isinstance(event, UnitDone)]
    backend.submit("w0", _run("large", do=how))
    events = _until(backend, WorkerJoined)
    (failed,) = [event for event in events if isinstance(event, UnitFailed)]
    assert (failed.reason, failed.trial_fault) == ("oom", False)
    assert [event for event in events if isinstance(event, WorkerLost)] == [
        WorkerLost("w0", "it ran out of memory in trial large", planned=True)
    ]
    # What the process held besides went to the store first.
    (stored,) = [event for event in events if isinstance(event, StateStored)]
    assert stored.unit == done.unit
    backend.submit("w0", _run("fine", 1, stored.name))
    (again,) = [event for event in _until(backend, UnitDone) if isinstance(event, UnitDone)]
    assert again.report.rows == done.report.rows + 1
    assert again.report.metrics["pid"] != before


@pytest.mark.slow
@pytest.mark.case(16)
def test_a_real_model_that_is_too_large_costs_a_process_and_nothing_else(tmp_path: Path) -> None:
    search, spec = tiny_search(tmp_path)
    model = json.loads(spec.model)
    next(layer for layer in model["config"]["layers"] if layer["class_name"] == "Dense")["config"]["units"] = 1 << 40
    large = dataclasses.replace(spec, trial="large", model=json.dumps(model))
    with LocalBackend(1, threads_per_worker=1, max_restarts=0) as backend:
        backend.start(search)
        _until(backend, WorkerJoined, 60.0)
        backend.submit("w0", RunCommand(Unit("large", "train", 0, Shard("train", 0)), StateRef(0), large))
        events = _until(backend, WorkerJoined, 60.0)
        assert [type(event) for event in events] == [UnitFailed, WorkerLost, WorkerJoined]
        failed, lost = events[:2]
        assert isinstance(failed, UnitFailed)
        assert (failed.reason, failed.trial_fault) == ("oom", False)
        assert isinstance(lost, WorkerLost)
        assert lost.planned
        backend.submit("w0", RunCommand(Unit("tiny", "train", 0, Shard("train", 0)), StateRef(0), spec))
        assert _until(backend, UnitDone, 60.0)


def _recycled(backend: LocalBackend, units: int, **plan: Any) -> WorkerLost:
    """Run units until the worker leaves; the only state it holds is in the store then."""
    events: list[BackendEvent] = []
    for generation in range(units):
        backend.submit("w0", _run("t", generation, **plan))
        events += _until(backend, UnitDone)
    events += _until(backend, WorkerJoined)
    (lost,) = [event for event in events if isinstance(event, WorkerLost)]
    before = events[: events.index(lost)]
    assert max(event.generation for event in before if isinstance(event, StateStored)) == units
    return lost


def test_a_worker_is_recycled_after_so_many_units(search: SearchSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = _exit_codes(monkeypatch)
    with FakeEngineBackend(1, max_restarts=0, max_units_per_worker=2) as backend:
        backend.start(search)
        _until(backend, WorkerJoined)
        for _ in range(2):
            assert _recycled(backend, 2) == WorkerLost("w0", "it has run 2 units", planned=True)
    assert codes[:2] == [EXIT_RECYCLED] * 2


def _exit_codes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []
    wait = WorkerProcess.wait

    def noted(process: WorkerProcess) -> int:
        codes.append(wait(process))
        return codes[-1]

    monkeypatch.setattr(WorkerProcess, "wait", noted)
    return codes


@pytest.mark.case(35)
def test_a_worker_is_recycled_when_its_memory_has_grown(search: SearchSpec) -> None:
    with FakeEngineBackend(1, max_restarts=0, worker_memory_limit=400 << 20) as backend:
        backend.start(search)
        _until(backend, WorkerJoined)
        lost = _recycled(backend, 3, pile_up=150 << 20)
        assert lost.planned
        assert "400 MB are allowed" in lost.reason


def test_without_a_store_nothing_is_recycled(search: SearchSpec) -> None:
    with FakeEngineBackend(1, max_units_per_worker=1) as backend:
        backend.start(dataclasses.replace(search, checkpoint=False))
        _until(backend, WorkerJoined)
        for generation in range(3):
            backend.submit("w0", _run("t", generation))
            assert [type(event) for event in _until(backend, UnitDone)] == [UnitDone]


class _Unkillable(FakeEngineBackend):
    """A machine that nobody reaches: its worker cannot be ended, and another one is started under its name."""

    silence_seconds = 3.0

    def _interrupt(self, worker: str, *, force: bool) -> None:
        session = self._session
        if session is None or session.stopping.is_set():
            super()._interrupt(worker, force=force)

    def replace(self, worker: str) -> None:
        session = self._session
        assert session is not None
        old = self._processes[worker]
        keeper = self._keeper_from(session, worker, 1)
        keeper.start()
        self._keepers.append(keeper)
        _wait(lambda: self._processes[worker] is not old)

    def _keeper_from(self, session: Session, worker: str, attempt: int) -> Any:
        def keep() -> None:
            process = self._launch(session, worker, attempt)
            if process is not None:
                session.table.died(worker, attempt, process.obituary(process.wait()))

        return threading.Thread(target=keep, daemon=True)


@pytest.mark.case(3)
def test_a_worker_that_slept_through_its_lease_is_refused_and_ends(
    search: SearchSpec, caplog: pytest.LogCaptureFixture
) -> None:
    with _Unkillable(1, max_restarts=0) as backend:
        backend.start(search)
        _until(backend, WorkerJoined)
        zombie = _pid(backend)
        backend.submit("w0", _run("t", seconds=1.0))
        time.sleep(0.3)
        os.kill(zombie, signal.SIGSTOP)
        (lost,) = [event for event in _until(backend, WorkerLost) if isinstance(event, WorkerLost)]
        assert "not heard of" in lost.reason
        backend.replace("w0")
        assert _until(backend, WorkerJoined)[-1] == WorkerJoined("w0", 1)
        fresh = _pid(backend)
        with caplog.at_level(logging.WARNING):
            os.kill(zombie, signal.SIGCONT)
            _wait(lambda: not Path(f"/proc/{zombie}").exists())
        backend.submit("w0", _run("t"))
        (done,) = [event for event in _until(backend, UnitDone) if isinstance(event, UnitDone)]
        assert done.report.metrics["pid"] == fresh != zombie
        assert backend.events(0.0) == []
    # Whichever of its calls came first was refused; where that was its report, both attempts are named.
    late = [record.getMessage() for record in caplog.records if "comes too late" in record.getMessage()]
    assert all("attempt 0 of worker w0 comes too late and is refused; attempt 1 serves now" in line for line in late)


@pytest.mark.chaos
@pytest.mark.case(3)
def test_a_search_with_a_sleeper_gives_what_it_gives_without(search: SearchSpec, tmp_path: Path) -> None:
    class Slow(_Unkillable):
        engine = "fake_engine:SlowEngine"

    def sleep_walk(backend: Slow) -> None:
        _wait(lambda: backend._session is not None and backend._session.table.is_alive("w0"))
        time.sleep(0.7)
        pid = _pid(backend)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(Slow.silence_seconds + 2.0)
        os.kill(pid, signal.SIGCONT)
        _wait(lambda: not Path(f"/proc/{pid}").exists())

    def outcome(sleeper: bool) -> list[tuple[str, int, float]]:
        backend = Slow(2)
        shards = [ShardInfo(Shard("train", index), 1, 1) for index in range(2)]
        walk = threading.Thread(target=sleep_walk, args=(backend,) if sleeper else (), daemon=True)
        if sleeper:
            walk.start()
        plans = [TrialPlan(trial, 14) for trial in ("t", "fine", "u", "v")]
        result = run_search(Hopper(shards, num_workers=2), backend, search, plans, max_seconds=60)
        if sleeper:
            walk.join(20)
        assert {end.status for end in result.trials.values()} == {TrialStatus.COMPLETED}
        # The fake engine's loss is how often the state was trained: a unit lost or done twice would show.
        return sorted((epoch.trial, epoch.epoch, epoch.metrics["loss"]) for epoch in result.epochs)

    assert outcome(sleeper=True) == outcome(sleeper=False)


def test_stopping_with_no_grace_waits_for_nothing(backend: FakeEngineBackend) -> None:
    backend.submit("w0", _run("t", do="hang"))
    begun = time.monotonic()
    backend.stop(grace=0.0)
    assert time.monotonic() - begun < 2.0


@pytest.mark.case(10)
def test_states_that_wait_are_stored_within_the_grace_of_a_stop(search: SearchSpec, tmp_path: Path) -> None:
    with FakeEngineBackend(1) as backend:
        backend.start(search)
        _until(backend, WorkerJoined)
        backend.submit("w0", _run("t"))
        _until(backend, UnitDone)
        backend.stop(grace=10.0)
    assert len(list((tmp_path / "states" / "t").glob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"min_workers": 0}, "min_workers=0"),
        ({"min_workers": 3, "num_workers": 2}, "at most `num_workers`"),
        ({"worker_memory_limit": 0}, "worker_memory_limit=0"),
        ({"max_units_per_worker": 1.5}, "max_units_per_worker=1.5"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LocalBackend(**arguments)


@pytest.mark.case(5)
def test_one_worker_is_enough_to_go_on_unless_told() -> None:
    assert LocalBackend(3).min_workers == 1
    assert LocalBackend(3, min_workers=2).min_workers == 2
    assert SimulatedBackend(3).min_workers == 1


def test_a_worker_whose_states_cannot_be_stored_stays(search: SearchSpec, tmp_path: Path) -> None:
    folder = tmp_path / "states" / "t"
    folder.rmdir()
    folder.write_text("no folder, so nothing can be written for this trial")
    with FakeEngineBackend(1, max_restarts=0, max_units_per_worker=1) as backend:
        backend.start(search)
        _until(backend, WorkerJoined)
        pid = _pid(backend)
        for generation in range(2):
            backend.submit("w0", _run("t", generation))
            assert [type(event) for event in _until(backend, UnitDone)] == [UnitDone]
        # What a process that ran out of memory holds is lost either way.
        backend.submit("w0", _run("large", do="oom"))
        assert [type(event) for event in _until(backend, WorkerJoined)] == [UnitFailed, WorkerLost, WorkerJoined]
        assert _pid(backend) != pid
