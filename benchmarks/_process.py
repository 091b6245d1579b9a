"""Runs a command and accounts for everything that it started: time, processor time, memory."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import psutil

from benchmarks._errors import BenchmarkError

_PERIOD_SECONDS = 0.1
_GRACE_SECONDS = 10.0
_TAIL_CHARACTERS = 2000
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class ProcessFigures:
    """What a command and all its descendants used.

    Attributes:
        seconds: from start to end.
        cpu_seconds: processor time by kind of process, user and system. It is sampled: of each process, what it used
            after the last look (a tenth of a second at most) is missing.
        peak_bytes: largest sum of all processes' resident memory, shared pages counted once per process.
        started: `time.time()` at the start.
        main: processor time of the command's own process, as (`time.time()`, seconds) at each look.
    """

    seconds: float
    cpu_seconds: Mapping[str, float]
    peak_bytes: int
    started: float
    main: Sequence[tuple[float, float]] = ()

    def main_share(self, begin: float, end: float) -> float | None:
        """Share of a core that the command's own process used between two moments; None if it was not looked at."""
        inside = [(at, seconds) for at, seconds in self.main if begin <= at <= end]
        if len(inside) < 2:
            return None
        (first, before), (last, after) = inside[0], inside[-1]
        return (after - before) / (last - first)


@dataclass
class _Sampler:
    """Looks at a tree of processes until it is told to stop."""

    family: _Family
    command: int
    peak: int = 0
    main: list[tuple[float, float]] = field(default_factory=list)
    seconds: dict[tuple[int, float], tuple[str, float]] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stopped.wait(_PERIOD_SECONDS):
            self.look()

    def look(self) -> None:
        total = 0
        for process in self.family.members():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                key = (process.pid, process.create_time())
                # Asked each time: a process shows its parent's command line until it has become what it is to be.
                self.seconds[key] = (kind_of(process.cmdline()), times.user + times.system)
                total += process.memory_info().rss
                if process.pid == self.command:
                    self.main.append((time.time(), times.user + times.system))
        self.peak = max(self.peak, total)

    def by_kind(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for kind, seconds in self.seconds.values():
            found[kind] = found.get(kind, 0.0) + seconds
        return found


def kind_of(command: Sequence[str]) -> str:
    """What a process is, by its command line."""
    text = " ".join(command)
    if command and Path(command[0]).name == "java":
        return "jvm"
    for mark, kind in (("cerebro_nas.worker", "worker"), ("pyspark.daemon", "spark python"), ("ray", "ray")):
        if mark in text:
            return kind
    return "python" if "python" in text else "other"


def run_measured(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, timeout: float, log: Path
) -> ProcessFigures:
    """Run a command to its end and measure it with all that it started, daemons included.

    Args:
        command: program and arguments.
        environment: its environment; this process's by default.
        timeout: seconds after which everything is ended.
        log: file for its output.

    Raises:
        BenchmarkError: it failed, or took too long; the message has the end of its output.
    """
    family = _Family()
    start, started = time.monotonic(), time.time()
    with _adopted_orphans(), log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(environment) if environment else None, stdout=output, stderr=subprocess.STDOUT
        )
        sampler = _Sampler(family, process.pid)
        thread = threading.Thread(target=sampler.run, daemon=True)
        thread.start()
        try:
            code: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        seconds = time.monotonic() - start
        sampler.look()
        _end_all(family)
        process.wait()
        sampler.stopped.set()
        thread.join()
    if code != 0:
        tail = log.read_text(errors="replace")[-_TAIL_CHARACTERS:]
        how = f"took longer than {timeout:.0f} s" if code is None else f"ended with status {code}"
        raise BenchmarkError(f"`{' '.join(command[:2])}` {how}. The end of its output ({log}):\n{tail}")
    return ProcessFigures(seconds, sampler.by_kind(), sampler.peak, started, tuple(sampler.main))


class _Family:
    """The processes that descend from this one, without those that were there when the family was made."""

    def __init__(self) -> None:
        self._others = set(psutil.Process().children())

    def members(self) -> list[psutil.Process]:
        """Children, among them adopted orphans, and what descends from them."""
        found: list[psutil.Process] = []
        for child in psutil.Process().children():
            if child not in self._others:
                found.append(child)
                with contextlib.suppress(psutil.Error):
                    found += child.children(recursive=True)
        return found


@contextlib.contextmanager
def _adopted_orphans() -> Iterator[None]:
    """Have daemons of the command become children of this process, so that they are seen, and ended."""
    _set_subreaper(True)
    try:
        yield
    finally:
        _set_subreaper(False)


def _set_subreaper(value: bool) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(value))


def _end_all(family: _Family) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        processes = family.members()
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(sign)
        psutil.wait_procs(processes, _GRACE_SECONDS)
