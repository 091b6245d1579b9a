"""`HyperHyperModel.fit` on Spark, killed and interrupted: the same program again ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cerebro_nas.testing import DriverCrash

pytestmark = [pytest.mark.chaos, pytest.mark.spark, pytest.mark.timeout(600)]

_PROGRAM = Path(__file__).with_name("program_fit.py")


def _start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(_PROGRAM), str(directory), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(directory),
    )


def _environment(directory: Path) -> dict[str, str]:
    (directory / "tmp").mkdir(parents=True, exist_ok=True)
    return {**os.environ, "TMPDIR": str(directory / "tmp")}


def _fit(directory: Path) -> str:
    """Run the program to its end; give the leaderboard."""
    child = _start(directory)
    output, _ = child.communicate(timeout=240)
    assert child.returncode == 0, output[-4000:]
    return (directory / "rows.csv").read_text()


def _journal(directory: Path) -> str:
    return "".join(path.read_text() for path in (directory / "store").glob("runs/*/journal.jsonl"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the search gives when nothing happens to it."""
    directory: Path = tmp_path_factory.mktemp("whole")
    return _fit(directory)


@pytest.mark.case(9)
def test_killed(tmp_path: Path, rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    dead = DriverCrash(after=30).run(f"{_PROGRAM}:search", str(tmp_path))
    assert dead.returncode == -signal.SIGKILL, dead.stdout[-4000:]
    assert _journal(tmp_path).count("\n") == 31
    assert _fit(tmp_path) == rows


@pytest.mark.case(10)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted(tmp_path: Path, rows: str, number: signal.Signals) -> None:
    child = _start(tmp_path)
    deadline = time.monotonic() + 120
    while _journal(tmp_path).count('"kind":"run"') < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(number)
    began = time.monotonic()
    output, _ = child.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert child.returncode == {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143}[number], output[-4000:]
    assert "Stopping: units that run have 30 s to end" in output
    assert '"kind":"interrupted"' in _journal(tmp_path)
    assert _fit(tmp_path) == rows


@pytest.mark.case(10)
def test_interrupted_while_data_is_prepared(tmp_path: Path, rows: str) -> None:
    marker = tmp_path / "marker"
    child = _start(tmp_path, str(marker))
    while not marker.exists() and child.poll() is None:
        time.sleep(0.05)
    time.sleep(2.0)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGINT, output[-4000:]
    assert not list((tmp_path / "tmp").glob("cerebro*")), output[-4000:]
    assert _fit(tmp_path) == rows
