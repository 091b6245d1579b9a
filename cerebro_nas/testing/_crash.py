"""Drivers that die after the k-th record of their journal."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

_PROGRAM = """
import sys
sys.path[:0] = [{path!r}]
from cerebro_nas.testing import crash_after
from cerebro_nas.testing._crash import find_function
with crash_after({after}, real=True):
    find_function({target!r})(*sys.argv[1:])
"""


class SimulatedCrash(BaseException):
    """The process would have died here. Not an `Exception`: nobody may mend it."""


@contextlib.contextmanager
def crash_after(records: int, *, real: bool = False) -> Iterator[None]:
    """Within it, the process dies as soon as so many records have been appended to journals.

    Args:
        records: 1 or more; they are counted from the entry on, over all journals.
        real: end the process by SIGKILL, rather than raise.

    Raises:
        SimulatedCrash: in place of the death, where it is not real. Whoever catches it should go on as after a
            death: with nothing but what is on disk.
    """
    if records < 1:
        raise ConfigError(f"`records` must be at least 1. Received: records={records}.")
    append = Journal.append
    left = records

    @functools.wraps(append)
    def counted(self: Journal, *args: Any, **kwargs: Any) -> int:
        nonlocal left
        if left == 0:
            raise SimulatedCrash("a dead process writes nothing")
        number = append(self, *args, **kwargs)
        left -= 1
        if left:
            return number
        if real:
            os.kill(os.getpid(), signal.SIGKILL)
        raise SimulatedCrash(f"after record {number} of {self.path}")

    Journal.append = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Journal.append = append  # type: ignore[method-assign]


class DriverCrash:
    """Runs a function in a process of its own, which is killed after so many records of its journal.

    Args:
        after: records; see `crash_after`.
        timeout: seconds that the function may take.

    Example:
        >>> ended = DriverCrash(after=7).run(f"{__file__}:search", str(directory))
        >>> ended.returncode == -signal.SIGKILL
    """

    def __init__(self, after: int, timeout: float = 300.0) -> None:
        self._after = after
        self._timeout = timeout

    def run(self, target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it, and return how it ended and what it wrote.

        Args:
            target: `module:function`, or `file.py:function`.
            arguments: what to call it with.

        Raises:
            subprocess.TimeoutExpired: it took too long; it has been killed.
        """
        program = _PROGRAM.format(path=str(Path(__file__).resolve().parents[2]), after=self._after, target=target)
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self._timeout,
            check=False,
        )


def find_function(target: str) -> Callable[..., Any]:
    """Import the function that `module:function` or `file.py:function` names."""
    place, _, name = target.rpartition(":")
    if not place.endswith(".py"):
        found: Callable[..., Any] = getattr(importlib.import_module(place), name)
        return found
    spec = importlib.util.spec_from_file_location(Path(place).stem, place)
    if spec is None or spec.loader is None:
        raise ConfigError(f"`target` must name a Python file and a function in it. Received: target={target!r}.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function: Callable[..., Any] = getattr(module, name)
    return function
