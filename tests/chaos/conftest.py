"""What the tests of real processes share: searches in processes of their own, and what they left."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from cerebro_nas.testing import FaultPlan

PROGRAM = Path(__file__).with_name("program.py")
_MARK = "CEREBRO_NAS_CHAOS_RUN"
_CLOCKED = ("cost.seconds", "cost.units", "cost.latency_ms")


class Run:
    """A process that runs a search, see `program.py`; and what is on disk of the search."""

    def __init__(self, lab: Lab, name: str, pid: int, mark: str, log: Path) -> None:
        self.lab = lab
        self.pid = pid
        self.directory = lab.directory / name
        self.log = log
        self._mark = mark

    def wait(self, seconds: float = 90.0) -> int | None:
        """The exit status, negative for a signal; None: it did not end, and was killed."""
        status: int | None = self.lab.ask({"wait": self.pid, "seconds": seconds})["status"]
        return status

    def kill(self, number: int) -> None:
        """Send a signal."""
        psutil.Process(self.pid).send_signal(number)

    def records(self) -> list[dict[str, Any]]:
        """The journal's records so far."""
        return records(self.directory)

    def until(self, come: Callable[[list[dict[str, Any]]], bool], seconds: float = 60.0) -> list[dict[str, Any]]:
        """Wait until the journal holds what is wanted."""
        deadline = time.monotonic() + seconds
        while not come(found := self.records()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.output()}\n{found[-3:]}")
            time.sleep(0.01)
        return found

    def output(self) -> str:
        """What it wrote."""
        return self.log.read_text() if self.log.exists() else ""

    def rows(self) -> list[dict[str, str]]:
        """The leaderboard by trial, without what depends on the clock."""
        with (self.directory / "leaderboard.csv").open() as stream:
            rows = [{k: v for k, v in row.items() if k not in _CLOCKED} for row in csv.DictReader(stream)]
        return sorted(rows, key=lambda row: row["trial"])

    def workers(self) -> list[int]:
        """Processes that it started and that live."""
        return [process.pid for process in psutil.process_iter() if process.pid != self.pid and self._is_its(process)]

    def left(self, seconds: float = 10.0, *, ended: bool = True) -> list[str]:
        """Processes and temporary files that are left after so many seconds at most.

        Args:
            seconds: how long to wait for their end.
            ended: the search came to its end: files of states that were written in part are swept by then.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = [f"process {pid}" for pid in self.workers()]
            found += [f"file {path.name}" for path in self.lab.scratch.iterdir()]
            found += [f"state {path}" for path in self.directory.glob("states-*/*/.tmp*") if ended]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def _is_its(self, process: psutil.Process) -> bool:
        try:
            return bool(process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == self._mark)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


class Lab:
    """Starts searches below a directory. A process that has all modules loaded is forked for each."""

    def __init__(self, directory: Path, scratch: Path, server: subprocess.Popen[str]) -> None:
        self.directory = directory
        self.scratch = scratch
        self._server = server
        self._runs: list[Run] = []

    def start(self, name: str = "a", *, plan: FaultPlan | None = None, **job: Any) -> Run:
        """Begin a search, or go on with that of this name, in a process of its own; `job` as in `program.Job`."""
        mark = uuid.uuid4().hex
        log = self.directory / f"{name}.log"
        request = {"directory": str(self.directory / name), "log": str(log), **job}
        request["environment"] = {_MARK: mark, "TMPDIR": str(self.scratch)}
        if plan is not None:
            request["faults"] = plan.to_json(str(self.marks()))
        run = Run(self, name, self.ask(request)["pid"], mark, log)
        self._runs.append(run)
        return run

    def run(self, name: str = "a", *, plan: FaultPlan | None = None, **job: Any) -> Run:
        """`start`, and wait for a good end."""
        run = self.start(name, plan=plan, **job)
        status = run.wait()
        if status != 0:
            pytest.fail(f"{name} ended with {status}:\n{run.output()[-4000:]}")
        return run

    def marks(self) -> Path:
        """A new directory for a plan's strikes."""
        return Path(tempfile.mkdtemp(prefix="marks-", dir=self.directory))

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have the server do something."""
        if self._server.stdin is None or self._server.stdout is None:
            raise RuntimeError("the server has no pipes")
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer

    def close(self) -> None:
        """End what still runs."""
        for run in self._runs:
            for pid in (run.pid, *run.workers()):
                try:
                    process = psutil.Process(pid)
                    if run._is_its(process):
                        process.kill()
                except psutil.NoSuchProcess:
                    continue


def records(directory: Path) -> list[dict[str, Any]]:
    """Records of a journal that may be in use: a line that is not whole yet is left out."""
    path = directory / "journal.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines][1:]


@pytest.fixture(scope="session")
def _server() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        yield server


@pytest.fixture
def lab(tmp_path: Path, _server: subprocess.Popen[str]) -> Iterator[Lab]:
    """Searches in processes of their own; nothing of them outlives the test."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    found = Lab(tmp_path, scratch, _server)
    yield found
    found.close()
