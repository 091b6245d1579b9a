"""The sides of the W8 comparison: which script, in which environment, with which further arguments."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._environments import environment
from benchmarks._process import ProcessFigures
from benchmarks._process import run_measured

_SCRIPTS = Path(__file__).parent / "peers"
_TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True)
class Side:
    """One side.

    Attributes:
        name: for the command line and the tables.
        script: file in `benchmarks/peers`.
        pins: name of its environment; None for the one that runs the benchmark.
        arguments: further arguments of the script.
        same_candidates: whether it trains the workload's own candidates, so that its accuracies can be compared.
        workers: processes that train.
    """

    name: str
    script: str
    pins: str | None = None
    arguments: tuple[str, ...] = ()
    same_candidates: bool = True
    workers: int = 2


OURS = (
    Side("cerebro_nas", "ours.py"),
    Side("cerebro_nas, no spare slots", "ours.py", arguments=("--slots", "2")),
    Side("cerebro_nas, LocalBackend", "ours.py", arguments=("--backend", "local", "--slots", "2")),
)
FLOORS = (Side("floor, graph", "floor_graph.py"), Side("floor, fit", "floor_fit.py"))
PEERS = (
    Side("Optuna", "optuna_processes.py", "py311"),
    Side("DeepHyper", "deephyper_processes.py", "py311"),
    Side("KerasTuner", "keras_tuner_sequential.py", "py311", workers=1),
    Side("KerasTuner, distributed", "keras_tuner_distributed.py", "py311"),
    Side("Ray Tune", "ray_tune.py", "py311"),
    Side("AutoKeras, other models", "autokeras_automodel.py", "py311", same_candidates=False, workers=1),
    Side("cerebro-dl", "cerebro_dl.py", "py310"),
    Side("cerebro-dl, poll 0.05 s", "cerebro_dl.py", "py310", ("--poll-seconds", "0.05")),
)
SIDES = {side.name: side for side in (*OURS, *FLOORS, *PEERS)}


@dataclass(frozen=True)
class Run:
    """One run of one side.

    Attributes:
        side: its name.
        system: what the script calls itself, with its version.
        makespan: seconds from the start of the interpreter to the last result.
        warm: seconds from the moment all workers were ready to the last result; None where that is not known.
        figures: what the operating system counted.
        accuracies: validation accuracy by candidate.
        driver_share: share of a core that the side's first process used while candidates were trained.
        details: whatever else the script wrote.
    """

    side: str
    system: str
    makespan: float
    warm: float | None
    figures: ProcessFigures
    accuracies: Mapping[str, float]
    driver_share: float | None
    details: Mapping[str, Any]

    @property
    def cpu_seconds(self) -> float:
        """Processor time without Java's."""
        return sum(seconds for kind, seconds in self.figures.cpu_seconds.items() if kind != "jvm")

    @property
    def jvm_cpu_seconds(self) -> float:
        """Java's processor time."""
        return self.figures.cpu_seconds.get("jvm", 0.0)

    @property
    def mean_accuracy(self) -> float:
        """Mean over the candidates."""
        return sum(self.accuracies.values()) / max(1, len(self.accuracies))

    def to_plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "side": self.side,
            "system": self.system,
            "makespan_s": self.makespan,
            "warm_s": self.warm,
            "process_s": self.figures.seconds,
            "cpu_s": dict(self.figures.cpu_seconds),
            "peak_bytes": self.figures.peak_bytes,
            "accuracies": dict(self.accuracies),
            "driver_share": self.driver_share,
            "details": dict(self.details),
        }


def run_side(side: Side, data: Path, candidates: Path, directory: Path, *, epochs: int = 3, workers: int = 2) -> Run:
    """Run one side once, in a scratch directory that is removed afterwards.

    Raises:
        BenchmarkError: it cannot be installed, or failed.
    """
    python = sys.executable if side.pins is None else str(environment(side.pins))
    scratch = directory / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    out = directory / "result.json"
    out.unlink(missing_ok=True)
    command = [python, str(_SCRIPTS / side.script), "--data", str(data), "--candidates", str(candidates)]
    command += ["--scratch", str(scratch), "--out", str(out), "--epochs", str(epochs), "--workers", str(workers)]
    command += side.arguments
    began = time.time()
    figures = run_measured(command, timeout=_TIMEOUT_SECONDS, log=directory / "output.log")
    shutil.rmtree(scratch, ignore_errors=True)
    result = json.loads(out.read_text())
    known = ("system", "start", "ready", "end", "last", "accuracies")
    ready, last = result.get("ready"), result.get("last") or result["end"]
    return Run(
        side=side.name,
        system=result["system"],
        # From before the interpreter runs, so that its own start counts for everybody alike.
        makespan=result["end"] - began,
        warm=None if ready is None else last - ready,
        figures=figures,
        accuracies=result["accuracies"],
        driver_share=None if ready is None else figures.main_share(ready, last),
        details={key: value for key, value in result.items() if key not in known},
    )
