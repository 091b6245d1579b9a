"""AutoKeras' own AutoModel on an image space of similar size.

Other models: AutoKeras proposes what it trains and cannot be given the candidates, so only the numbers of trials and of
epochs are theirs, and a trial counts by its best epoch. One process, as many threads as the others have workers.
"""

from __future__ import annotations

import common

START = common.START  # the import above comes first: it reads the clock

import time  # noqa: E402
import warnings  # noqa: E402
from typing import Any  # noqa: E402

import greedy_space  # noqa: E402


def main() -> None:
    arguments = common.parse_arguments()
    common.limit_threads(arguments.workers)
    warnings.simplefilter("ignore")  # of Keras about how AutoKeras calls it
    import autokeras
    import keras

    keras.utils.set_random_seed(1)
    inputs, outputs = search_space(autokeras)
    trials = len(common.load_candidates(arguments.candidates))
    model = autokeras.AutoModel(
        inputs, outputs, max_trials=trials, objective="val_accuracy", directory=arguments.scratch, seed=1
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
    best = model.tuner.oracle.get_best_trials(trials)
    accuracies = {f"trial {trial.trial_id}": float(trial.score) for trial in best}
    system = f"AutoKeras {autokeras.__version__}, AutoModel (other models)"
    common.save_result(arguments.out, system, accuracies, ready=ready)


def search_space(autokeras: Any) -> tuple[Any, Any]:
    """One or two blocks of convolutions about as wide as the candidates', and a dense layer like theirs."""
    from keras_tuner.engine.hyperparameters import Choice

    images = autokeras.ImageInput()
    node = autokeras.ConvBlock(
        kernel_size=Choice("kernel_size", [3, 5]),
        num_blocks=2,
        num_layers=1,
        filters=Choice("filters", [8, 16, 32]),
        max_pooling=True,
        separable=False,
        dropout=0.0,
    )(images)
    node = autokeras.Flatten()(node)
    node = autokeras.DenseBlock(num_layers=1, num_units=64, use_batchnorm=False, dropout=0.0)(node)
    return images, greedy_space.make_head(autokeras)(node)


if __name__ == "__main__":
    main()
