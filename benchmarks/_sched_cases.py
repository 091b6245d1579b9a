"""Random searches on a virtual clock: candidates with their unit times, and what the scheduler makes of them."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Protocol
from typing import TypeVar

from benchmarks._errors import BenchmarkError
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.hopper import Hopper
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import ShardInfo
from cerebro_nas.hopper import TrialPlan
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import Utilisation
from cerebro_nas.hopper import schedule_summary
from cerebro_nas.testing import run_search
from cerebro_nas.testing import shard_search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cerebro_nas.worker import CandidateSpec
    from cerebro_nas.worker import SearchSpec

ROWS = 1000
"""Rows of a shard. Times are given by unit, so the number matters to nothing but readability."""

FETCH_BYTES_PER_SECOND = 200e6

AnyHopper = TypeVar("AnyHopper", bound=Hopper)


@dataclass(frozen=True)
class Candidate:
    """Seconds of one unit that trains, and of one that evaluates."""

    train: float
    evaluate: float


class Source(Protocol):
    """Where candidates come from."""

    def draw(self, random: random.Random, count: int, sigma: float) -> list[Candidate]:
        """Return `count` candidates."""


class LogNormal:
    """Unit times with a median of one second, whose logarithms spread by `sigma`; evaluation takes 6 % of them."""

    def draw(self, random: random.Random, count: int, sigma: float) -> list[Candidate]:
        times = [random.lognormvariate(0, sigma) for _ in range(count)]
        return [Candidate(seconds, 0.06 * seconds) for seconds in times]


class Measured:
    """Unit times of the trials of a real search, in random order, again from the start where more are wanted.

    Args:
        path: the `schedule.jsonl` that a search saves.
    """

    def __init__(self, path: str) -> None:
        self._candidates = _read_log(Path(path))

    def draw(self, random: random.Random, count: int, sigma: float) -> list[Candidate]:
        drawn: list[Candidate] = []
        while len(drawn) < count:
            drawn += random.sample(self._candidates, min(count - len(drawn), len(self._candidates)))
        return drawn


def _read_log(path: Path) -> list[Candidate]:
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["outcome"] == "done":
            seconds[entry["trial"], entry["phase"]].append(entry["busy_seconds"])
    means = {key: sum(values) / len(values) for key, values in seconds.items()}
    trials = [trial for trial, phase in means if phase == "train" and means[trial, phase] > 0]
    if not trials:
        raise BenchmarkError(
            f"`--log` must name the schedule log of a search with units that train. Received: {path}. "
            "Pass the schedule.jsonl in the directory of a search that ran to its end."
        )
    return [Candidate(means[t, "train"], means.get((t, "evaluate"), means[t, "train"] / 10)) for t in trials]


@dataclass(frozen=True)
class Case:
    """One search.

    Attributes:
        workers: number of workers, and of train shards if `shards` is 0.
        live: candidates that live at once.
        epochs: of each candidate.
        fetch: seconds to fetch a shard.
        error: spread of the logarithm of the scheduler's first estimate of a candidate.
        seed: of the estimates and of the scheduler.
    """

    workers: int
    live: int
    epochs: int
    shards: int = 0
    fetch: float = 0.0
    error: float = 0.2
    seed: int = 0

    def infos(self) -> list[ShardInfo]:
        """Return the shards; there is one for validation."""
        shards: list[Shard] = [Shard("train", i) for i in range(self.shards or self.workers)]
        nbytes = round(self.fetch * FETCH_BYTES_PER_SECOND)
        return [ShardInfo(shard, ROWS, nbytes) for shard in [*shards, Shard("valid", 0)]]

    def search(self, checkpoint: bool) -> SearchSpec:
        """Return what the backend is started with."""
        nbytes = round(self.fetch * FETCH_BYTES_PER_SECOND) // ROWS
        train = [ROWS] * (self.shards or self.workers)
        return shard_search(train, [ROWS], bytes_per_row=nbytes, checkpoint=checkpoint)

    def work(self, candidate: Candidate) -> float:
        """Seconds of all units of `candidate`."""
        return self.epochs * ((self.shards or self.workers) * candidate.train + candidate.evaluate)

    def bound(self, candidates: Sequence[Candidate]) -> float:
        """Seconds below which no schedule ends: the average worker's, and those of the longest candidate alone."""
        work = [self.work(candidate) for candidate in candidates]
        return max(sum(work) / self.workers, *work)


@dataclass(frozen=True)
class Outcome:
    """What came of a search: seconds to its end, and the figures of its schedule."""

    makespan: float
    schedule: Utilisation


def simulate(
    case: Case,
    candidates: Sequence[Candidate],
    hopper: Hopper | None = None,
    *,
    checkpoint: bool = False,
    keep_units: bool = True,
) -> Outcome:
    """Run the candidates to their end; `hopper` takes the place of a new one."""
    draw = random.Random(case.seed)
    times = {f"t{i}": candidate for i, candidate in enumerate(candidates)}
    plans = [
        TrialPlan(trial, case.epochs, candidate.train * draw.lognormvariate(0, case.error) / ROWS)
        for trial, candidate in times.items()
    ]

    def seconds(unit: Unit, spec: CandidateSpec) -> float:
        return times[spec.trial].evaluate if unit.phase == "evaluate" else times[spec.trial].train

    hopper = new_hopper(case) if hopper is None else hopper
    backend = SimulatedBackend(
        case.workers,
        seconds=seconds,
        metrics=lambda unit, spec: {"loss": 1.0},
        fetch_bytes_per_second=FETCH_BYTES_PER_SECOND,
    )
    result = run_search(hopper, backend, case.search(checkpoint), plans, max_seconds=1e9, keep_units=keep_units)
    names = [f"w{i}" for i in range(case.workers)]
    schedule = schedule_summary(hopper.log, names, result.started, result.ended)
    return Outcome(result.ended - result.started, schedule)


def new_hopper(case: Case) -> Hopper:
    """Return the scheduler for `case`."""
    return hopper_of(Hopper, case)


def hopper_of(kind: type[AnyHopper], case: Case) -> AnyHopper:
    """Return a scheduler of this class for `case`."""
    return kind(
        case.infos(),
        num_workers=case.workers,
        parallelism=case.live,
        seed=case.seed,
        fetch_bytes_per_second=FETCH_BYTES_PER_SECOND,
    )
