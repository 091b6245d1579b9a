"""Ctrl-C, a notebook's interrupt and SIGTERM: the first asks a search to end in order, the second ends it at once."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from types import TracebackType
from typing import Any
from typing import NoReturn

_LOGGER = logging.getLogger(__name__)

GRACE_SECONDS = 30.0
_CANCEL_SECONDS = 0.2
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


class JobsInterrupt:
    """Has an interrupt end Spark's jobs, and then the block, by KeyboardInterrupt.

    PySpark's own handler speaks to the JVM on the connection that the main thread waits on, which breaks it: what
    comes out is an error of Py4J. A thread has a connection of its own.

    Args:
        cancel: cancels all jobs that run.
    """

    def __init__(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel
        self._wanted = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cerebro-interrupt", daemon=True)
        self._before: Any = None

    def __enter__(self) -> JobsInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        self._over.set()
        if self._wanted:
            self._thread.join()
            # What came out of jobs that were cancelled says nothing that the user does not know.
            raise KeyboardInterrupt from None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._wanted:
            raise KeyboardInterrupt
        self._wanted = True
        self._thread.start()

    def _run(self) -> None:
        # Again and again: there may be a moment between two jobs.
        while not self._over.is_set():
            try:
                self._cancel()
            except Exception:
                # The JVM is gone, and the jobs with it; the main thread is told so by its own call.
                _LOGGER.debug("Spark's jobs could not be cancelled.", exc_info=True)
            self._over.wait(_CANCEL_SECONDS)
