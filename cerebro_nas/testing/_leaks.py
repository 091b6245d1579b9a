"""What a process has running beside itself, before and after."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable


class Leaks:
    """Remember the threads and child processes of now, to find later what has come and not gone.

    Args:
        ignore_process: whether a process, by its command line, belongs to something that outlives a backend (a daemon
            of Spark, say).
        ignore_thread: likewise, by a thread's name.
    """

    def __init__(
        self,
        ignore_process: Callable[[list[str]], bool] = lambda command: False,
        ignore_thread: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self._ignore_process = ignore_process
        self._ignore_thread = ignore_thread
        self._threads = {t.ident for t in threading.enumerate()}
        self._processes = {p.pid for p in psutil.Process().children(recursive=True)}

    def found(self, patience: float = 10.0) -> list[str]:
        """Describe what is left, after waiting up to `patience` seconds for it to go."""
        until = time.monotonic() + patience
        while (left := self._left()) and time.monotonic() < until:
            time.sleep(0.05)
        return left

    def _left(self) -> list[str]:
        threads = [t for t in threading.enumerate() if t.ident not in self._threads and not self._ignore_thread(t.name)]
        return [f"thread {t.name}" for t in threads] + self._left_processes()

    def _left_processes(self) -> list[str]:
        left = []
        for process in psutil.Process().children(recursive=True):
            try:
                command = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if process.pid not in self._processes and not self._ignore_process(command):
                left.append(f"process {process.pid}: {' '.join(command)}")
        return left
