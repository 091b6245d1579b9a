"""What can go wrong: one set of classes, which a simulated cluster acts out on its clock and a real one in its workers.

A fault picks the units that it is about by its selectors (None: any). Of those that match it strikes the `nth`, and
`times` from there on; a unit that is tried again counts again. Units are counted when they begin, over all workers.
"""

from __future__ import annotations

import errno as errors
import math
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from typing import TYPE_CHECKING
from typing import Literal
from typing import get_args

from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import Shard

if TYPE_CHECKING:
    from cerebro_nas.hopper import Unit

Place = Literal["before_unit", "in_unit", "after_unit", "before_commit"]
"""Where in the life of a unit: before it is taken up, while it trains, once it has trained, or when its state is in
the store but the driver has not been told that it is done."""

Damage = Literal["flip", "truncate", "empty", "missing"]
"""What happens to a file: a byte changes, half of it is lost, all of it is lost, or it goes."""

_PLACES = get_args(Place)
_DAMAGES = get_args(Damage)


@dataclass(frozen=True)
class Fault:
    """Base of all faults."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in ("nth", "times", "errno"):
                self._require(item.name, type(value) is int and value >= 1, "a whole number of at least 1")
            elif item.name in ("seconds", "after_seconds", "back_after") and value is not None:
                self._require(item.name, _is_seconds(value), "seconds of at least 0")

    def _require(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise ConfigError(
                f"`{name}` of {type(self).__name__} must be {expected}. Received: {name}={getattr(self, name)!r}."
            )

    def _require_place(self, *more: str) -> None:
        value, places = getattr(self, "at", None), (*_PLACES, *more)
        self._require("at", value in places, f"one of {places}")


@dataclass(frozen=True)
class UnitFault(Fault):
    """Base of the faults that strike units.

    Attributes:
        trial: units of this trial.
        worker: units on this worker.
        epoch: units of this epoch, from 0.
        phase: units of this phase.
        shard: visits to this shard.
        nth: of these units the first one that is struck, from 1.
        times: units that are struck.
    """

    trial: str | None = field(default=None, kw_only=True)
    worker: str | None = field(default=None, kw_only=True)
    epoch: int | None = field(default=None, kw_only=True)
    phase: Literal["train", "evaluate", "call"] | None = field(default=None, kw_only=True)
    shard: Shard | None = field(default=None, kw_only=True)
    nth: int = field(default=1, kw_only=True)
    times: int = field(default=1, kw_only=True)

    def hits(self, unit: Unit, worker: str) -> bool:
        """Whether it is about `unit` on `worker`."""
        wanted = (self.trial, self.worker, self.epoch, self.phase, self.shard)
        found = (unit.trial, worker, unit.epoch, unit.phase, unit.shard)
        return all(want is None or want == have for want, have in zip(wanted, found, strict=True))

    def strikes(self, number: int) -> bool:
        """Whether it strikes the match of this number, from 1."""
        return self.nth <= number < self.nth + self.times


@dataclass(frozen=True)
class StoreFault(Fault):
    """Base of the faults of the store of states, as workers see it.

    Attributes:
        trial: states of this trial.
        worker: calls by this worker.
        on: which calls.
        nth: of these calls the first one that is struck, from 1.
        times: calls that are struck.
    """

    trial: str | None = field(default=None, kw_only=True)
    worker: str | None = field(default=None, kw_only=True)
    on: Literal["write", "read"] = field(default="write", kw_only=True)
    nth: int = field(default=1, kw_only=True)
    times: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("on", self.on in ("write", "read"), "'write' or 'read'")

    def hits(self, on: str, trial: str, worker: str) -> bool:
        """Whether it is about this call."""
        return self.on == on and self.trial in (None, trial) and self.worker in (None, worker)

    def strikes(self, number: int) -> bool:
        """Whether it strikes the match of this number, from 1."""
        return self.nth <= number < self.nth + self.times


# --- workers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kill(UnitFault):
    """The worker's process is killed, as by SIGKILL, with all it holds.

    Attributes:
        at: a place in the units that match, `"mid_write"` (while the state that such a unit made is being written), or
            seconds: since `start` in a simulation, since the worker's first program began in a real one.
        back_after: seconds until the worker is back, beyond what its backend takes to replace it. None: 0 where `at`
            is a place, and never where it is a time.
        after_seconds: for `"in_unit"`: so long after training began, or at its end where that is sooner.
        after_steps: for `"in_unit"`: likewise, steps as the engine counts them.
    """

    worker: str | None = None
    at: float | Place | Literal["mid_write"] = "in_unit"
    back_after: float | None = None
    after_seconds: float = field(default=0.0, kw_only=True)
    after_steps: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("after_steps", type(self.after_steps) is int and self.after_steps >= 0, "0 or a number of steps")
        if isinstance(self.at, str):
            self._require_place("mid_write")
        else:
            self._require("at", _is_seconds(self.at), "a place, or seconds of at least 0")
            self._require("worker", self.worker is not None, "a worker, where `at` is a time")

    @property
    def is_timed(self) -> bool:
        """Whether it comes at a time rather than at a unit."""
        return not isinstance(self.at, str)

    @property
    def away(self) -> float | None:
        """Seconds until the worker is back; None: never."""
        return self.back_after if self.is_timed or self.back_after is not None else 0.0


@dataclass(frozen=True)
class JoinLate(Fault):
    """`worker` registers `at` seconds, instead of at once."""

    worker: str
    at: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("at", _is_seconds(self.at), "seconds of at least 0")


@dataclass(frozen=True)
class Freeze(UnitFault):
    """The process stops for so many seconds, as by SIGSTOP and SIGCONT, and then goes on as if nothing had been."""

    seconds: float = 60.0
    at: Place = "in_unit"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_place()


# --- units -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hang(UnitFault):
    """The thread that trains waits for ever, while the process shows signs of life."""

    at: Place = "in_unit"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_place()


@dataclass(frozen=True)
class Delay(UnitFault):
    """The thread that trains waits for so many seconds."""

    seconds: float = 1.0
    at: Place = "in_unit"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_place()


@dataclass(frozen=True)
class FailUnit(UnitFault):
    """Units fail at their end.

    Attributes:
        reason: as in `UnitFailed`; so is `trial_fault`.
    """

    trial: str | None = None
    worker: str | None = None
    epoch: int | None = None
    reason: str = "error"
    trial_fault: bool = False
    times: int = 1


@dataclass(frozen=True)
class OutOfMemory(UnitFault):
    """The candidate does not fit into memory. Where the kernel kills the process for it, that is a `Kill`."""


@dataclass(frozen=True)
class NotANumber(UnitFault):
    """A metric comes out as NaN; without `metric` all do."""

    metric: str | None = None


# --- stored states ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CorruptState(UnitFault):
    """The state that such a unit made is damaged once it is in the store.

    Attributes:
        damage: what happens to the file.
        file: which one: the state, or the manifest beside it.
    """

    damage: Damage = "flip"
    file: Literal["state", "manifest"] = "state"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("damage", self.damage in _DAMAGES, f"one of {_DAMAGES}")
        self._require("file", self.file in ("state", "manifest"), "'state' or 'manifest'")


@dataclass(frozen=True)
class FillDisk(StoreFault):
    """There is no space left for a state: `times` writes fail in the middle, then there is space again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("on", self.on == "write", "'write'")


@dataclass(frozen=True)
class FailStore(StoreFault):
    """The store refuses a call, with this number of an operating system's error."""

    errno: int = errors.EIO


@dataclass(frozen=True)
class SlowStore(StoreFault):
    """The store takes so many seconds longer."""

    seconds: float = 1.0


FAULTS: tuple[type[Fault], ...] = (
    Kill,
    JoinLate,
    Freeze,
    Hang,
    Delay,
    FailUnit,
    OutOfMemory,
    NotANumber,
    CorruptState,
    FillDisk,
    FailStore,
    SlowStore,
)
"""All of them."""


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
