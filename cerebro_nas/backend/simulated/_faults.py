"""What can go wrong in a simulated cluster. Times are seconds since `start`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cerebro_nas.hopper import Unit


@dataclass(frozen=True)
class Kill:
    """`worker` dies `at`, with all it holds, and registers again `back_after` seconds later (None: never)."""

    worker: str
    at: float
    back_after: float | None = None


@dataclass(frozen=True)
class JoinLate:
    """`worker` registers `at`, instead of at once."""

    worker: str
    at: float


@dataclass(frozen=True)
class FailUnit:
    """Units fail at their end.

    Attributes:
        trial: units of this trial (None: of any).
        worker: units on this worker (None: on any).
        epoch: units of this epoch (None: of any).
        reason: as in `UnitFailed`; so is `trial_fault`.
        times: this many units fail, then no more.
    """

    trial: str | None = None
    worker: str | None = None
    epoch: int | None = None
    reason: str = "error"
    trial_fault: bool = False
    times: int = 1

    def hits(self, unit: Unit, worker: str) -> bool:
        """Whether it strikes `unit` on `worker`."""
        return self.trial in (None, unit.trial) and self.worker in (None, worker) and self.epoch in (None, unit.epoch)


Fault = Kill | JoinLate | FailUnit
