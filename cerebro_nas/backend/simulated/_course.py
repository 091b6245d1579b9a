"""How one unit goes on a simulated worker, with all that befalls it: seconds from its beginning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cerebro_nas.backend.simulated._faults import Delay
from cerebro_nas.backend.simulated._faults import Freeze
from cerebro_nas.backend.simulated._faults import Hang
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
        places: when it comes to each place.
        trained: when its state is made.
        end: when it is reported.
        kept: its state is in memory and on its way to the store.
        outlived: its worker was given up for lost while it stood still.
    """

    worker: SimulatedWorker
    life: int
    command: RunCommand
    faults: Sequence[UnitFault]
    busy: float | None
    places: dict[Place, float]
    trained: float
    end: float
    kept: bool = False
    outlived: bool = False

    @property
    def is_current(self) -> bool:
        """Whether its worker still runs it."""
        return self.worker.life == self.life and self.worker.current is self.command

    def kills(self) -> list[tuple[float, Kill]]:
        """When its worker is killed, apart from kills that wait for the write of its state."""
        found = []
        for fault in self.faults:
            if isinstance(fault, Kill) and fault.at != "mid_write":
                at = self.places[fault.at]  # type: ignore[index]  # no timed one strikes a unit
                if fault.at == "in_unit":
                    at = min(at + fault.after_seconds, self.trained)
                found.append((at, fault))
        return found

    def hang(self) -> float | None:
        """When it comes to a standstill for ever."""
        return min((self.places[fault.at] for fault in self.faults if isinstance(fault, Hang)), default=None)

    def freezes(self) -> list[tuple[float, float]]:
        """When its worker's process stops, and for how long."""
        return [(self.places[fault.at], fault.seconds) for fault in self.faults if isinstance(fault, Freeze)]


def plan_course(
    worker: SimulatedWorker,
    command: RunCommand,
    faults: Sequence[UnitFault],
    *,
    fetch: float,
    busy: float | None,
    store: float,
) -> Course:
    """Lay out a unit.

    Args:
        worker: where it runs.
        command: what it is.
        faults: those that strike it.
        fetch: seconds until it has its shard and the state it starts from.
        busy: seconds of computing; None: there is no state to start from.
        store: seconds that its state takes to the store.
    """
    if not faults:
        done = fetch + (busy or 0.0)
        return Course(worker, worker.life, command, faults, busy, {}, done, done)
    work = _pause(faults, "before_unit") + fetch
    trained = work + _pause(faults, "in_unit") + (busy or 0.0)
    told = trained + _pause(faults, "after_unit")
    places: dict[Place, float] = {"before_unit": 0.0, "in_unit": work, "after_unit": trained, "before_commit": told}
    if any(getattr(fault, "at", "") == "before_commit" for fault in faults):
        places["before_commit"] += store
    end = places["before_commit"] + _pause(faults, "before_commit")
    return Course(worker, worker.life, command, faults, busy, places, told, end)


def _pause(faults: Sequence[UnitFault], place: Place) -> float:
    return sum(fault.seconds for fault in faults if isinstance(fault, Delay | Freeze) and fault.at == place)
