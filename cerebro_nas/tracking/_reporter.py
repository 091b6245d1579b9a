"""The contract of progress displays, and the choice among them."""

from __future__ import annotations

import os
import sys
from typing import Literal
from typing import Protocol
from typing import TextIO

from cerebro_nas.errors import ConfigError
from cerebro_nas.tracking._guard import GuardedReporter
from cerebro_nas.tracking._view import SearchView


class Reporter(Protocol):
    """Shows a search while it runs.

    The search calls `open` once, after what an earlier session left was taken in (which may have called `message`),
    `update` after every turn of its loop (whether something happened or not: a reporter limits its own rate and needs
    the turns for its clock), `message` for a line worth reading, such as what a trial failed of, and `close` once, on
    success and on error alike. All calls come from one thread. No method raises because of the output stream; whatever
    else it raises switches the reporter off (see `make_reporter`), and the search goes on.
    """

    def open(self, view: SearchView) -> None:
        """Begin."""

    def update(self, view: SearchView) -> None:
        """Show the present state; cheap when called often."""

    def message(self, text: str) -> None:
        """Show a line of text."""

    def close(self, view: SearchView, summary: str) -> None:
        """Show the last state and the summary, and free everything."""


class SilentReporter:
    """Shows nothing."""

    def open(self, view: SearchView) -> None:
        """Do nothing."""

    def update(self, view: SearchView) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def close(self, view: SearchView, summary: str) -> None:
        """Do nothing."""


def make_reporter(verbose: int | Literal["auto"] = "auto", stream: TextIO | None = None) -> Reporter:
    """Make the reporter that fits `verbose` and the place where output goes. None of its methods ever raises.

    Args:
        verbose: 0: silent. 1 or `"auto"`: live in a terminal, HTML in a notebook, plain lines elsewhere. 2: plain
            lines, which suit log files.
        stream: where text goes; `sys.stdout` by default. A given stream is never taken for a notebook.

    Raises:
        ConfigError: `verbose` is none of these.
    """
    if verbose not in (0, 1, 2, "auto"):
        raise ConfigError(
            "`verbose` must be 0 (silent), 1 or 'auto' (live where possible) or 2 (plain lines). "
            f"Received: verbose={verbose!r}. Choose one of these."
        )
    return GuardedReporter(_choose(verbose, stream))


def _choose(verbose: int | str, stream: TextIO | None) -> Reporter:
    if verbose == 0:
        return SilentReporter()
    # Each display is imported where it is chosen: rich and IPython are slow to load and often not needed.
    if verbose != 2 and stream is None and in_notebook():
        from cerebro_nas.tracking._notebook import NotebookReporter

        return NotebookReporter()
    target = sys.stdout if stream is None else stream
    if target is None:  # pythonw and some services have no stdout at all
        return SilentReporter()
    if verbose != 2 and is_live_terminal(target):
        from cerebro_nas.tracking._terminal import TerminalReporter

        return TerminalReporter(target)
    from cerebro_nas.tracking._plain import PlainReporter

    return PlainReporter(target)


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel. Never imports IPython: a kernel has done so already."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


def is_live_terminal(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that can move its cursor."""
    try:
        tty = stream.isatty()
    except (OSError, ValueError, AttributeError):
        return False
    return tty and os.environ.get("TERM", "dumb").lower() not in ("dumb", "unknown", "")
