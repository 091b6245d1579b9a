from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import FencedError
from cerebro_nas.errors import LockedError
from cerebro_nas.errors import StoreError
from cerebro_nas.journal import DirectoryLock
from cerebro_nas.journal import Journal

_HOLD = """
import sys
from pathlib import Path
from cerebro_nas.journal import DirectoryLock

lock = DirectoryLock(Path(sys.argv[1]))
lock.acquire()
sys.stdout.write("held\\n")
sys.stdout.flush()
sys.stdin.readline()
lock.release()
sys.stdout.write("released\\n")
sys.stdout.flush()
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is told a line."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def elsewhere(path: Path) -> dict[str, Any]:
    """The lock is held on another host, whose system's lock does not reach here."""
    content = {"host": "elsewhere", "pid": 7, "since": "2026-01-01T00:00:00+00:00", "token": "theirs"}
    path.write_text(json.dumps(content))
    return content


def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def _token(path: Path) -> str:
    return str(json.loads(path.read_text())["token"])


def test_acquired_and_released(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock = DirectoryLock(path)
    lock.acquire()
    found = json.loads(path.read_text())
    assert (found["host"], found["pid"]) == (socket.gethostname(), os.getpid())
    assert list(found) == ["host", "pid", "since", "token"]
    lock.acquire()
    lock.check()
    lock.beat()
    assert _token(path) == found["token"]
    inode = path.stat().st_ino
    lock.release()
    lock.release()
    # Never removed: whoever waits for it has it open.
    assert (path.read_bytes(), path.stat().st_ino) == (b"", inode)
    with pytest.raises(FencedError):
        lock.check()
    with lock:
        assert _token(path) != found["token"]
    assert path.read_bytes() == b""
    assert not caplog.records
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.case(27)
def test_a_second_driver_is_refused_at_once(path: Path, holder: subprocess.Popen[str]) -> None:
    found = json.loads(path.read_text())
    begin = time.monotonic()
    with pytest.raises(LockedError) as caught:
        DirectoryLock(path).acquire()
    assert time.monotonic() - begin < 1
    for part in (f"process {holder.pid}", socket.gethostname(), found["since"]):
        assert part in str(caught.value)
    # However long it has not been heard of: the system knows that it lives.
    _age(path, 3600)
    with pytest.raises(LockedError):
        DirectoryLock(path).acquire()
    assert json.loads(path.read_text()) == found


@pytest.mark.case(27)
def test_a_second_driver_goes_on_when_the_first_has_ended(
    path: Path, holder: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "released\n"
    with DirectoryLock(path):
        assert holder.poll() is None
    assert not caplog.records


@pytest.mark.case(27)
def test_a_killed_holder_is_replaced(
    path: Path, holder: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    holder.kill()
    holder.wait()
    with DirectoryLock(path):
        (warning,) = caplog.records
        assert warning.levelno == logging.WARNING
        assert f"process {holder.pid} on host {socket.gethostname()!r}" in warning.getMessage()


_FORKS = """
import os, signal, sys, time
from pathlib import Path
from cerebro_nas.journal import DirectoryLock
DirectoryLock(Path(sys.argv[1])).acquire()
if os.fork() == 0:
    time.sleep(float(sys.argv[2]))
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.case(27)
@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_what_a_killed_holder_was_about_to_start_is_waited_for(
    path: Path, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cerebro_nas.journal._lock._CHILD_SECONDS", 1.0)
    subprocess.run([sys.executable, "-c", _FORKS, str(path), str(seconds)], check=False)
    if seconds < 1:
        DirectoryLock(path).acquire()
    else:
        with pytest.raises(LockedError):
            DirectoryLock(path).acquire()


def test_two_in_one_process(path: Path) -> None:
    with DirectoryLock(path), pytest.raises(LockedError, match=f"process {os.getpid()} "):
        DirectoryLock(path).acquire()
    DirectoryLock(path).acquire()


@pytest.mark.case(27)
def test_a_living_holder_on_another_host(path: Path, elsewhere: dict[str, Any]) -> None:
    _age(path, 25)
    with pytest.raises(LockedError, match=r"process 7 on host 'elsewhere' since '2026.*sign of life is 2\d s old"):
        DirectoryLock(path).acquire()
    assert json.loads(path.read_text()) == elsewhere
    # The refusal is no sign of life of the holder.
    assert time.time() - path.stat().st_mtime > 20
    # A clock that is ahead does not make it dead.
    _age(path, -3600)
    with pytest.raises(LockedError):
        DirectoryLock(path).acquire()


@pytest.mark.case(27)
def test_a_silent_holder_on_another_host(
    path: Path, elsewhere: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    _age(path, 35)
    with DirectoryLock(path) as lock:
        (warning,) = caplog.records
        assert f"process {elsewhere['pid']} on host 'elsewhere'" in warning.getMessage()
        lock.check()
        assert time.time() - path.stat().st_mtime < 20
    assert path.read_bytes() == b""


@pytest.mark.case(27)
def test_staleness_is_by_the_clock_of_the_file_system(
    path: Path, elsewhere: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1e12)
    with pytest.raises(LockedError):
        DirectoryLock(path).acquire()


@pytest.mark.case(27)
@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\0" * 100,
        b"\xff",
        b"[]",
        b"7",
        b"{}",
        b'{"host": "elsewhere", "pid": "7", "since": "", "token": ""}',
        b'{"host": ["elsewhere"], "pid": 7, "since": "", "token": ""}',
        b"[" * 100_000,
    ],
    ids=lambda content: repr(content)[:40],
)
def test_a_damaged_lock_file(path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(content)
    with DirectoryLock(path) as lock:
        lock.check()
        (warning,) = caplog.records
        assert "is damaged" in warning.getMessage()


def test_held_by_somebody_who_wrote_nothing(path: Path) -> None:
    with path.open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match="held by another process"):
            DirectoryLock(path).acquire()


@pytest.mark.case(27)
@pytest.mark.parametrize("how", ["another holder", "removed", "replaced", "emptied", "damaged"])
def test_an_old_driver_is_fenced(path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    lock = DirectoryLock(path)
    lock.acquire()
    content = json.dumps({"host": "elsewhere", "pid": 7, "since": "now", "token": "theirs"})
    if how in ("removed", "replaced"):
        path.unlink()
    if how != "removed":
        path.write_text({"emptied": "", "damaged": "{"}.get(how, content))
        _age(path, 10)
    before = path.stat().st_mtime_ns if path.exists() else None
    named = "process 7 on host 'elsewhere'" if how in ("another holder", "replaced") else "nobody"
    for _ in range(2):
        with pytest.raises(FencedError, match=named):
            lock.check()
    clock[0] += 6
    with pytest.raises(FencedError):
        lock.beat()
    lock.release()
    # It neither keeps the new holder's lock alive nor gives it back.
    assert (path.stat().st_mtime_ns if path.exists() else None) == before
    if how in ("another holder", "replaced"):
        assert path.read_text() == content


@pytest.mark.case(27)
def test_a_driver_that_was_thought_dead_is_fenced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both on hosts between which the system's lock is not carried: the heartbeat decides."""
    monkeypatch.setattr(fcntl, "flock", lambda handle, operation: None)
    journal = path.with_name("journal")
    old, new = DirectoryLock(path), DirectoryLock(path)
    old.acquire()
    with Journal.open(journal) as old_journal:
        monkeypatch.setattr(socket, "gethostname", lambda: "another")
        with pytest.raises(LockedError):
            new.acquire()
        _age(path, 31)
        new.acquire()
        new.check()
        with pytest.raises(FencedError, match="'another'"):
            old.check()
        with Journal.open(journal) as new_journal:
            new_journal.append("event", {}, 0.0)
            with pytest.raises(FencedError):
                old_journal.append("event", {}, 0.0)
    old.release()
    new.check()
    new.release()


def test_a_heartbeat_every_five_seconds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with DirectoryLock(path) as lock:
        for second, beats in [(1, False), (4, False), (5, True), (9, False), (10, True), (11, False)]:
            clock[0] = 1000.0 + second
            _age(path, 3600)
            lock.beat()
            assert (time.time() - path.stat().st_mtime < 60) == beats, second


def test_a_short_patience_has_a_quick_heartbeat(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with DirectoryLock(path, stale_seconds=3.0) as lock:
        _age(path, 3600)
        clock[0] += 1.5
        lock.beat()
        assert time.time() - path.stat().st_mtime < 60


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_patience_must_be_positive(path: Path, seconds: float) -> None:
    with pytest.raises(ConfigError, match="stale_seconds"):
        DirectoryLock(path, stale_seconds=seconds)


def test_a_file_replaced_while_it_is_opened_is_not_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[int] = []

    def flock(handle: int, operation: int, real: Any = fcntl.flock) -> None:
        if not replaced:
            replaced.append(handle)
            path.unlink()
            path.touch()
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with DirectoryLock(path) as lock:
        lock.check()
        with pytest.raises(LockedError):
            DirectoryLock(path).acquire()
    assert replaced


def test_a_file_that_is_always_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda handle, operation: path.unlink())
    with pytest.raises(StoreError, match="again and again"):
        DirectoryLock(path).acquire()


def test_a_file_system_without_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match=re.escape(str(path)) + " could not be locked.*Operation not supported"):
        DirectoryLock(path).acquire()


def test_no_room_for_the_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(handle: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with pytest.raises(StoreError, match="could not be written.*No space left"):
            DirectoryLock(path).acquire()
    with DirectoryLock(path):
        pass


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="could not be locked"):
        DirectoryLock(tmp_path / "missing" / "lock").acquire()


def test_an_unreadable_file_is_no_proof_of_another_holder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: str) -> None:
        raise OSError(5, "Input/output error")

    lock = DirectoryLock(path)
    lock.acquire()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(StoreError, match="could not be read") as caught:
            lock.check()
        assert not isinstance(caught.value, FencedError)
    lock.check()
    lock.release()
