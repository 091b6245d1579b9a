"""An engine without TensorFlow, for real worker processes in tests. What it does stands in the spec's optimizer."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cerebro_nas.errors import StoreError
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitReport
from cerebro_nas.worker import CandidateError
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker._errors import UnusableStateError

Sums = dict[str, list[float]]


@dataclass(frozen=True)
class Result:
    report: UnitReport
    state: bytes | None
    generation: int


def _misbehave(what: str | None) -> None:
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        time.sleep(1e9)
    if what == "refuse":
        raise CandidateError("build_error", "too odd for any worker")
    if what == "oom":
        raise CandidateError("oom", "too large for this worker")
    if what == "memory":
        raise MemoryError
    if what == "spoilt":
        raise UnusableStateError("the checksum does not match")
    if what == "stumble":
        raise RuntimeError("the reader stumbled")


class Engine:
    """Train units append one byte to the state, so a state tells how often it was trained."""

    def __init__(self, search: SearchSpec, scratch: Path) -> None:
        (Path(scratch) / "cache").write_text(search.data_url)
        self.progress = 0
        self._loaded: list[int] = []
        self._piled_up: list[bytes] = []

    def preload(self, split: str, index: int) -> None:
        if index == 404:
            raise StoreError(f"There is no shard {index} of {split}.")
        self._loaded.append(index)

    def run(
        self, unit: Unit, spec: CandidateSpec, generation: int, fetch: Callable[[], bytes], sums: Sums | None = None
    ) -> Result:
        self.progress += 1
        plan = spec.optimizer
        state = fetch() if generation else b"\x07" * plan.get("bytes", 8)
        time.sleep(plan.get("seconds", 0.0))
        for _ in range(plan.get("steps", 0)):
            time.sleep(0.05)
            self.progress += 1
        self._piled_up.append(b"\x01" * plan.get("pile_up", 0))
        _misbehave(plan.get("do"))
        report = UnitReport(
            rows=len(state),
            metrics={"loss": float(generation), "pid": float(os.getpid()), "loaded": float(len(self._loaded))},
            seconds=0.1,
            busy_seconds=0.1,
        )
        if unit.phase == "evaluate":
            return Result(report, None, generation)
        return Result(report, state + b"\x01", generation + 1)

    def close(self) -> None:
        """Nothing to close."""


class SlowEngine(Engine):
    """Takes a tenth of a second for each unit."""

    def run(
        self, unit: Unit, spec: CandidateSpec, generation: int, fetch: Callable[[], bytes], sums: Sums | None = None
    ) -> Result:
        time.sleep(0.1)
        return super().run(unit, spec, generation, fetch, sums)
