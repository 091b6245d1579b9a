"""KerasTuner distributed: a chief that serves the oracle, and workers that ask it for trials.

This script runs as parent, chief and worker alike. The parent ends the chief as soon as the workers are done: left to
itself the chief looks only every 20 seconds whether it may go.
"""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import json  # noqa: E402
import os  # noqa: E402
import socket  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from argparse import Namespace  # noqa: E402
from importlib.metadata import version  # noqa: E402
from pathlib import Path  # noqa: E402

import _training  # noqa: E402

PROJECT = "w8"
ROLE = "KERASTUNER_TUNER_ID"


def main() -> None:
    arguments = common.parse_arguments()
    common.limit_threads()
    if ROLE in os.environ:
        search(arguments)
        return
    run_processes(arguments.workers)
    accuracies = read_trials(arguments.scratch / PROJECT)
    _training.save(arguments, f"KerasTuner {version('keras-tuner')}, chief + {arguments.workers} workers", accuracies)


def search(arguments: Namespace) -> None:
    """Body of the chief, which serves and never trains, and of every worker."""
    import keras_tuner
    from _tuned import InOrder
    from _tuned import OneOfTheCandidates

    candidates = _training.longest_first(arguments.candidates)
    tuner = keras_tuner.Tuner(
        InOrder(objective="val_accuracy", max_trials=len(candidates)),
        OneOfTheCandidates(candidates, arguments.scratch),
        directory=arguments.scratch,
        project_name=PROJECT,
    )
    if os.environ[ROLE] == "chief":
        tuner.search(verbose=0)
        return
    train, valid = _training.load_once(arguments.data, arguments.scratch)
    tuner.search(*train, validation_data=valid, epochs=arguments.epochs, batch_size=arguments.batch_size, verbose=0)


def run_processes(workers: int) -> None:
    """Start the chief and the workers, wait for the workers, and leave nobody behind."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    try:
        for role in ("chief", *(f"worker{number}" for number in range(workers))):
            address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
            environment = os.environ | address | {ROLE: role, "no_grpc_proxy": "127.0.0.1"}
            processes.append(subprocess.Popen([sys.executable, *sys.argv], env=environment))
        while any(process.poll() is None for process in processes[1:]):
            if any(process.poll() for process in processes):
                raise SystemExit("KerasTuner: the chief or a worker failed; the error is above.")
            time.sleep(0.02)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def read_trials(project: Path) -> dict[str, float]:
    """What the chief wrote when trials ended."""
    trials = [json.loads(path.read_text()) for path in project.glob("trial_*/trial.json")]
    ended = [trial for trial in trials if trial["score"] is not None]
    return {trial["hyperparameters"]["values"]["candidate"]: float(trial["score"]) for trial in ended}


if __name__ == "__main__":
    main()
