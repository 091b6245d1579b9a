"""Removes states behind the driver's back: a store that is slow to remove must not slow the search."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from collections.abc import Iterable

from cerebro_nas.errors import StoreError
from cerebro_nas.storage._states import StateFiles

_LOGGER = logging.getLogger(__name__)


class Janitor:
    """A thread that removes the states it is told of, in the order it is told.

    What cannot be removed stays where it is, which costs space and nothing else; the first time it is logged.

    Args:
        states: where the states are.
    """

    def __init__(self, states: StateFiles) -> None:
        self._states = states
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._warned = False
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)
        self._thread.start()

    def remove(self, trial: str, names: Iterable[str]) -> None:
        """Have these states removed soon."""
        given = tuple(names)
        if given:
            self._jobs.put(lambda: self._states.remove(trial, given))

    def keep_only(self, trial: str, names: Iterable[str], *, sweep: bool = False) -> None:
        """Have every other state of the trial removed soon; see `StateFiles.keep_only`."""
        given = tuple(names)
        self._jobs.put(lambda: self._states.keep_only(trial, given, sweep=sweep))

    def close(self, timeout: float) -> bool:
        """Do what is left, for at most `timeout` seconds; say whether all was done. Later calls do nothing."""
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except (StoreError, OSError) as error:
                level = logging.DEBUG if self._warned else logging.WARNING
                _LOGGER.log(level, "States that are not needed any more could not be removed: %s", error)
                self._warned = True
