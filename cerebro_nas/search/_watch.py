"""What takes too long: units that hang, and workers that do not come back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cerebro_nas.errors import SearchAborted

if TYPE_CHECKING:
    from cerebro_nas.backend import Backend
    from cerebro_nas.hopper import Overdue

# Building and tracing a large model makes no steps, and takes minutes on a slow machine.
STALL_SECONDS = 300.0
NO_WORKERS_SECONDS = 300.0


class Watch:
    """Rules about time. The caller says what time it is.

    Args:
        stall_seconds: seconds without a training step after which an overdue unit counts as hung. A unit that takes
            long but makes steps is left alone.
        no_workers_timeout: seconds that a search waits for workers to come back.
    """

    def __init__(self, stall_seconds: float = STALL_SECONDS, no_workers_timeout: float = NO_WORKERS_SECONDS) -> None:
        self._stall_seconds = stall_seconds
        self._no_workers_timeout = no_workers_timeout
        self._enough_at: float | None = None

    def hung(self, overdue: Iterable[Overdue], backend: Backend) -> list[Overdue]:
        """Of the units that take too long, those whose worker makes no progress."""
        return [late for late in overdue if self._stalls(backend.stalled_seconds(late.worker))]

    def workers(self, available: int, needed: int, now: float) -> None:
        """Note how many workers there are.

        Raises:
            SearchAborted: they have been too few for too long.
        """
        if available >= needed:
            self._enough_at = now
        # Until the first worker came the backend itself watches the time.
        if self._enough_at is None or now - self._enough_at < self._no_workers_timeout:
            return
        raise SearchAborted(
            f"For {now - self._enough_at:.0f} s there were fewer than {needed} workers that can be used. "
            f"Received: {available} workers. Nothing is lost: look at the workers' logs, and call `fit` again "
            "(with overwrite=False) to go on."
        )

    def _stalls(self, seconds: float | None) -> bool:
        # A backend that cannot tell leaves the time as the only sign.
        return seconds is None or seconds >= self._stall_seconds
