"""KerasTuner as most use it: one process, one candidate after another, as many threads as the others have workers."""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import _training  # noqa: E402


def main() -> None:
    arguments = common.parse_arguments()
    common.limit_threads(arguments.workers)
    import keras_tuner
    from _tuned import OneOfTheCandidates

    candidates = _training.longest_first(arguments.candidates)
    tuner = keras_tuner.GridSearch(
        OneOfTheCandidates(candidates, arguments.scratch),
        objective="val_accuracy",
        max_trials=len(candidates),
        directory=arguments.scratch,
        project_name="w8",
    )
    train, valid = _training.load_once(arguments.data, arguments.scratch)
    tuner.search(*train, validation_data=valid, epochs=arguments.epochs, batch_size=arguments.batch_size, verbose=0)
    trials = tuner.oracle.get_best_trials(len(candidates))
    accuracies = {trial.hyperparameters.get("candidate"): float(trial.score) for trial in trials}
    _training.save(arguments, f"KerasTuner {keras_tuner.__version__}, sequential", accuracies)


if __name__ == "__main__":
    main()
