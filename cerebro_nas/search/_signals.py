"""Ctrl-C, a notebook's interrupt and SIGTERM: the first asks a search to end in order, the second ends it at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from types import TracebackType
from typing import Any
from typing import NoReturn

GRACE_SECONDS = 30.0
_TERMINATED = 143
_LEAVING_SECONDS = 5.0


class StopSignals:
    """Takes SIGINT and SIGTERM while it is entered, in the main thread; elsewhere Python allows no handlers.

    PySpark's own handler of SIGINT cancels every job, the workers' among them, and is put back afterwards like any
    other.

    Args:
        grace: seconds that running units have to end after the first signal.
        clock: seconds, monotonic.
    """

    def __init__(self, grace: float = GRACE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.grace = grace
        self._clock = clock
        self._first: int | None = None
        self._since = 0.0
        self._left_at: float | None = None
        self._before: dict[int, Any] = {}

    @property
    def wanted(self) -> bool:
        """Whether the search is to end."""
        return self._first is not None

    @property
    def ends_program(self) -> bool:
        """Whether the program is to end too, even where the search came to its end in the meantime."""
        return self._first == signal.SIGTERM

    def patience_is_over(self) -> bool:
        """Whether the grace period has passed."""
        return self.wanted and self._clock() - self._since >= self.grace

    def raise_again(self) -> NoReturn:
        """End the program as the signal would have.

        Raises:
            KeyboardInterrupt: it was SIGINT; a script ends with status 130.
            SystemExit: it was SIGTERM; status 143.
        """
        if self._first == signal.SIGTERM:
            raise SystemExit(_TERMINATED)
        raise KeyboardInterrupt

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # None: it was set by something that is not Python, and cannot be put back.
            if handler is not None:
                signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = self._clock()
        if self._first is None:
            self._first, self._since = number, now
        elif self._left_at is None or now - self._left_at >= _LEAVING_SECONDS:
            # Whoever keeps the key pressed shall not break off the tidying up that follows at once.
            self.grace, self._left_at = 0.0, now
            self.raise_again()
