"""The live table of a terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import IO
from typing import TYPE_CHECKING
from typing import TextIO
from typing import cast

from rich import box
from rich.console import Console
from rich.live import Live

from cerebro_nas.tracking._panel import render_view
from cerebro_nas.tracking._stream import SafeStream

if TYPE_CHECKING:
    from cerebro_nas.tracking._view import SearchView


class TerminalReporter:
    """A live table that redraws itself in place, at most `rate` times a second.

    It draws from the thread that calls it and has none of its own, so nothing can be left running. While it is open,
    `print` and log lines appear above the table.

    Args:
        stream: the terminal.
        rate: redraws per second at most.
        clock: returns seconds; for tests.
        console: draw here instead, for tests.
    """

    def __init__(
        self,
        stream: TextIO,
        rate: float = 4.0,
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        self._stream = SafeStream(stream)
        # The console writes through the safe stream: rich itself answers a broken pipe by leaving the process.
        self._console = console or Console(file=cast("IO[str]", self._stream), highlight=False)
        self._ascii = not self._console.encoding.lower().startswith("utf")
        self._period = 1.0 / rate
        self._clock = clock
        self._drawn = float("-inf")
        self._live: Live | None = None
        self._handlers: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []

    def open(self, view: SearchView) -> None:
        """Draw for the first time."""
        before = (sys.stdout, sys.stderr)
        self._live = Live(
            render_view(view, self._console.size, self._box()),
            console=self._console,
            auto_refresh=False,
            transient=False,
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)
        self._redirect_handlers(before)
        self._drawn = self._clock()

    def update(self, view: SearchView) -> None:
        """Redraw unless the last drawing is too young."""
        if self._clock() - self._drawn >= self._period:
            self._draw(view)

    def message(self, text: str) -> None:
        """Print above the table."""
        self._console.print(text, markup=False, highlight=False)

    def close(self, view: SearchView, summary: str) -> None:
        """Draw for the last time, leave the table where it is and print the summary below."""
        if self._live is not None:
            try:
                self._draw(view)
            finally:
                self._release()
        if summary:
            self._stream.write(summary.rstrip("\n") + "\n")
            self._stream.flush()

    def _release(self) -> None:
        """Give the process' streams back, whatever becomes of the last drawing."""
        live, self._live = self._live, None
        self._restore_handlers()
        if live is not None:
            live.stop()

    def _draw(self, view: SearchView) -> None:
        if self._live is not None and not self._stream.dead:
            self._live.update(render_view(view, self._console.size, self._box()), refresh=True)
            self._drawn = self._clock()

    def _box(self) -> box.Box:
        return box.ASCII if self._ascii else box.ROUNDED

    def _redirect_handlers(self, before: tuple[TextIO, TextIO]) -> None:
        # rich replaces sys.stdout and sys.stderr, but a handler made earlier holds the terminal itself and would
        # write into the middle of the table.
        for handler in _stream_handlers():
            for old, new in zip(before, (sys.stdout, sys.stderr), strict=True):
                if handler.stream is old and new is not old:
                    self._handlers.append((handler, old))
                    handler.setStream(new)
                    break

    def _restore_handlers(self) -> None:
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self._handlers.clear()


def _stream_handlers() -> list[logging.StreamHandler[TextIO]]:
    loggers: list[logging.Logger] = [logging.getLogger()]
    loggers += [known for known in logging.Logger.manager.loggerDict.values() if isinstance(known, logging.Logger)]
    found = {id(handler): handler for logger in loggers for handler in logger.handlers}
    # Exactly these classes: a subclass may well look up its stream for itself (logging.lastResort does).
    return [handler for handler in found.values() if type(handler) is logging.StreamHandler]
