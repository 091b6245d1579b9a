"""Workers as real processes of this machine, with an engine that needs no TensorFlow (cases 1, 6, 10, 23)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import NamedTuple

import pytest

from cerebro_nas.backend import Backend
from cerebro_nas.backend import BackendEvent
from cerebro_nas.backend import DropCommand
from cerebro_nas.backend import LoadCommand
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import RunCommand
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import BackendStartTimeout
from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.testing import BackendContract
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec

HERE = Path(__file__).parent
SEARCH = SearchSpec("data", "", (), (), (), (), seed=0, batch_size=1, checkpoint=False)


class FakeEngineBackend(LocalBackend):
    engine = "fake_engine:Engine"
    stop_seconds = 5.0

    def _paths(self) -> tuple[str, ...]:
        return (*super()._paths(), str(HERE))


def _run(trial: str, generation: int = 0, holder: str | None = None, phase: Any = "train", **plan: Any) -> RunCommand:
    unit = Unit(trial, phase, 0, Shard("train", 0))
    return RunCommand(unit, StateRef(generation, holder), CandidateSpec(trial, "model", plan, (), ()))


def _events(backend: Backend, count: int) -> list[BackendEvent]:
    events: list[BackendEvent] = []
    deadline = time.monotonic() + 30
    while len(events) < count and time.monotonic() < deadline:
        events += backend.events(1.0)
    return events


def _report(backend: Backend, worker: str, command: RunCommand) -> UnitDone:
    backend.submit(worker, command)
    (event,) = _events(backend, 1)
    assert isinstance(event, UnitDone), event
    return event


def _children() -> set[int]:
    children: set[int] = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        # Threads of libraries come and go: one that was listed may have ended since.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children.update(int(pid) for pid in (task / "children").read_text().split())
    return children


class _Running(NamedTuple):
    threads: set[threading.Thread]
    children: set[int]


def _running() -> _Running:
    return _Running(set(threading.enumerate()), _children())


def _check_nothing_is_left(before: _Running) -> None:
    # A thread of an earlier test may have ended meanwhile; what counts is that none was left behind.
    assert set(threading.enumerate()) <= before.threads
    assert _children() <= before.children


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def backend(scratch: Path) -> Iterator[FakeEngineBackend]:
    before = _running()
    backend = FakeEngineBackend(2)
    backend.start(SEARCH)
    assert set(_events(backend, 2)) == {WorkerJoined("w0"), WorkerJoined("w1")}
    yield backend
    backend.stop()
    backend.stop()
    _check_nothing_is_left(before)
    assert list(scratch.iterdir()) == []


def test_a_state_hops_from_worker_to_worker(backend: FakeEngineBackend) -> None:
    first = _report(backend, "w0", _run("t", bytes=100))
    second = _report(backend, "w1", _run("t", 1, "w0"))
    third = _report(backend, "w1", _run("t", 2, "w1", "evaluate"))
    assert [done.report.rows for done in (first, second, third)] == [100, 101, 102]
    assert [done.report.detail["bytes_hopped"] for done in (first, second, third)] == [0.0, 101.0, 0.0]
    assert backend.usage().bytes_hopped == 101
    assert min(backend.usage().peak_memory_bytes.values()) > 1 << 20


def test_a_dropped_state_is_missing_and_nobody_is_to_blame(backend: FakeEngineBackend) -> None:
    _report(backend, "w0", _run("t"))
    backend.submit("w0", DropCommand("t"))
    backend.submit("w0", _run("t", 1, "w0"))
    (event,) = _events(backend, 1)
    assert isinstance(event, UnitFailed)
    assert (event.reason, event.trial_fault) == ("state_missing", False)


@pytest.mark.parametrize(
    ("plan", "reason", "fault"),
    [("refuse", "build_error", True), ("stumble", "error", False), ("spoilt", "state_missing", False)],
)
def test_failures_come_back_with_their_cause(backend: FakeEngineBackend, plan: str, reason: str, fault: bool) -> None:
    backend.submit("w0", _run("t", do=plan))
    (event,) = _events(backend, 1)
    assert isinstance(event, UnitFailed)
    assert (event.reason, event.trial_fault) == (reason, fault)
    assert any(words in event.message for words in ("stumbled", "too odd", "checksum"))


@pytest.mark.case(1)
def test_a_killed_worker_is_lost_and_joins_again(backend: FakeEngineBackend) -> None:
    backend.submit("w0", _run("t", do="kill"))
    lost, joined = _events(backend, 2)
    assert isinstance(lost, WorkerLost)
    assert "SIGKILL" in lost.reason
    assert joined == WorkerJoined("w0", 1)
    assert _report(backend, "w0", _run("u")).worker == "w0"


@pytest.mark.case(3)
def test_a_silent_worker_is_lost_and_joins_again(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEngineBackend, "silence_seconds", 3.0)
    with FakeEngineBackend(1) as backend:
        backend.start(SEARCH)
        _events(backend, 1)
        os.kill(int(_report(backend, "w0", _run("t")).report.metrics["pid"]), signal.SIGSTOP)
        lost, joined = _events(backend, 2)
        assert isinstance(lost, WorkerLost)
        assert "not heard of" in lost.reason
        assert joined == WorkerJoined("w0", 1)


@pytest.mark.case(6)
def test_without_restart_the_last_death_is_an_error_with_the_log(scratch: Path) -> None:
    class Broken(FakeEngineBackend):
        engine = "no_such_engine:Engine"

    with Broken(1, restart=False) as backend:
        backend.start(SEARCH)
        with pytest.raises(BackendError, match="No module named 'no_such_engine'"):
            _events(backend, 1)


def test_a_start_that_takes_too_long_is_an_error(scratch: Path) -> None:
    with FakeEngineBackend(1, start_timeout=0.01) as backend:
        backend.start(SEARCH)
        with pytest.raises(BackendStartTimeout, match="start_timeout=0.01"):
            _events(backend, 1)


@pytest.mark.case(10)
def test_stopping_does_not_wait_for_a_running_unit(scratch: Path) -> None:
    with FakeEngineBackend(1) as backend:
        backend.start(SEARCH)
        _events(backend, 1)
        backend.submit("w0", _run("t", seconds=60))
        begun = time.monotonic()
        backend.stop()
        assert time.monotonic() - begun < 4


def test_a_stopped_backend_can_be_started_again(backend: FakeEngineBackend) -> None:
    backend.stop()
    with pytest.raises(BackendError, match="start"):
        backend.events(0.0)
    backend.start(SEARCH)
    assert len(_events(backend, 2)) == 2


@pytest.mark.case(23)
def test_the_secret_is_nowhere_to_be_read(backend: FakeEngineBackend, scratch: Path) -> None:
    session = backend._session
    assert session is not None
    secret = session.secret.reveal()
    for pid in _children():
        for file in ("cmdline", "environ"):
            assert secret not in Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    backend.submit("w0", _run("t", do="stumble"))
    logs = "".join(log.read_text() for log in scratch.glob("*/*.log"))
    assert secret not in logs + repr(backend) + repr(session) + str(_events(backend, 1))


@pytest.mark.parametrize("arguments", [{"num_workers": 0}, {"threads_per_worker": 0}, {"start_timeout": 0}])
def test_bad_arguments_are_refused(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(ConfigError, match=f"Received: {name}=0"):
        LocalBackend(**arguments)


DRIVER = """
import sys, time
sys.path[:0] = [{root!r}, {here!r}]
from cerebro_nas.backend import LoadCommand
from cerebro_nas.backend import LocalBackend
from cerebro_nas.worker import SearchSpec

class Backend(LocalBackend):
    engine = "fake_engine:Engine"
    def _paths(self):
        return (*super()._paths(), {here!r})

backend = Backend(1)
backend.start(SearchSpec("d", "", (), (), (), (), 0, 1))
backend.events(30)
print(backend._processes["w0"].pid, flush=True)
# Short sleeps: a signal that comes just before a sleep begins does not end it.
for _ in range(1200):
    time.sleep(0.05)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.case(10)
def test_workers_and_their_files_do_not_outlive_the_driver(tmp_path: Path, number: int) -> None:
    code = DRIVER.format(root=str(HERE.parents[1]), here=str(HERE))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    driver = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    )
    with driver:
        assert driver.stdout is not None
        pid = int(driver.stdout.readline())
        driver.send_signal(number)
        driver.wait(20)
    deadline = time.monotonic() + 10
    while (Path(f"/proc/{pid}").exists() or list(tmp_path.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
class TestLocalContract(BackendContract):
    def make_backend(self, num_workers: int) -> LocalBackend:
        return LocalBackend(num_workers, threads_per_worker=1)


def test_workers_launched_ahead_join_when_the_search_is_known(scratch: Path) -> None:
    before = _running()
    with FakeEngineBackend(2) as backend:
        assert backend.launch()
        with pytest.raises(BackendError, match=r"call start\(\) first"):
            backend.events(0.0)
        deadline = time.monotonic() + 20
        while len(_children() - before.children) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        ahead = _children()
        assert backend.launch()
        backend.start(SEARCH)
        assert set(_events(backend, 2)) == {WorkerJoined("w0"), WorkerJoined("w1")}
        assert _children() == ahead  # the same processes: start() made no others
        assert _report(backend, "w0", _run("t")).worker == "w0"
        with pytest.raises(BackendError, match="runs a search already"):
            backend.launch()
    _check_nothing_is_left(before)


def test_workers_launched_ahead_end_when_no_search_comes(scratch: Path) -> None:
    before = _running()
    backend = FakeEngineBackend(2)
    backend.launch()
    deadline = time.monotonic() + 20
    # Both wait for a search: the calls that registered them are held by the driver.
    while backend._open_session().table.joined < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    began = time.monotonic()
    backend.stop()
    assert time.monotonic() - began < 3.0  # told, not waited for
    _check_nothing_is_left(before)
    assert list(scratch.iterdir()) == []


def test_a_shard_is_loaded_ahead_and_a_failure_of_that_harms_nobody(backend: FakeEngineBackend) -> None:
    backend.submit("w0", LoadCommand(Shard("train", 7)))
    backend.submit("w0", LoadCommand(Shard("valid", 404)))
    assert _report(backend, "w0", _run("t")).report.metrics["loaded"] == 1.0
