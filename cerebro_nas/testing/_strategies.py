"""Fault plans by chance: of a seed, or as a strategy of hypothesis."""

from __future__ import annotations

import random
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
from cerebro_nas.backend.simulated import UnitFault
from cerebro_nas.errors import ConfigError
from cerebro_nas.testing._faults import FaultPlan

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from hypothesis.strategies import SearchStrategy

    Choose = Callable[[Sequence[Any]], Any]

HARMLESS: tuple[type[Fault], ...] = (Kill, JoinLate, Freeze, Delay, CorruptState, FillDisk, FailStore, SlowStore)
"""What changes no result, unless a trial loses more workers than it is allowed."""

SURVIVABLE: tuple[type[Fault], ...] = (*HARMLESS, FailUnit, OutOfMemory, NotANumber)
"""What a search gets over by itself. A `Hang` needs somebody who watches for units that take too long."""

_PLACES = ("before_unit", "in_unit", "after_unit", "before_commit")
_PHASES = (None, "train", "evaluate")
_UNIT_SELECTORS = ("trial", "worker", "epoch", "phase")


def random_plan(
    seed: int,
    workers: int,
    trials: Sequence[str],
    *,
    faults: int = 3,
    epochs: int = 3,
    seconds: float = 1.0,
    kinds: Sequence[type[Fault]] = SURVIVABLE,
) -> FaultPlan:
    """Draw a plan. Equal arguments give equal plans; every worker that is lost in one comes back.

    Args:
        seed: of the draw.
        workers: number of workers.
        trials: names of trials that a fault may be about.
        faults: number of faults.
        epochs: epochs of a trial.
        seconds: what waits are multiples of.
        kinds: classes to draw from.
    """
    draw = random.Random(seed)
    return _plan(lambda options: draw.choice(options), faults, workers, trials, epochs, seconds, kinds)


def fault_plans(
    workers: int = 3,
    trials: Sequence[str] = ("0", "1", "2"),
    *,
    most: int = 4,
    epochs: int = 3,
    seconds: float = 1.0,
    kinds: Sequence[type[Fault]] = SURVIVABLE,
) -> SearchStrategy[FaultPlan]:
    """A strategy of hypothesis that gives plans of at most `most` faults; the rest is as in `random_plan`.

    It shrinks to fewer and simpler faults. Hypothesis is not among the things that this package needs to run; install
    it to use this.
    """
    from hypothesis import strategies as st

    @st.composite
    def plans(draw: Callable[[SearchStrategy[Any]], Any]) -> FaultPlan:
        count = draw(st.integers(0, most))
        return _plan(lambda options: draw(st.sampled_from(options)), count, workers, trials, epochs, seconds, kinds)

    return plans()


def _plan(
    choose: Choose,
    count: int,
    workers: int,
    trials: Sequence[str],
    epochs: int,
    seconds: float,
    kinds: Sequence[type[Fault]],
) -> FaultPlan:
    if workers < 1 or epochs < 1 or not kinds:
        raise ConfigError(
            f"`workers`, `epochs` and `kinds` must not be 0 or empty. Received: {workers=}, {epochs=}, {kinds=}."
        )
    names = [f"w{index}" for index in range(workers)]
    selectors = {"trial": [None, *trials], "worker": [None, *names], "epoch": [None, *range(epochs)], "phase": _PHASES}
    drawn = [_fault(choose, choose(list(kinds)), names, selectors, seconds) for _ in range(count)]
    return FaultPlan(drawn)


def _fault(
    choose: Choose, cls: type[Fault], names: list[str], selectors: dict[str, Sequence[Any]], seconds: float
) -> Fault:
    wait = choose([0.0, 0.5 * seconds, seconds, 2.0 * seconds])
    if cls is JoinLate:
        return JoinLate(choose(names), wait)
    if cls is Kill and choose([False, True]):
        return Kill(choose(names), wait, back_after=choose([0.0, seconds]))
    # A fault about too many things at once hardly ever strikes.
    chosen = choose(_UNIT_SELECTORS if issubclass(cls, UnitFault) else ("trial", "worker"))
    fields: dict[str, Any] = {
        chosen: choose(selectors[chosen]),
        "nth": choose([1, 2, 3, 5]),
        "times": choose([1, 1, 2]),
    }
    return cls(**fields, **_particulars(choose, cls, wait))


def _particulars(choose: Choose, cls: type[Fault], wait: float) -> dict[str, Any]:
    if cls is Kill:
        return {"at": choose([*_PLACES, "mid_write"]), "back_after": wait}
    if cls is Hang:
        return {"at": choose(_PLACES)}
    if cls in (Freeze, Delay):
        return {"at": choose(_PLACES), "seconds": wait}
    if cls is FailUnit:
        return {"reason": choose(["error", "state_missing", "timeout"]), "trial_fault": choose([False, True])}
    if cls is CorruptState:
        return {"damage": choose(["flip", "truncate", "empty", "missing"]), "file": choose(["state", "manifest"])}
    if cls is FailStore:
        return {"on": choose(["write", "read"])}
    return {"on": choose(["write", "read"]), "seconds": wait} if cls is SlowStore else {}
