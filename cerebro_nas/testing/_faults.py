"""Fault plans: what goes wrong in a search, as data, for any backend."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from cerebro_nas.backend.simulated import FAULTS
from cerebro_nas.backend.simulated import Fault
from cerebro_nas.backend.simulated import SimulatedBackend
from cerebro_nas.backend.simulated import StoreFault
from cerebro_nas.backend.simulated import UnitFault
from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import Shard
from cerebro_nas.testing._marks import Marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cerebro_nas.backend import Backend

HOOKS = "cerebro_nas.testing:worker_hooks"
"""What a worker program calls to have a plan carried out."""

_CLASSES = {cls.__name__: cls for cls in FAULTS}

B = TypeVar("B", bound="Backend")


@dataclass(frozen=True)
class FaultPlan:
    """Where to kill, hang, corrupt, delay or fill the disk.

    A plan is plain data. The same one works for a simulated cluster, on its clock, and for one of real processes,
    which are really killed. How often a fault has struck is counted in files, so the count outlives the processes.

    Example:
        >>> plan = FaultPlan([Kill(at="in_unit", trial="0", epoch=1), Hang(worker="w1", nth=5)])
        >>> backend = plan.on(LocalBackend(2))
    """

    faults: tuple[Fault, ...]

    def __init__(self, faults: Sequence[Fault]) -> None:
        unknown = [fault for fault in faults if type(fault) not in FAULTS]
        if unknown:
            raise ConfigError(f"`faults` must be of the classes {', '.join(_CLASSES)}. Received: {unknown[0]!r}.")
        object.__setattr__(self, "faults", tuple(faults))

    def on(self, backend: B, directory: str | None = None) -> B:
        """Have the plan carried out in every search that `backend` runs from now on; return the backend.

        Args:
            backend: a stopped one.
            directory: where the strikes are counted: an empty directory that all workers can write to. None: a
                temporary one of this machine, which is removed with the backend.

        Raises:
            ConfigError: a fault makes no sense there, or the backend takes no plan.
        """
        if isinstance(backend, SimulatedBackend):
            backend.inject(self.faults)
            return backend
        target: Any = backend
        if not (hasattr(target, "hooks") and hasattr(target, "hook_data")):
            raise ConfigError(
                "`backend` must be a LocalBackend, SparkBackend or SimulatedBackend, or else pass on its `hooks` and "
                f"`hook_data` to worker programs. Received: backend={backend!r}."
            )
        if directory is None:
            directory = tempfile.mkdtemp(prefix="cerebro-nas-faults-")
            weakref.finalize(backend, rmtree, directory, ignore_errors=True)
        target.hooks = HOOKS
        target.hook_data = self.to_json(directory)
        return backend

    def struck(self, backend: Backend) -> tuple[int, ...]:
        """How often each fault has struck on a backend that this plan is `on`, in their order."""
        if isinstance(backend, SimulatedBackend):
            return backend.struck()[-len(self.faults) :] if self.faults else ()
        marks = Marks(Path(_directory(getattr(backend, "hook_data", ""))))
        return tuple(_strikes(fault, marks.total(index)) for index, fault in enumerate(self.faults))

    def to_json(self, directory: str = "") -> str:
        """The plan as text, with the directory where its strikes are counted."""
        faults = [{"fault": type(fault).__name__, **dataclasses.asdict(fault)} for fault in self.faults]
        return json.dumps({"faults": faults, "directory": directory})

    @classmethod
    def from_json(cls, text: str) -> FaultPlan:
        """Read what `to_json` gave.

        Raises:
            ConfigError: it is something else.
        """
        return cls([_fault(item) for item in _read(text)["faults"]])


def read_plan(text: str) -> tuple[FaultPlan, Path]:
    """Read a plan, and the directory where its strikes are counted."""
    return FaultPlan.from_json(text), Path(_directory(text))


def _directory(text: str) -> str:
    directory = _read(text).get("directory", "")
    if not directory:
        raise ConfigError("The plan must be `on` a backend, which is where its strikes are counted. Call `on` first.")
    return str(directory)


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(f"A fault plan must be JSON: {error}.") from error
    if not isinstance(found, dict) or not isinstance(found.get("faults", []), list):
        raise ConfigError(f"A fault plan must be an object with a list of faults. Received: {text[:80]!r}.")
    return {"faults": [], **found}


def _fault(item: Any) -> Fault:
    values = dict(item) if isinstance(item, dict) else {}
    cls = _CLASSES.get(str(values.pop("fault", "")))
    if cls is None:
        raise ConfigError(f"A fault must be one of {', '.join(_CLASSES)}. Received: {str(item)[:80]}.")
    try:
        if values.get("shard") is not None:
            values["shard"] = Shard(**values["shard"])
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{cls.__name__} has no such fields: {error}.") from None


def most_matches(fault: Fault) -> int:
    """Matches of a fault after which it strikes no more."""
    return fault.nth + fault.times - 1 if isinstance(fault, UnitFault | StoreFault) else 1


def _strikes(fault: Fault, matches: int) -> int:
    idle = fault.nth - 1 if isinstance(fault, UnitFault | StoreFault) else 0
    return min(max(0, matches - idle), most_matches(fault) - idle)
