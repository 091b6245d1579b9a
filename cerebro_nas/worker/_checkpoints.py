"""Writes states to the store behind the training loop's back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from cerebro_nas.errors import StoreError

_LOGGER = logging.getLogger(__name__)


class StateStore(Protocol):
    """What is asked of `cerebro_nas.storage.StateFiles`."""

    def write(self, trial: str, generation: int, payload: bytes) -> object:
        """Write one state, whole or not at all."""

    def read(self, trial: str, generation: int) -> bytes:
        """Read one state."""


class Checkpoints:
    """A thread that writes the newest state of each trial; where it lags, states that were superseded are skipped.

    States at the end of an epoch are never skipped: the best one is what the search gives in the end.

    Args:
        store: where to write.
        epoch_generations: train units of an epoch.
        stored: called with trial and generation after each write.
        failed: called with a message when a write failed; the state is still in the worker's memory.
    """

    def __init__(
        self,
        store: StateStore,
        stored: Callable[[str, int], None],
        failed: Callable[[str], None],
        epoch_generations: int = 1,
    ) -> None:
        self._store = store
        self._stored = stored
        self._failed = failed
        self._changed = threading.Condition()
        self._epoch_generations = epoch_generations
        self._waiting: dict[str, list[tuple[int, bytes]]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def put(self, trial: str, generation: int, payload: bytes) -> None:
        """Have this state written soon."""
        with self._changed:
            kept = [item for item in self._waiting.get(trial, []) if item[0] % self._epoch_generations == 0]
            self._waiting[trial] = [*kept, (generation, payload)]
            self._changed.notify_all()

    def close(self, grace: float) -> bool:
        """Write what waits, for at most `grace` seconds; say whether all was written."""
        deadline = time.monotonic() + grace
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._waiting))
                if not self._waiting:
                    return
                trial = next(iter(self._waiting))
                generation, payload = self._waiting[trial].pop(0)
                if not self._waiting[trial]:
                    del self._waiting[trial]
            self._write(trial, generation, payload)

    def _write(self, trial: str, generation: int, payload: bytes) -> None:
        try:
            self._store.write(trial, generation, payload)
        except (StoreError, OSError) as error:
            _LOGGER.warning("State %s of trial %s was not stored: %s", generation, trial, error)
            self._failed(f"State {generation} of trial {trial} was not stored: {error}")
            return
        self._stored(trial, generation)
