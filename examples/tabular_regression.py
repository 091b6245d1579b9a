"""Search for a network that foretells a patient's progress, from a pandas frame and without Spark.

The table is scikit-learn's diabetes set: 442 patients with ten measurements of that day, and how far the disease had
gone a year later. `fit` takes the frame as AutoKeras' `fit` does; the workers are processes of this machine.

    python examples/tabular_regression.py
    python examples/tabular_regression.py --trials 30 --workers 4 --store /tmp/diabetes
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_absolute_error
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cerebro_nas.backend import LocalBackend
from cerebro_nas.storage import LocalStore
from cerebro_nas.tracking import format_leaderboard
from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries

if TYPE_CHECKING:
    import autokeras as ak
    from keras_tuner import HyperParameters


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Architecture search on a table of patients, without Spark.")
    parser.add_argument("--trials", type=int, default=12, help="candidates to train (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=40, help="epochs per candidate at most (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of split, search and weights (default: %(default)s)")
    parser.add_argument(
        "--store", type=Path, default=Path("runs/diabetes"), help="folder for data and models (default: %(default)s)"
    )
    return parser.parse_args()


def search_space() -> tuple[ak.StructuredDataInput, ak.RegressionHead]:
    """`sex` holds the numbers 1 and 2, which are kinds and no amounts."""
    import autokeras as ak

    patients = ak.StructuredDataInput(name="patients", column_types={"sex": "categorical"})
    node = ak.StructuredDataBlock(normalize=True)(patients)
    return patients, ak.RegressionHead(metrics=["mean_absolute_error"])(node)


def hyperparameters() -> HyperParameters:
    """The progress is a number around 150, so that small steps would not get there in a few hundred of them."""
    from keras_tuner import HyperParameters

    hp = HyperParameters()
    hp.Choice("optimizer", ["adam"])
    hp.Choice("learning_rate", [0.03, 0.01])
    return hp


def report(name: str, predicted: np.ndarray, truth: np.ndarray) -> str:
    error = mean_absolute_error(truth, predicted)
    return f"{name:18} mean absolute error {error:6.2f}   R2 {r2_score(truth, predicted):6.3f}"


def main() -> int:
    arguments = parse_arguments()
    started = time.monotonic()
    quiet_libraries()  # TensorFlow is talkative when it loads
    load_tensorflow()
    x, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    train_x, test_x, train_y, test_y = train_test_split(x, y.to_numpy(), test_size=0.2, random_state=arguments.seed)
    print(f"{len(train_x)} patients to search with, {len(test_x)} held out.")

    import keras

    from cerebro_nas import HyperHyperModel

    patients, head = search_space()
    model = HyperHyperModel(patients, head, project_name="diabetes", overwrite=True, seed=arguments.seed)
    model.resource_bind(
        backend=LocalBackend(num_workers=arguments.workers), store=LocalStore(prefix_path=arguments.store)
    )
    model.tuner_bind(
        "greedy",
        hyperparameters=hyperparameters(),
        objective="val_mean_absolute_error",
        max_trials=arguments.trials,
        exploration=0.3,
        max_model_size=50_000,
    )
    result = model.fit(
        x=train_x,
        y=train_y,
        epochs=arguments.epochs,
        callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=6)],
    )
    print()
    print(format_leaderboard(result.leaderboard(), top=5))

    model.export_model(arguments.store / "best.keras")
    predicted = model.predict(test_x).astype(float)
    linear = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 20))).fit(train_x, train_y)
    print()
    print("Held-out patients:")
    shown = test_x[["age", "sex", "bmi", "bp"]].head(5).assign(progress=test_y[:5], predicted=predicted[:5].round(1))
    print(shown.to_string(index=False))
    print()
    print(report("best network", predicted, test_y))
    print(report("ridge regression", linear.predict(test_x), test_y))
    print(report("always the mean", np.full(len(test_y), train_y.mean()), test_y))
    print(f"Took {time.monotonic() - started:.0f} s in all.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
