"""Contract tests, fault plans and a small search loop, shipped so that you can hold parts of your own to the same."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.backend.simulated import CorruptState
from cerebro_nas.backend.simulated import Delay
from cerebro_nas.backend.simulated import FailStore
from cerebro_nas.backend.simulated import FailUnit
from cerebro_nas.backend.simulated import Fault
from cerebro_nas.backend.simulated import FillDisk
from cerebro_nas.backend.simulated import Freeze
from cerebro_nas.backend.simulated import Hang
from cerebro_nas.backend.simulated import JoinLate
from cerebro_nas.backend.simulated import Kill
from cerebro_nas.backend.simulated import NotANumber
from cerebro_nas.backend.simulated import OutOfMemory
from cerebro_nas.backend.simulated import SlowStore
from cerebro_nas.testing._contract import BackendContract
from cerebro_nas.testing._crash import DriverCrash
from cerebro_nas.testing._crash import SimulatedCrash
from cerebro_nas.testing._crash import crash_after
from cerebro_nas.testing._drive import SimulatedSearch
from cerebro_nas.testing._drive import run_search
from cerebro_nas.testing._drive import shard_search
from cerebro_nas.testing._faults import FaultPlan
from cerebro_nas.testing._faulty_store import damage_file
from cerebro_nas.testing._leaks import Leaks
from cerebro_nas.testing._strategies import HARMLESS
from cerebro_nas.testing._strategies import SURVIVABLE
from cerebro_nas.testing._strategies import fault_plans
from cerebro_nas.testing._strategies import random_plan
from cerebro_nas.testing._tiny import tiny_search
from cerebro_nas.testing._worker_faults import worker_hooks

if TYPE_CHECKING:
    from cerebro_nas.testing._playing import Played
    from cerebro_nas.testing._playing import play
    from cerebro_nas.testing._tuner_contract import TunerContract

__all__ = [
    "BackendContract",
    "CorruptState",
    "Delay",
    "DriverCrash",
    "FailStore",
    "FailUnit",
    "Fault",
    "FaultPlan",
    "FillDisk",
    "Freeze",
    "HARMLESS",
    "Hang",
    "JoinLate",
    "Kill",
    "Leaks",
    "NotANumber",
    "OutOfMemory",
    "Played",
    "SURVIVABLE",
    "SimulatedCrash",
    "SimulatedSearch",
    "SlowStore",
    "TunerContract",
    "crash_after",
    "damage_file",
    "fault_plans",
    "play",
    "random_plan",
    "run_search",
    "shard_search",
    "tiny_search",
    "worker_hooks",
]


# They load KerasTuner, which takes seconds that tests of a backend need not wait for.
_LAZY = {"Played": "_playing", "TunerContract": "_tuner_contract", "play": "_playing"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
