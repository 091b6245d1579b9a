"""How one unit goes on a simulated worker, with all that befalls it: seconds from its beginning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cerebro_nas.backend.simulated._faults import Delay
from cerebro_nas.backend.simulated._faults import Freeze
from cerebro_nas.backend.simulated._faults import Kill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cerebro_nas.backend._base import RunCommand
    from cerebro_nas.backend.simulated._faults import Place
    from cerebro_nas.backend.simulated._faults import UnitFault
    from cerebro_nas.backend.simulated._worker import SimulatedWorker


@dataclass
class Course:
    """A unit on its way.

    Attributes:
        worker: where it runs, and `life` in which of its lives.
        command: what it is.
        faults: those that strike it.
        busy: seconds of computing; None: the state it starts from is nowhere.
        places: when it comes to each place but the last.
        trained: when its state is made.
        kept: its state is in memory and on its way to the store.
        outlived: its worker was given up for lost while it stood still.
        hung: it never goes on.
    """

    worker: SimulatedWorker
    life: int
    command: RunCommand
    faults: Sequence[UnitFault]
    busy: float | None
    places: dict[Place, float]
    trained: float
    kept: bool = False
    outlived: bool = False
    hung: bool = False

    @property
    def is_current(self) -> bool:
        """Whether its worker still runs it."""
        return self.worker.life == self.life and self.worker.current is self.command

    def at(self, place: Place) -> list[UnitFault]:
        """Faults that strike at a place."""
        return [fault for fault in self.faults if getattr(fault, "at", "") == place]

    def ahead(self) -> list[tuple[float, UnitFault]]:
        """Faults that strike at all places but the last, and when."""
        return [(self._moment(place, fault), fault) for place in self.places for fault in self.at(place)]

    def _moment(self, place: Place, fault: UnitFault) -> float:
        moment = self.places[place]
        if place == "in_unit" and isinstance(fault, Kill):
            return min(moment + fault.after_seconds, self.places["after_unit"])
        return moment


def plan_course(
    worker: SimulatedWorker, command: RunCommand, faults: Sequence[UnitFault], *, fetch: float, busy: float | None
) -> Course:
    """Lay out a unit.

    Args:
        worker: where it runs.
        command: what it is.
        faults: those that strike it.
        fetch: seconds until it has its shard and the state it starts from.
        busy: seconds of computing; None: there is no state to start from.
    """
    if not faults:
        return Course(worker, worker.life, command, faults, busy, {}, fetch + (busy or 0.0))
    work = pause_at(faults, "before_unit") + fetch
    done = work + pause_at(faults, "in_unit") + (busy or 0.0)
    places: dict[Place, float] = {"before_unit": 0.0, "in_unit": work, "after_unit": done}
    return Course(worker, worker.life, command, faults, busy, places, done + pause_at(faults, "after_unit"))


def pause_at(faults: Sequence[UnitFault], place: Place) -> float:
    """Seconds that a unit is held up at a place."""
    return sum(fault.seconds for fault in faults if isinstance(fault, Delay | Freeze) and fault.at == place)
