"""A fault plan inside a real worker program."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from typing import NoReturn
from typing import TypeVar
from typing import cast

from cerebro_nas.backend.simulated import CorruptState
from cerebro_nas.backend.simulated import Delay
from cerebro_nas.backend.simulated import FailUnit
from cerebro_nas.backend.simulated import Freeze
from cerebro_nas.backend.simulated import Hang
from cerebro_nas.backend.simulated import JoinLate
from cerebro_nas.backend.simulated import Kill
from cerebro_nas.backend.simulated import NotANumber
from cerebro_nas.backend.simulated import OutOfMemory
from cerebro_nas.backend.simulated import Strikes
from cerebro_nas.backend.simulated import UnitFault
from cerebro_nas.hopper import Unit
from cerebro_nas.testing._faults import FaultPlan
from cerebro_nas.testing._faults import most_matches
from cerebro_nas.testing._faults import read_plan
from cerebro_nas.testing._faulty_store import FaultyStore
from cerebro_nas.testing._marks import Marks
from cerebro_nas.worker import Hooks
from cerebro_nas.worker import InjectedFailureError

_LOOK_SECONDS = 0.005
_WRITE_SECONDS = 5.0

S = TypeVar("S")


def worker_hooks(data: str, worker: str) -> Hooks:
    """Make the hooks of a worker program that carries out a plan; `FaultPlan.on` has them called."""
    plan, directory = read_plan(data)
    return PlanHooks(plan, Marks(directory), worker)


class PlanHooks(Hooks):
    """Carries out a plan in the worker program that calls it.

    Args:
        plan: what goes wrong.
        marks: counts the strikes.
        worker: name of the worker.
    """

    def __init__(self, plan: FaultPlan, marks: Marks, worker: str) -> None:
        self._plan = plan
        self._marks = marks
        self._worker = worker
        self._strikes = Strikes(plan.faults, self._count)
        self._faults: list[UnitFault] = []
        self._at_write: defaultdict[str, list[UnitFault]] = defaultdict(list)
        self._store: FaultyStore | None = None
        self._generation = 0

    def _count(self, index: int) -> int:
        return self._marks.count(index, most_matches(self._plan.faults[index]))

    # --- the hooks ---------------------------------------------------------------------------------------------------

    def before_join(self) -> None:
        back = self._marks.noted(f"away-{self._worker}")
        if back == math.inf:
            die()
        if back is not None:
            time.sleep(max(0.0, back - time.time()))
        self._since_first()
        for index, fault in enumerate(self._plan.faults):
            if isinstance(fault, JoinLate) and fault.worker == self._worker and self._count(index) == 1:
                time.sleep(fault.at)
            elif isinstance(fault, Kill) and not isinstance(fault.at, str) and fault.worker == self._worker:
                timer = threading.Timer(max(0.0, fault.at - self._since_first()), self._kill_once, (index, fault))
                timer.daemon = True
                timer.start()

    def open_store(self, store: S, url: str) -> S:
        self._store = FaultyStore(store, url, partial(self._strikes.store, worker=self._worker), self._take)
        return cast(S, self._store)

    def before_unit(self, unit: Unit) -> None:
        self._faults = self._strikes.unit(unit, self._worker)
        self._come_to("before_unit")

    def during(self, unit: Unit, progress: Callable[[], int]) -> AbstractContextManager[None]:
        return self._during(progress) if self._faults else contextlib.nullcontext()

    def after_unit(self, unit: Unit, result: S) -> S:
        if not self._faults:
            return result
        self._come_to("after_unit")
        made: Any = result
        for fault in self._faults:
            if isinstance(fault, FailUnit):
                raise InjectedFailureError(fault.reason, f"{fault.reason}: by a fault plan", fault.trial_fault)
            if isinstance(fault, NotANumber):
                made = _without_numbers(made, fault.metric)
            elif isinstance(fault, CorruptState) or (isinstance(fault, Kill) and fault.at == "mid_write"):
                self._at_write[unit.trial].append(fault)
        self._generation = made.generation
        return cast(S, made)

    def before_commit(self, unit: Unit) -> None:
        if any(getattr(fault, "at", "") == "before_commit" for fault in self._faults):
            if self._store is not None and unit.phase == "train":
                self._store.wait_for(unit.trial, self._generation, _WRITE_SECONDS)
            self._come_to("before_commit")

    def _since_first(self) -> float:
        return self._marks.since(f"began-{self._worker}")

    # --- what they do ------------------------------------------------------------------------------------------------

    def _come_to(self, place: str) -> None:
        for fault in self._faults:
            if getattr(fault, "at", "") != place:
                continue
            if isinstance(fault, Kill):
                self._kill(fault)
            elif isinstance(fault, Hang):
                _wait_for_ever()
            elif isinstance(fault, Delay):
                time.sleep(fault.seconds)
            elif isinstance(fault, Freeze):
                _freeze(fault.seconds)

    @contextlib.contextmanager
    def _during(self, progress: Callable[[], int]) -> Iterator[None]:
        kills = [fault for fault in self._faults if isinstance(fault, Kill) and fault.at == "in_unit"]
        self._faults = [fault for fault in self._faults if fault not in kills]
        self._come_to("in_unit")
        for kill in kills:
            threading.Thread(target=self._watch, args=(kill, progress), name="fault", daemon=True).start()
        if any(isinstance(fault, OutOfMemory) for fault in self._faults):
            raise MemoryError("by a fault plan")
        yield
        for kill in kills:
            self._kill(kill)

    def _watch(self, kill: Kill, progress: Callable[[], int]) -> None:
        until, steps = time.monotonic() + kill.after_seconds, progress() + kill.after_steps
        while time.monotonic() < until or progress() < steps:
            time.sleep(_LOOK_SECONDS)
        self._kill(kill)

    def _kill_once(self, index: int, kill: Kill) -> None:
        if self._count(index) == 1:
            self._kill(kill)

    def _kill(self, kill: Kill) -> NoReturn:
        away = math.inf if kill.away is None else kill.away
        if away > 0:
            self._marks.note(f"away-{self._worker}", time.time() + away)
        die()

    def _take(self, trial: str) -> tuple[list[CorruptState], Callable[[], NoReturn] | None]:
        """What befalls the state of `trial` that is written next."""
        faults = self._at_write.pop(trial, [])
        kills = [fault for fault in faults if isinstance(fault, Kill)]
        damages = [fault for fault in faults if isinstance(fault, CorruptState)]
        return damages, (lambda: self._kill(kills[0])) if kills else None


def die() -> NoReturn:
    """End this process as an operating system does it that gives no notice."""
    os.kill(os.getpid(), signal.SIGKILL)
    _wait_for_ever()


def _freeze(seconds: float) -> None:
    # Somebody else has to wake it, and that must not come first.
    commands = f"kill -STOP {os.getpid()}; sleep {seconds}; kill -CONT {os.getpid()}"
    subprocess.run(["/bin/sh", "-c", commands], stdin=subprocess.DEVNULL, check=False)


def _wait_for_ever() -> NoReturn:
    while True:
        threading.Event().wait(3600.0)


def _without_numbers(result: Any, metric: str | None) -> Any:
    report = result.report
    lost = {name for name in report.metrics if metric in (None, name)}
    changed = dataclasses.replace(
        report,
        metrics={name: math.nan if name in lost else value for name, value in report.metrics.items()},
        sums={name: [math.nan] * len(sums) if name in lost else sums for name, sums in report.sums.items()},
        merged={name: math.nan if name in lost else value for name, value in report.merged.items()},
    )
    return dataclasses.replace(result, report=changed)
