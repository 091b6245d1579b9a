"""All the searches of a comparison, in processes of their own, and the file that keeps what they came to."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import as_completed
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from benchmarks._errors import BenchmarkError

if TYPE_CHECKING:
    from benchmarks.search._problem import Problem

_LAST = 50


@dataclass(frozen=True)
class Task:
    """One search that is wanted."""

    problem: str
    tuner: str
    workers: int
    seed: int
    evaluations: int


@dataclass(frozen=True)
class Run:
    """One search that was made.

    Attributes:
        task: what was wanted.
        regret: simple regret of the trial that looks best.
        last_reward: minus the mean loss of the last 50 trials.
        spent: units trained.
        trials: trials begun.
        makespan: virtual seconds.
        ask_seconds: CPU seconds in the tuner.
        path: the incumbents: units spent and observed loss.
        problem_found: why it could not be made, if so.
    """

    task: Task
    regret: float = float("nan")
    last_reward: float = float("nan")
    spent: int = 0
    trials: int = 0
    makespan: float = 0.0
    ask_seconds: float = 0.0
    path: tuple[tuple[int, float], ...] = ()
    problem_found: str = ""

    def spent_until(self, loss: float) -> int | None:
        """Units trained until a loss as low as this was seen; None: never."""
        return next((spent for spent, seen in self.path if seen <= loss), None)


def find_problems(names: Sequence[str] | None = None) -> list[Problem]:
    """The problems with these names, or all.

    Raises:
        BenchmarkError: a name is unknown.
    """
    from benchmarks.search import _curves
    from benchmarks.search import _functions
    from benchmarks.search import _macro
    from benchmarks.search._record import PATH

    found = [*_functions.PROBLEMS, *_macro.PROBLEMS, _curves.POWER]
    if PATH.exists():
        found.append(_curves.recorded_problem())
    known = {problem.name: problem for problem in found}
    for name in names or ():
        if name not in known:
            raise BenchmarkError(f"`--problems` must be of {', '.join(known)}. Received: {name}")
    return [known[name] for name in names] if names else found


def run_task(task: Task) -> Run:
    """Make one search."""
    from benchmarks.search._contenders import BY_NAME
    from benchmarks.search._contenders import Contender
    from benchmarks.search._simulator import Simulation
    from benchmarks.search._statistics import mean_of_last

    (problem,) = find_problems([task.problem])
    contender = BY_NAME.get(task.tuner) or Contender(task.tuner)
    try:
        searcher = contender.make(problem, task.seed, task.evaluations)
    except BenchmarkError as error:
        return Run(task, problem_found=str(error))
    budget = task.evaluations * problem.units
    try:
        found = Simulation(problem, searcher, task.workers, budget, task.seed, contender.shards).run()
    finally:
        searcher.close()
    return Run(
        task,
        regret=found.regret,
        last_reward=-mean_of_last(found.finals, _LAST),
        spent=found.spent,
        trials=found.trials,
        makespan=found.makespan,
        ask_seconds=found.ask_seconds,
        path=tuple((point.spent, point.observed) for point in found.path),
    )


def run_tasks(tasks: Sequence[Task], jobs: int, file: Path | None) -> list[Run]:
    """Make the searches that `file` does not have yet, and add them to it."""
    known = {run.task: run for run in _read(file)} if file is not None and file.exists() else {}
    missing = [task for task in tasks if task not in known]
    began, shown = time.monotonic(), time.monotonic()
    for number, run in enumerate(_made(missing, jobs), start=1):
        known[run.task] = run
        if file is not None and not run.problem_found:
            with file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(run)) + "\n")
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            sys.stderr.write(f"{number} of {len(missing)} searches, {shown - began:.0f} s\n")
    return [known[task] for task in tasks]


def _made(tasks: Sequence[Task], jobs: int) -> Iterator[Run]:
    if jobs <= 1:
        yield from map(_safely, tasks)
        return
    # Before NumPy is loaded in them: a search must not use the cores of the others.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_safely, task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()


def _safely(task: Task) -> Run:
    """A side that fails is a result of the comparison, and not its end."""
    try:
        return run_task(task)
    except Exception as error:  # noqa: BLE001 - of any library
        return Run(task, problem_found=f"{type(error).__name__}: {error}")


def _read(file: Path) -> Iterable[Run]:
    for line in file.read_text(encoding="utf-8").splitlines():
        found: dict[str, Any] = json.loads(line)
        path = tuple((spent, loss) for spent, loss in found.pop("path"))
        yield Run(Task(**found.pop("task")), path=path, **found)
