"""What a proposal costs once there are 10, 100 and 1,000 trials, in 25 dimensions of every kind."""

from __future__ import annotations

import itertools
import math
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any

import keras_tuner

from benchmarks._errors import BenchmarkError
from benchmarks._table import Table
from benchmarks.search._contenders import Contender
from benchmarks.search._problem import Problem
from benchmarks.search._problem import Values
from benchmarks.search._simulator import Searcher
from benchmarks.search._simulator import Simulation

SIZES = (10, 100, 1000)
_AROUND = 5
_WORKERS = 4
_MOST_SECONDS = 600.0


def space() -> keras_tuner.HyperParameters:
    """Ten real numbers, five of them logarithmic, five integers, five choices, five Booleans."""
    hp = keras_tuner.HyperParameters()
    for number in range(5):
        hp.Float(f"real_{number}", -1.0, 1.0)
        hp.Float(f"log_{number}", 1e-4, 1.0, sampling="log")
        hp.Int(f"int_{number}", 1, 64)
        hp.Choice(f"choice_{number}", ["a", "b", "c", "d"])
        hp.Boolean(f"boolean_{number}")
    return hp


def _loss(values: Values, units: int) -> float:
    total = 1.0 / units
    for number in range(5):
        total += (values[f"real_{number}"] - 0.3) ** 2 + (math.log10(values[f"log_{number}"]) + 2) ** 2 / 4
        total += (values[f"int_{number}"] / 64 - 0.5) ** 2
        total += 0.1 * "abcd".index(values[f"choice_{number}"]) + 0.1 * values[f"boolean_{number}"]
    return total


PROBLEM = Problem("latency", space, _loss, 0.0, evaluations=max(SIZES) + _AROUND, units=9, per_epoch=1)


class Timed:
    """A searcher whose proposals are timed.

    Args:
        searcher: it.
    """

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self.seconds: list[float] = []
        self.late = False
        self._began = time.process_time()

    def ask(self) -> Any:
        """What it proposes; steps with paused trials are not counted."""
        began = time.process_time()
        self.late = began - self._began > _MOST_SECONDS
        answer = self._searcher.ask()
        if hasattr(answer, "values"):
            self.seconds.append(time.process_time() - began)
        return answer

    def report(self, trial_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Passed on."""
        self._searcher.report(trial_id, epoch, metrics)

    def pause(self, trial_id: str) -> None:
        """Passed on."""
        self._searcher.pause(trial_id)

    def finish(self, trial_id: str, status: str, reason: str = "") -> None:
        """Passed on."""
        self._searcher.finish(trial_id, status, reason)

    def close(self) -> None:
        """Passed on."""
        self._searcher.close()


def measure(contender: Contender, sizes: tuple[int, ...] = SIZES) -> list[float | None]:
    """Median CPU seconds of a proposal after so many trials; None: it would have taken too long to get there."""
    searcher = Timed(contender.make(PROBLEM, 0, max(sizes) + 2 * _AROUND))
    simulation = Simulation(PROBLEM, searcher, _WORKERS, sys.maxsize, 0, contender.shards)
    try:
        _until(simulation, searcher, max(sizes) + _AROUND)
    finally:
        searcher.close()
    return [_near(searcher.seconds, size) for size in sizes]


def _until(simulation: Simulation, searcher: Timed, trials: int) -> None:
    for _ in itertools.takewhile(lambda _: len(searcher.seconds) < trials and not searcher.late, simulation.steps()):
        pass


def _near(seconds: list[float], size: int) -> float | None:
    around = seconds[max(0, size - _AROUND) : size + _AROUND]
    return statistics.median(around) if len(around) >= _AROUND and len(seconds) >= size else None


def report(contenders: list[Contender], sizes: tuple[int, ...] = SIZES) -> Table:
    """The table."""
    rows: list[tuple[object, ...]] = []
    for contender in contenders:
        try:
            rows.append((contender.name, *measure(contender, sizes)))
        except BenchmarkError as error:
            sys.stderr.write(f"{error}\n")
            continue
        print(f"{contender.name}: {rows[-1][1:]}", flush=True)
    return Table(
        "CPU seconds of a proposal",
        ("tuner", *(f"after {size}" for size in sizes)),
        tuple(rows),
        (
            f"25 dimensions (10 real, 5 integer, 5 choices, 5 Booleans), {_WORKERS} trials at a time, a real search",
            "bar: under 1 s after 1,000; -: not reached in 10 minutes of CPU, or no further trials",
        ),
    )
