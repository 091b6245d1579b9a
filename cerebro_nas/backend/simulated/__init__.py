"""A backend with a virtual clock: whole searches in milliseconds, for tests, tutorials and research on scheduling."""

from __future__ import annotations

from cerebro_nas.backend.simulated._backend import SimulatedBackend
from cerebro_nas.backend.simulated._faults import FailUnit
from cerebro_nas.backend.simulated._faults import Fault
from cerebro_nas.backend.simulated._faults import JoinLate
from cerebro_nas.backend.simulated._faults import Kill

__all__ = ["FailUnit", "Fault", "JoinLate", "Kill", "SimulatedBackend"]
