"""Which faults strike, by counting what they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cerebro_nas.backend.simulated._faults import Kill
from cerebro_nas.backend.simulated._faults import StoreFault
from cerebro_nas.backend.simulated._faults import UnitFault

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from cerebro_nas.backend.simulated._faults import Fault
    from cerebro_nas.hopper import Unit


class Strikes:
    """Picks the faults that strike.

    Args:
        faults: all there are.
        count: called with the place of a fault among them when something matches it; gives how often that was.
    """

    def __init__(self, faults: Sequence[Fault], count: Callable[[int], int]) -> None:
        self._units = [(i, f) for i, f in enumerate(faults) if isinstance(f, UnitFault) and not _is_timed(f)]
        self._calls = [(i, f) for i, f in enumerate(faults) if isinstance(f, StoreFault)]
        self._count = count

    def unit(self, unit: Unit, worker: str) -> list[UnitFault]:
        """Faults that strike a unit that begins now."""
        return [f for i, f in self._units if f.hits(unit, worker) and f.strikes(self._count(i))]

    def store(self, on: str, trial: str, worker: str) -> list[StoreFault]:
        """Faults that strike a call of the store, `"write"` or `"read"`, that begins now."""
        return [f for i, f in self._calls if f.hits(on, trial, worker) and f.strikes(self._count(i))]


def _is_timed(fault: UnitFault) -> bool:
    return isinstance(fault, Kill) and fault.is_timed
