"""One greedy search of one side in a process of its own; `python -m benchmarks quality` runs it."""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._quality_data import PROBLEMS

_OBJECTIVE = "val_accuracy"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=("ours", "autokeras"), required=True)
    parser.add_argument("--problem", choices=tuple(PROBLEMS), required=True)
    parser.add_argument("--folder", type=Path, required=True, help="has rows.npz; the result goes there")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--exploration", type=float)
    for name in ("--seed", "--trials", "--epochs", "--batch-size"):
        parser.add_argument(name, type=int, required=True)
    arguments = parser.parse_args()
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", KERAS_BACKEND="tensorflow")
    warnings.simplefilter("ignore")  # of Keras about how AutoKeras calls it
    with np.load(arguments.folder / "rows.npz") as file:
        arrays = {name: file[name] for name in file.files}
    began = time.monotonic()
    oracle = {"ours": _ours, "autokeras": _autokeras}[arguments.side](arguments, arrays)
    result = {"fit_s": time.monotonic() - began, "trials": [_trial(oracle, name) for name in oracle.start_order]}
    (arguments.folder / "result.json").write_text(json.dumps(result, indent=1))


def _ours(arguments: argparse.Namespace, arrays: dict[str, Any]) -> Any:
    import autokeras

    from cerebro_nas import HyperHyperModel
    from cerebro_nas.backend import LocalBackend
    from cerebro_nas.storage import LocalStore

    inputs, outputs = PROBLEMS[arguments.problem].graph(autokeras)
    model = HyperHyperModel(inputs, outputs, project_name="quality", seed=arguments.seed)
    model.resource_bind(
        backend=LocalBackend(num_workers=arguments.workers),
        store=LocalStore(prefix_path=arguments.folder / "store"),
        verbose=0,
    )
    model.tuner_bind(
        "greedy",
        objective=_OBJECTIVE,
        max_trials=arguments.trials,
        **({} if arguments.exploration is None else {"exploration": arguments.exploration}),
        # As AutoKeras has it: a trial begins when the one before has ended. Several workers take what is the default.
        parallelism=1 if arguments.workers == 1 else None,
    )
    model.fit(
        x=arrays["x"],
        y=arrays["y"],
        validation_data=(arrays["x_val"], arrays["y_val"]),
        batch_size=arguments.batch_size,
        epochs=arguments.epochs,
    )
    return model.tuner.oracle


def _autokeras(arguments: argparse.Namespace, arrays: dict[str, Any]) -> Any:
    import autokeras
    import keras
    from autokeras.utils import data_utils

    # Keras refuses the NumPy integers that AutoKeras takes its numbers of units from.
    data_utils.dataset_shape = lambda data: data_utils.tree.map_structure(
        lambda item: np.array(item.shape, dtype=object), data
    )
    keras.utils.set_random_seed(arguments.seed)
    inputs, outputs = PROBLEMS[arguments.problem].graph(autokeras)
    model = autokeras.AutoModel(
        inputs,
        outputs,
        tuner="greedy",
        objective=_OBJECTIVE,
        max_trials=arguments.trials,
        directory=arguments.folder / "autokeras",
        seed=arguments.seed,
    )
    model.fit(
        arrays["x"],
        arrays["y"],
        validation_data=(arrays["x_val"], arrays["y_val"]),
        batch_size=arguments.batch_size,
        epochs=arguments.epochs,
        # Never stops; without one of the caller's, AutoKeras would train the best model once more after the search.
        callbacks=[keras.callbacks.EarlyStopping(patience=arguments.epochs)],
        verbose=0,
    )
    return model.tuner.oracle


def _trial(oracle: Any, name: str) -> dict[str, Any]:
    """What the oracle knows of a trial: both sides keep their trials in one of KerasTuner's."""
    trial = oracle.trials[name]
    known = trial.metrics.exists("val_loss")
    return {
        "status": str(trial.status),
        "score": None if trial.score is None else float(trial.score),
        "val_loss": float(trial.metrics.get_best_value("val_loss")) if known else None,
        "values": dict(trial.hyperparameters.values),
    }


if __name__ == "__main__":
    main()
