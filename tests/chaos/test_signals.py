"""SIGINT and SIGTERM in the middle of a search with real workers: it stops in order, and can be gone on with."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pytest

from cerebro_nas.testing import Delay
from cerebro_nas.testing import FaultPlan
from cerebro_nas.testing import JoinLate

if TYPE_CHECKING:
    from tests.chaos.conftest import Lab
    from tests.chaos.conftest import Run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

_JOB: dict[str, Any] = {"trials": 4, "epochs": 2, "unit_seconds": 0.1}
_whole: list[dict[str, str]] = []
_STATUS = {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143}
"""Python ends a script that an interrupt ends by SIGINT itself, which a shell shows as 130."""


def _runs(records: list[dict[str, Any]]) -> int:
    return sum(record["kind"] == "run" for record in records)


def _middle(run: Run) -> None:
    run.until(lambda records: _runs(records) >= 8)


@pytest.fixture
def rows(lab: Lab) -> list[dict[str, str]]:
    """What the search gives when nobody interrupts it."""
    if not _whole:
        _whole.extend(lab.run("whole", **_JOB).rows())
    return _whole


@pytest.mark.case(10)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_once(lab: Lab, rows: list[dict[str, str]], number: signal.Signals) -> None:
    run = lab.start(**_JOB)
    _middle(run)
    run.kill(number)
    began = time.monotonic()
    assert run.wait() == _STATUS[number], run.output()
    assert time.monotonic() - began < 8
    assert run.left() == []
    records = run.records()
    assert records[-1]["kind"] == "interrupted"
    # Every unit that was sent has come to its end, and every state is in the store.
    kinds = [record["data"]["type"] for record in records if record["kind"] == "event"]
    assert kinds.count("UnitDone") == _runs(records)
    for name in ("leaderboard.csv", "schedule.jsonl", "timeline.svg"):
        assert (run.directory / name).stat().st_size > 0
    again = lab.run(**_JOB)
    assert again.rows() == rows
    assert again.left() == []
    # Nothing was trained twice.
    assert _runs(again.records()) == _runs(lab.run("other", **_JOB).records())


@pytest.mark.case(10)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_twice(lab: Lab, rows: list[dict[str, str]], number: signal.Signals) -> None:
    run = lab.start(plan=FaultPlan([Delay(seconds=30.0, times=9)]), **_JOB)
    run.until(lambda records: _runs(records) >= 2)
    run.kill(number)
    time.sleep(1.0)
    assert run.workers()
    run.kill(number)
    began = time.monotonic()
    assert run.wait() == _STATUS[number], run.output()
    assert time.monotonic() - began < 4
    assert run.left() == []
    assert lab.run(**_JOB).rows() == rows


@pytest.mark.case(10)
def test_a_key_that_is_kept_pressed(lab: Lab, rows: list[dict[str, str]]) -> None:
    run = lab.start(plan=FaultPlan([Delay(seconds=30.0, times=9)]), verbose=2, **_JOB)
    run.until(lambda records: _runs(records) >= 2)
    for _ in range(4):
        run.kill(signal.SIGINT)
        time.sleep(0.03)
    began = time.monotonic()
    assert run.wait() == -signal.SIGINT, run.output()
    assert time.monotonic() - began < 4
    assert run.left() == []
    assert "It was stopped at once; run it again (with overwrite=False) to go on." in run.output()
    assert lab.run(**_JOB).rows() == rows


@pytest.mark.case(10)
def test_a_notebook_is_interrupted_and_the_cell_run_again(lab: Lab, rows: list[dict[str, str]]) -> None:
    run = lab.run(interrupt_after=20, **_JOB)
    assert "interrupted" in run.output()
    assert [record["kind"] for record in run.records()].count("interrupted") == 1
    assert run.rows() == rows
    assert run.left() == []


@pytest.mark.case(10)
def test_units_that_do_not_end_in_time(lab: Lab) -> None:
    run = lab.start(plan=FaultPlan([Delay(seconds=60.0, times=9)]), grace=2.0, **_JOB)
    run.until(lambda records: _runs(records) >= 2)
    run.kill(signal.SIGTERM)
    began = time.monotonic()
    assert run.wait() == 143, run.output()
    assert 2 <= time.monotonic() - began < 8
    assert run.left() == []


@pytest.mark.case(10)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_before_the_first_worker_has_come(lab: Lab, rows: list[dict[str, str]], number: signal.Signals) -> None:
    run = lab.start(plan=FaultPlan([JoinLate("w0", 30.0), JoinLate("w1", 30.0)]), **_JOB)
    run.until(lambda records: len(records) >= 1)
    time.sleep(0.3)
    run.kill(number)
    began = time.monotonic()
    assert run.wait() == _STATUS[number], run.output()
    assert time.monotonic() - began < 5
    assert run.left() == []
    assert lab.run(**_JOB).rows() == rows


@pytest.mark.case(10)
@pytest.mark.parametrize("times", [1, 2])
def test_while_a_candidate_is_built(lab: Lab, rows: list[dict[str, str]], times: int) -> None:
    run = lab.start(**_JOB, build_seconds=3.0)
    run.until(lambda records: bool(records) and records[-1]["kind"] == "event")
    time.sleep(0.3)
    began = time.monotonic()
    for _ in range(times):
        run.kill(signal.SIGINT)
        time.sleep(0.2)
    assert run.wait() == -signal.SIGINT, run.output()
    # Once: the candidate is finished first.
    assert time.monotonic() - began < {1: 7, 2: 2.9}[times]
    assert run.left() == []
    assert lab.run(**_JOB).rows() == rows


@pytest.mark.case(10)
def test_what_a_terminal_shows(tmp_path: Path) -> None:
    """A Ctrl-C goes to all processes of the terminal; the workers are not among them."""
    text, status = _in_a_terminal({**_JOB, "directory": str(tmp_path / "a"), "verbose": 1}, b"\x03")
    assert status == -signal.SIGINT
    assert len(re.findall("Stopping: units that run have 30 s to end", text)) == 1
    assert text.count("run it again (with overwrite=False) to go on") == 1
    assert "leaked" not in text
    before = text.split("Traceback", maxsplit=1)[0]
    assert "KeyboardInterrupt" not in before


def _in_a_terminal(job: dict[str, Any], key: bytes) -> tuple[str, int]:
    """Run the search in a terminal and press a key once units run; give what was shown and the exit status."""
    program = Path(__file__).with_name("program.py")
    master, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, str(program), json.dumps(job)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", "TF_CPP_MIN_LOG_LEVEL": "3"},
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(terminal)
    shown, pressed = b"", False
    journal = Path(job["directory"]) / "journal.jsonl"
    while True:
        try:
            if select.select([master], [], [], 0.1)[0]:
                shown += os.read(master, 65536)
        except OSError:
            break
        if not pressed and journal.exists() and journal.read_text().count('"kind":"run"') >= 8:
            os.write(master, key)
            pressed = True
    os.close(master)
    return shown.decode(errors="replace"), child.wait(30)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
