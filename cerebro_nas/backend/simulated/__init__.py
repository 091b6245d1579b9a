"""A backend with a virtual clock: whole searches in milliseconds, for tests, tutorials and research on scheduling."""

from __future__ import annotations

from cerebro_nas.backend.simulated._backend import SimulatedBackend
from cerebro_nas.backend.simulated._faults import FAULTS
from cerebro_nas.backend.simulated._faults import CorruptState
from cerebro_nas.backend.simulated._faults import Delay
from cerebro_nas.backend.simulated._faults import FailStore
from cerebro_nas.backend.simulated._faults import FailUnit
from cerebro_nas.backend.simulated._faults import Fault
from cerebro_nas.backend.simulated._faults import FillDisk
from cerebro_nas.backend.simulated._faults import Freeze
from cerebro_nas.backend.simulated._faults import Hang
from cerebro_nas.backend.simulated._faults import JoinLate
from cerebro_nas.backend.simulated._faults import Kill
from cerebro_nas.backend.simulated._faults import NotANumber
from cerebro_nas.backend.simulated._faults import OutOfMemory
from cerebro_nas.backend.simulated._faults import Place
from cerebro_nas.backend.simulated._faults import SlowStore
from cerebro_nas.backend.simulated._faults import StoreFault
from cerebro_nas.backend.simulated._faults import UnitFault
from cerebro_nas.backend.simulated._store import SimulatedStore
from cerebro_nas.backend.simulated._strikes import Strikes

__all__ = [
    "CorruptState",
    "Delay",
    "FAULTS",
    "FailStore",
    "FailUnit",
    "Fault",
    "FillDisk",
    "Freeze",
    "Hang",
    "JoinLate",
    "Kill",
    "NotANumber",
    "OutOfMemory",
    "Place",
    "SimulatedBackend",
    "SimulatedStore",
    "SlowStore",
    "StoreFault",
    "Strikes",
    "UnitFault",
]
