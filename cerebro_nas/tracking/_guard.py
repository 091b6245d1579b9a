"""Displays and loggers must never cost a search: the first error of one switches it off."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cerebro_nas.tracking._reporter import Reporter
    from cerebro_nas.tracking._view import SearchView

_LOGGER = logging.getLogger(__name__)


class Guard:
    """Calls what shows or records a search; after its first error that is logged once and not called any more.

    Args:
        what: what is guarded, for the log.
        cleanup: frees what it holds, called after the error.
    """

    def __init__(self, what: str, cleanup: Callable[[], object] = lambda: None) -> None:
        self._what = what
        self._cleanup = cleanup
        self._broken = False

    @property
    def broken(self) -> bool:
        """Whether there was an error."""
        return self._broken

    def run(self, call: Callable[[], object]) -> None:
        """Call, unless there was an error before. Interrupts pass: they are not errors of what is called."""
        if self._broken:
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever it is, the search is worth more than its display
            self._broken = True
            _LOGGER.warning(
                "%s failed and is switched off; the search goes on without it (%s: %s).",
                *(self._what, type(error).__name__, error),
                exc_info=True,
            )
            self._clean()

    def _clean(self) -> None:
        try:
            self._cleanup()
        except Exception:  # noqa: BLE001 - it failed before, and was logged
            _LOGGER.debug("%s could not be cleaned up.", self._what, exc_info=True)


class GuardedReporter:
    """A reporter of which no call raises.

    Args:
        inner: the reporter.
    """

    def __init__(self, inner: Reporter) -> None:
        self.inner = inner
        self._view: SearchView | None = None
        self._guard = Guard(f"The progress display ({type(inner).__name__})", self._abandon)

    def open(self, view: SearchView) -> None:
        """Begin."""
        self._view = view
        self._guard.run(lambda: self.inner.open(view))

    def update(self, view: SearchView) -> None:
        """Show the present state."""
        self._guard.run(lambda: self.inner.update(view))

    def message(self, text: str) -> None:
        """Show a line of text."""
        self._guard.run(lambda: self.inner.message(text))

    def close(self, view: SearchView, summary: str) -> None:
        """Show the last state and the summary, and free everything."""
        self._guard.run(lambda: self.inner.close(view, summary))

    def _abandon(self) -> None:
        # A live display has taken over the process' streams. The view that it could show at first may still work.
        if self._view is not None:
            self.inner.close(self._view, "")
