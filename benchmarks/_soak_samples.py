"""Looking at a search from outside: what its processes and directories hold, every few seconds."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import psutil

from benchmarks._process import kind_of

WORKER = "cerebro_nas.worker"


@dataclass(frozen=True)
class Sample:
    """What was there at one moment.

    Attributes:
        seconds: since the first look.
        trials: trials that had begun.
        values: figures by name; a name that is missing could not be looked at.
    """

    seconds: float
    trials: int
    values: dict[str, float]


@dataclass(frozen=True)
class Places:
    """Where a search keeps things.

    Attributes:
        temporary: the directory of all temporary files, Spark's included.
        search: the directory of the search's files.
    """

    temporary: Path
    search: Path


class Watcher:
    """Looks at this process, what descends from it and the directories, in a thread of its own.

    Args:
        places: the directories.
        period: seconds between two looks.
    """

    def __init__(self, places: Places, period: float) -> None:
        self.samples: list[Sample] = []
        self._places = places
        self._period = period
        self._began = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak-watcher", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._period):
            # A process or a file may go while it is looked at; the next look comes soon.
            with contextlib.suppress(psutil.Error, OSError):
                self.samples.append(self.look())

    def look(self) -> Sample:
        """Look once."""
        found = {**driver_values(), **family_values(psutil.Process().children(recursive=True))}
        files, size = count_files(self._places.temporary)
        states = list(self._places.search.glob("states-*"))
        state_files, state_bytes = count_files(*states)
        trials = sum(1 for folder in states for entry in folder.iterdir() if entry.is_dir())
        journal = self._places.search / "journal.jsonl"
        found |= {"temporary files": files, "temporary MB": size / 1e6}
        found |= {"state files": state_files, "state MB": state_bytes / 1e6}
        found["journal MB"] = journal.stat().st_size / 1e6 if journal.exists() else 0.0
        return Sample(time.monotonic() - self._began, trials, found)


def driver_values() -> dict[str, float]:
    """Figures of this process."""
    me = psutil.Process()
    return {
        "driver RSS MB": me.memory_info().rss / 1e6,
        "driver threads": me.num_threads(),
        "driver descriptors": me.num_fds(),
        "driver sockets": len(me.net_connections(kind="inet")),
    }


def family_values(family: Sequence[psutil.Process]) -> dict[str, float]:
    """Figures of what descends from the driver; supervisors are the parents of workers."""
    found: dict[str, float] = {"processes": len(family)}
    java = [process for process in family if _kind(process) == "jvm"]
    if java:
        found["JVM RSS MB"] = sum(process.memory_info().rss for process in java) / 1e6
        found["JVM threads"] = sum(process.num_threads() for process in java)
        found["JVM descriptors"] = sum(process.num_fds() for process in java)
    pids = {worker.ppid() for worker in workers(family)}
    above = [process for process in family if process.pid in pids]
    if above:
        found["supervisor RSS MB"] = max(process.memory_info().rss for process in above) / 1e6
        found["supervisor descriptors"] = max(process.num_fds() for process in above)
        found["supervisor threads"] = max(process.num_threads() for process in above)
    return found


def workers(family: Sequence[psutil.Process]) -> list[psutil.Process]:
    """The worker programs, by the process ids of their parents: always in the order of their names."""
    found = []
    for process in family:
        with contextlib.suppress(psutil.Error):
            if WORKER in process.cmdline():
                found.append((process.ppid(), process))
    return [process for _, process in sorted(found, key=lambda pair: pair[0])]


def _kind(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return kind_of(process.cmdline())
    return ""


def count_files(*folders: Path) -> tuple[int, int]:
    """Files and directories below the folders, and the files' bytes."""
    number = size = 0
    for folder in folders:
        for place, names, files in os.walk(folder):
            number += len(names) + len(files)
            for name in files:
                with contextlib.suppress(OSError):
                    size += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 - a path for every file is slow
    return number, size


@dataclass
class Killer:
    """Kills one worker after the other, in turn.

    Args:
        period: seconds between two deaths.
    """

    period: float
    killed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak-killer", daemon=True)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self.period):
            with contextlib.suppress(psutil.Error):
                self.strike(workers(psutil.Process().children(recursive=True)))

    def strike(self, candidates: Sequence[psutil.Process]) -> None:
        """Kill the one whose turn it is, if it is there."""
        if candidates:
            victim = candidates[len(self.killed) % len(candidates)]
            victim.kill()
            self.killed.append(victim.pid)
