"""Counters in a directory, which outlive the processes that count."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path


class Marks:
    """Counts by files that are created exclusively: every count is given to one process only, also to one that dies.

    Args:
        directory: where the files are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._known: dict[int, int] = {}

    def count(self, index: int, most: int) -> int:
        """Count one more for `index`, unless there are `most`; give how many that makes, over all processes."""
        with self._lock:
            while (number := self._known.get(index, 0) + 1) <= most:
                self._known[index] = number
                if self._create(f"{index}-{number}"):
                    return number
            return number

    def since(self, name: str) -> float:
        """Seconds since the first call with this name, by any process."""
        self._create(name)
        return time.time() - (self._directory / name).stat().st_mtime

    def note(self, name: str, value: float) -> None:
        """Leave a number for later processes."""
        (self._directory / name).write_text(repr(value))

    def noted(self, name: str) -> float | None:
        """What was left under this name."""
        try:
            return float((self._directory / name).read_text())
        except FileNotFoundError:
            return None

    def total(self, index: int) -> int:
        """How many there are for `index`."""
        return sum(1 for _ in self._directory.glob(f"{index}-*"))

    def _create(self, name: str) -> bool:
        try:
            os.close(os.open(self._directory / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True
