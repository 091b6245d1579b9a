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


@dataclass(frozen=True)
class Result:
    report: UnitReport
    state: bytes | None
    generation: int


class Engine:
    """Train units append one byte to the state, so a state tells how often it was trained."""

    def __init__(self, search: SearchSpec, scratch: Path) -> None:
        (Path(scratch) / "cache").write_text(search.data_url)
        self.progress = 0
        self._loaded: list[int] = []

    def preload(self, split: str, index: int) -> None:
        if index == 404:
            raise StoreError(f"There is no shard {index} of {split}.")
        self._loaded.append(index)

    def run(self, unit: Unit, spec: CandidateSpec, generation: int, fetch: Callable[[], bytes]) -> Result:
        self.progress += 1
        plan = spec.optimizer
        state = fetch() if generation else b"\x07" * plan.get("bytes", 8)
        time.sleep(plan.get("seconds", 0.0))
        if plan.get("do") == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if plan.get("do") == "refuse":
            raise CandidateError("oom", "too large for this worker")
        if plan.get("do") == "stumble":
            raise RuntimeError("the reader stumbled")
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
