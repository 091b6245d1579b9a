"""Optuna: processes that share a study in a journal file, each taking the next enqueued candidate."""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import multiprocessing  # noqa: E402
from argparse import Namespace  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import _training  # noqa: E402
import optuna  # noqa: E402

STUDY = "w8"
ENQUEUED = "enqueued"


def main() -> None:
    arguments = common.parse_arguments()
    common.limit_threads()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    candidates = _training.longest_first(arguments.candidates)
    # The processes end when the queue is empty, so no sampler ever proposes a candidate that is trained.
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(
        study_name=STUDY, storage=open_journal(arguments.scratch), sampler=sampler, direction="maximize"
    )
    for candidate in candidates:
        study.enqueue_trial({"candidate": candidate["name"]}, user_attrs={ENQUEUED: True})
    # Forked, they have Optuna imported already; TensorFlow is not, so nothing of its threads is copied.
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=work, args=(arguments, candidates, number)) for number in range(arguments.workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    completed = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    accuracies = {trial.params["candidate"]: trial.value for trial in completed}
    _training.save(arguments, f"Optuna {optuna.__version__}, {arguments.workers} processes", accuracies)


def open_journal(scratch: Path) -> Any:
    backend = optuna.storages.journal.JournalFileBackend(str(scratch / "journal.log"))
    return optuna.storages.JournalStorage(backend)


def work(arguments: Namespace, candidates: list[dict[str, Any]], number: int) -> None:
    """Body of a process."""
    named = {candidate["name"]: candidate for candidate in candidates}

    def objective(trial: Any) -> float:
        name = trial.suggest_categorical("candidate", list(named))
        if ENQUEUED not in trial.user_attrs:
            study.stop()
            raise optuna.TrialPruned
        return _training.train(named[name], arguments.data, arguments.scratch, arguments.epochs, arguments.batch_size)

    _training.load_once(arguments.data, arguments.scratch)
    sampler = optuna.samplers.RandomSampler(seed=number)
    study = optuna.load_study(study_name=STUDY, storage=open_journal(arguments.scratch), sampler=sampler)
    study.optimize(objective)


if __name__ == "__main__":
    main()
