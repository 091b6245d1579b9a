"""The recent past of the scheduler, for the error that needs it."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from cerebro_nas.errors import CerebroNasError
from cerebro_nas.hopper._types import RunUnit
from cerebro_nas.hopper._types import Unit
from cerebro_nas.hopper._types import UnitDone

if TYPE_CHECKING:
    from cerebro_nas.hopper._types import Command
    from cerebro_nas.hopper._types import Event

_KEPT = 2000
_TOLD = 12


class IllegalEventError(CerebroNasError, RuntimeError):
    """An event that cannot happen in the present state. The message tells the recent story of whom it concerns."""


class Story:
    """The last events and commands, in order."""

    def __init__(self) -> None:
        self._items: deque[tuple[float, Event | Command]] = deque(maxlen=_KEPT)

    def add(self, now: float, item: Event | Command) -> None:
        """Remember `item`."""
        self._items.append((now, _brief(item)))

    def illegal(self, event: Event | Unit, problem: str, *names: str) -> IllegalEventError:
        """Build the error for `event`, or a unit to launch; the story is of the trials and workers in `names`."""
        about = [f"  {now:.3f}  {item}" for now, item in self._items if any(repr(name) in repr(item) for name in names)]
        told = "\n".join(about[-_TOLD:]) or "  (nothing is known)"
        what, feed = "event", "what the backend and the tuner produced, each event once"
        if isinstance(event, Unit):
            what, feed = "unit", "what it chose before, between the same events"
        return IllegalEventError(
            f"`{what}` {problem}. Received: {what}={event}. Feed the hopper {feed} and in order. "
            f"The story of {', '.join(names) or 'nobody'} so far:\n{told}"
        )


def _brief(item: Event | Command) -> Event | Command:
    """Without what metrics counted: it may be large, and no story is told of it."""
    if isinstance(item, RunUnit) and item.sums:
        return replace(item, sums={})
    if isinstance(item, UnitDone) and item.report.sums:
        return replace(item, report=replace(item.report, sums={}))
    return item
