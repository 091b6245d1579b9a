"""DeepHyper: its process evaluator under its centralized search, which is given the candidates as initial points."""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import logging  # noqa: E402
from typing import Any  # noqa: E402

import _training  # noqa: E402
import deephyper  # noqa: E402
from deephyper.evaluator import Evaluator  # noqa: E402
from deephyper.hpo import CBO  # noqa: E402
from deephyper.hpo import HpProblem  # noqa: E402


def run(job: Any, candidates: list[dict[str, Any]], **settings: Any) -> float:
    """What a worker does with a job; it stands in this module because the evaluator pickles it by name."""
    chosen = next(candidate for candidate in candidates if candidate["name"] == job.parameters["candidate"])
    return _training.train(chosen, **settings)


def main() -> None:
    arguments = common.parse_arguments()
    common.limit_threads()
    logging.getLogger("deephyper").setLevel(logging.ERROR)
    candidates = _training.longest_first(arguments.candidates)
    names = [candidate["name"] for candidate in candidates]
    problem = HpProblem()
    problem.add_hyperparameter(names, "candidate")
    settings = {
        "candidates": candidates,
        "data": arguments.data,
        "scratch": arguments.scratch,
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
    }
    # The evaluator forks its workers, so this process must never import TensorFlow.
    evaluator = Evaluator.create(
        run, method="process", method_kwargs={"num_workers": arguments.workers, "run_function_kwargs": settings}
    )
    search = CBO(
        problem,
        random_state=0,
        log_dir=str(arguments.scratch / "log"),
        initial_points=[{"candidate": name} for name in names],
        n_initial_points=len(names),  # so no surrogate is fitted, as nothing remains to be proposed
    )
    with evaluator:
        # Strict: otherwise one job more for each worker is begun.
        results = search.search(evaluator, max_evals=len(names), max_evals_strict=True)
    accuracies = dict(zip(results["p:candidate"], results["objective"], strict=True))
    _training.save(arguments, f"DeepHyper {deephyper.__version__}, process evaluator", accuracies)


if __name__ == "__main__":
    main()
