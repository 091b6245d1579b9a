"""A store of states on whose disk things go wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NoReturn

from cerebro_nas.backend.simulated import CorruptState
from cerebro_nas.backend.simulated import FailStore
from cerebro_nas.backend.simulated import FillDisk
from cerebro_nas.backend.simulated import SlowStore
from cerebro_nas.backend.simulated import StoreFault
from cerebro_nas.errors import StoreError
from cerebro_nas.storage import local_path


class FaultyStore:
    """Passes calls on to a store, with faults.

    Args:
        store: the store, such as `cerebro_nas.storage.StateFiles`.
        url: directory that it keeps states below.
        strike: gives the faults that strike a call (`"write"` or `"read"`) about a trial.
        befall: gives what befalls the next state of a trial that is written: damages to its files, and what to call
            in the middle of the write.
    """

    def __init__(
        self,
        store: Any,
        url: str,
        strike: Callable[[str, str], Sequence[StoreFault]],
        befall: Callable[[str], tuple[Sequence[CorruptState], Callable[[], NoReturn] | None]],
    ) -> None:
        self._store = store
        self._root = local_path(url)
        self._strike = strike
        self._befall = befall
        self._changed = threading.Condition()
        self._written: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, trial: str, generation: int, payload: bytes) -> str:
        """Write a state and give its name."""
        faults = self._strike("write", trial)
        damages, kill = self._befall(trial)
        _slow_down(faults)
        with _at_flush(self._refusal(faults, kill)):
            name: str = self._store.write(trial, generation, payload)
        for damage in damages:
            _damage(self._root / trial, name, damage)
        with self._changed:
            self._written[trial] = generation
            self._changed.notify_all()
        return name

    def read(self, trial: str, name: str) -> bytes:
        """Read a state."""
        faults = self._strike("read", trial)
        _slow_down(faults)
        for fault in faults:
            if isinstance(fault, FailStore):
                error = StoreError(f"State {name} of trial {trial} could not be read: {os.strerror(fault.errno)}.")
                error.errno = fault.errno
                raise error
        found: bytes = self._store.read(trial, name)
        return found

    def wait_for(self, trial: str, generation: int, seconds: float) -> bool:
        """Wait until a state as new as that has been written; say whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._written.get(trial, -1) >= generation, seconds)

    def _refusal(
        self, faults: Sequence[StoreFault], kill: Callable[[], NoReturn] | None
    ) -> Callable[[int], None] | None:
        """What happens when a file's bytes go to the disk."""
        numbers = [errno.ENOSPC for fault in faults if isinstance(fault, FillDisk)]
        numbers += [fault.errno for fault in faults if isinstance(fault, FailStore)]
        if kill is None and not numbers:
            return None

        def refuse(handle: int) -> None:
            if kill is not None:
                os.ftruncate(handle, os.fstat(handle).st_size // 2)
                kill()
            raise OSError(numbers[0], os.strerror(numbers[0]))

        return refuse


@contextlib.contextmanager
def _at_flush(action: Callable[[int], None] | None) -> Iterator[None]:
    """Call `action` in place of this thread's `os.fsync`, by which every whole write of this package goes."""
    if action is None:
        yield
        return
    flush, here = os.fsync, threading.get_ident()

    def instead(handle: int) -> None:
        (action if threading.get_ident() == here else flush)(handle)

    os.fsync = instead  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync = flush


def _slow_down(faults: Sequence[StoreFault]) -> None:
    time.sleep(sum(fault.seconds for fault in faults if isinstance(fault, SlowStore)))


def _damage(directory: Path, name: str, fault: CorruptState) -> None:
    for path in directory.glob(f"*{name}*"):
        if (path.suffix == ".json") == (fault.file == "manifest"):
            damage_file(path, fault.damage)


def damage_file(path: Path, damage: str) -> None:
    """Damage a file as `CorruptState` does: `"flip"`, `"truncate"`, `"empty"` or `"missing"`."""
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
        return
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :] if data else data
    path.write_bytes({"flip": flipped, "truncate": data[:middle], "empty": b""}[damage])
