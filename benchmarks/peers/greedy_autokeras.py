"""AutoKeras' own AutoModel, greedy, on the image space: one process with a thread for each worker of the other side."""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import time  # noqa: E402
import warnings  # noqa: E402
from typing import Any  # noqa: E402

import greedy_space  # noqa: E402


def main() -> None:
    arguments = common.parse_arguments(greedy_space.add_arguments)
    common.limit_threads(arguments.workers)
    warnings.simplefilter("ignore")  # of Keras about how AutoKeras calls it
    import autokeras
    import keras

    keras.utils.set_random_seed(1)
    inputs, outputs = greedy_space.search_space(autokeras)
    model = autokeras.AutoModel(
        inputs,
        outputs,
        max_trials=arguments.trials,
        objective="val_accuracy",
        directory=arguments.scratch,
        tuner=greedy_tuner(),
        seed=1,
    )
    train, valid = common.load_split(arguments.data, "train"), common.load_split(arguments.data, "valid")
    ready = time.time()
    # Without an early stopping of the caller's, AutoKeras would train the best model once more after the search.
    never = keras.callbacks.EarlyStopping(patience=arguments.epochs)
    model.fit(
        *train,
        validation_data=valid,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        callbacks=[never],
        verbose=0,
    )
    trials = model.tuner.oracle.get_best_trials(arguments.trials)
    found = {f"trial {trial.trial_id}": float(trial.score) for trial in trials}
    common.save_result(
        arguments.out, f"AutoKeras {autokeras.__version__}", found, ready=ready, parameters=parameters(model, trials)
    )


def greedy_tuner() -> Any:
    """AutoKeras' greedy tuner with the optimizers of the other side."""
    from autokeras.tuners import Greedy

    class Tuner(Greedy):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, hyperparameters=greedy_space.optimizers(), **kwargs)

    return Tuner


def parameters(model: Any, trials: list[Any]) -> list[int]:
    """Parameters of each candidate."""
    return [int(model.tuner.hypermodel.build(trial.hyperparameters).count_params()) for trial in trials]


if __name__ == "__main__":
    main()
