"""Search algorithms without training: functions, macro spaces and learning curves, asynchronously on a virtual clock.

Every tuner has the same spaces, noise, times and budgets: random search, ours, and peers (KerasTuner's oracles,
Optuna's samplers, hyperopt's TPE, DeepHyper's CBO).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._table import add_common_arguments
from benchmarks._table import show

if TYPE_CHECKING:
    import argparse

    from benchmarks.search._contenders import Contender
    from benchmarks.search._problem import Problem
    from benchmarks.search._runs import Task

_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_WORKERS = (1, 4, 16)
_SEEDS = 10
_QUICK_SIZES = (10, 30)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m benchmarks search`."""
    add_common_arguments(parser)
    parser.add_argument("--tuners", nargs="+", metavar="NAME", help="those to compare (default: all of ours)")
    parser.add_argument("--problems", nargs="+", metavar="NAME", help="those to search (default: all)")
    parser.add_argument("--workers", nargs="+", type=int, metavar="W", help=f"default: {_WORKERS}")
    parser.add_argument("--seeds", type=int, default=_SEEDS, help="default: %(default)s")
    parser.add_argument(
        "--first-seed", type=int, default=0, help="for seeds that no setting was chosen with (default: %(default)s)"
    )
    parser.add_argument("--evaluations", type=int, help="complete trainings for each search (default: the problem's)")
    parser.add_argument("--peers", default=True, action="store_true", help="also their peers (default)")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--jobs", type=int, default=1, help="searches at a time (default: %(default)s)")
    parser.add_argument(
        "--runs", type=Path, metavar="FILE", help="keeps each search (JSON lines); those it has are not made again"
    )
    parser.add_argument("--latency", action="store_true", help="only measure what proposals cost, of `--tuners`")
    parser.add_argument("--record", action="store_true", help="only record the learning curves anew: trains 192 models")
    parser.add_argument("--images", type=Path, default=_FASHION_MNIST, help="(record) default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Compare, print and save; return 0 if the bars are met (or it was quick), else 1."""
    # Before NumPy and TensorFlow are loaded: what is measured is one core's.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if arguments.record:
        from benchmarks.search import _record

        _record.record(_record.PATH, arguments.images)
        return 0
    from benchmarks.search._contenders import choose

    if arguments.latency:
        from benchmarks.search import _latency

        sizes = _QUICK_SIZES if arguments.quick else _latency.SIZES
        show([_latency.report(choose(arguments.tuners, peers=False), sizes)], arguments.out, "search-latency")
        return 0
    from benchmarks.search._report import Comparison
    from benchmarks.search._runs import run_tasks

    contenders = choose(arguments.tuners, peers=arguments.peers)
    tables, missed = Comparison(run_tasks(tasks(arguments, contenders), arguments.jobs, arguments.runs)).tables()
    show(tables, arguments.out, "search")
    if arguments.quick:
        return 0  # too few seeds and evaluations for any bar
    for problem in missed:
        print(f"BAR MISSED: {problem}")
    return 1 if missed else 0


def tasks(arguments: argparse.Namespace, contenders: list[Contender]) -> list[Task]:
    """Every search that the command line asks for."""
    from benchmarks.search._runs import Task
    from benchmarks.search._runs import find_problems

    workers = arguments.workers or ((4,) if arguments.quick else _WORKERS)
    seeds = min(3, arguments.seeds) if arguments.quick else arguments.seeds
    return [
        Task(problem.name, contender.name, width, seed, arguments.evaluations or _evaluations(problem, arguments.quick))
        for problem in find_problems(arguments.problems)
        for width in workers
        for contender in contenders
        if problem.name in contender.problems
        for seed in range(arguments.first_seed, arguments.first_seed + seeds)
    ]


def _evaluations(problem: Problem, quick: bool) -> int:
    return min(20, problem.evaluations) if quick else problem.evaluations
