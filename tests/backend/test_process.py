"""What a worker program leaves behind when it dies, and who clears it away."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend._process import WorkerProcess
from cerebro_nas.backend.local import _local
from cerebro_nas.backend.spark import _supervisor
from cerebro_nas.worker.messages import WorkerConfig

pytestmark = pytest.mark.case(35)


class Killed(WorkerProcess):
    """A program that is killed once it has decoded a shard: it removes nothing."""

    def __init__(self, config: WorkerConfig, environment: dict[str, str], log: Path) -> None:
        self._log, self._scratch = log, Path(config.scratch)
        self.pid = 1
        (self._scratch / "train-00000").mkdir(parents=True)
        (self._scratch / "train-00000" / "features").write_bytes(b"rows")
        log.write_text("the last words\n")

    def wait(self) -> int:
        return -9

    def kill(self) -> None:
        """It is dead already."""


def _config(scratch: str = "") -> WorkerConfig:
    return WorkerConfig("grpc://h:1", "5e" * 32, "w0", 0, scratch, "", 0)


def test_a_program_that_died_leaves_nothing_under_a_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_supervisor, "WorkerProcess", Killed)
    for attempt in range(3):
        told = _supervisor._run_one(_config(), {}, tmp_path, attempt)
        assert "SIGKILL" in told
        assert "the last words" in told
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_died_leaves_nothing_under_a_local_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_local, "WorkerProcess", Killed)
    backend = LocalBackend(1)
    told: list[str] = []

    def died(worker: str, attempt: int, reason: str) -> bool:
        told.append(reason)
        return attempt < 2

    monkeypatch.setattr(backend, "_worker_config", lambda *_: _config())
    session: Any = SimpleNamespace(
        scratch=SimpleNamespace(path=tmp_path),
        stopping=threading.Event(),
        table=SimpleNamespace(died=died),
        location="",
        tls=None,
    )
    backend._keep(session, "w0")
    assert len(told) == 3
    assert all("the last words" in reason for reason in told)
    assert list(tmp_path.iterdir()) == []
