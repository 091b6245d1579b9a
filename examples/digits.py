"""Search for a network that reads handwritten digits, on an embedded Spark. `make demo` runs this.

The data set is scikit-learn's: 1,797 images of 8x8 pixels. A fifth is held out before the search and seen by nothing
but the last step, which loads the exported file with plain Keras.

    python examples/digits.py
    python examples/digits.py --trials 20 --epochs 15 --store /tmp/digits
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyspark.ml.linalg import Vectors
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from cerebro_nas.backend import SparkBackend
from cerebro_nas.backend import local_spark_session
from cerebro_nas.storage import LocalStore
from cerebro_nas.tracking import format_leaderboard
from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries

if TYPE_CHECKING:
    import autokeras as ak
    from keras_tuner import HyperParameters

WANTED_ACCURACY = 0.95


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Architecture search on scikit-learn's digits with an embedded Spark.")
    parser.add_argument("--trials", type=int, default=14, help="candidates to train (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs per candidate at most (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of split, search and weights (default: %(default)s)")
    parser.add_argument(
        "--store", type=Path, default=Path("runs/digits"), help="folder for data and models (default: %(default)s)"
    )
    return parser.parse_args()


def load_libraries() -> None:
    """What takes seconds to import. Spark starts meanwhile, so the functions below import what they use themselves."""
    load_tensorflow()
    from cerebro_nas import HyperHyperModel  # noqa: F401 (it brings AutoKeras and Keras)


def search_space() -> tuple[ak.ImageInput, ak.ClassificationHead]:
    """Normalised images, then convolutions. What is not said here (depth, pooling, dropout ...) the search finds."""
    import autokeras as ak
    from keras_tuner.engine.hyperparameters import Choice

    images = ak.ImageInput()
    node = ak.Normalization()(images)
    node = ak.ConvBlock(kernel_size=3, separable=False, filters=Choice("filters", [16, 32, 64]))(node)
    return images, ak.ClassificationHead()(node)


def hyperparameters() -> HyperParameters:
    """Narrower choices than AutoKeras' own, which include rates at which ten epochs teach nothing."""
    from keras_tuner import HyperParameters

    hp = HyperParameters()
    hp.Choice("optimizer", ["adam", "adam_weight_decay"])
    hp.Choice("learning_rate", [0.003, 0.001])
    return hp


def main() -> int:
    arguments = parse_arguments()
    quiet_libraries()  # TensorFlow and Spark are talkative when they load
    started = time.monotonic()
    pixels, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, labels, test_size=0.2, stratify=labels, random_state=arguments.seed
    )
    print(f"{len(train_x)} images to search with, {len(test_x)} held out. Starting Spark ...")
    spark = local_spark_session(arguments.workers, meanwhile=load_libraries)
    rows = [(Vectors.dense(image), int(label)) for image, label in zip(train_x, train_y, strict=True)]
    train_df = spark.createDataFrame(rows, ["features", "label"])

    import keras

    from cerebro_nas import HyperHyperModel

    images, head = search_space()
    model = HyperHyperModel(inputs=images, outputs=head, project_name="digits", overwrite=True, seed=arguments.seed)
    model.resource_bind(
        backend=SparkBackend(spark_context=spark.sparkContext, num_workers=arguments.workers),
        store=LocalStore(prefix_path=arguments.store),
        feature_columns=["features"],
        label_columns=["label"],
        evaluation_metric="accuracy",
    )
    model.tuner_bind(
        "greedy",
        hyperparameters=hyperparameters(),
        objective="val_accuracy",
        max_trials=arguments.trials,
        exploration=0.3,
        max_model_size=300_000,
    )
    result = model.fit(
        train_df,
        epochs=arguments.epochs,
        input_shape=(8, 8, 1),
        callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=3)],
    )
    print()
    print(format_leaderboard(result.leaderboard()))

    path = arguments.store / "best.keras"
    model.export_model(path)
    spark.stop()
    accuracy = test_accuracy(path, test_x.reshape(-1, 8, 8, 1), test_y)
    print()
    print(f"Best model: {path}")
    print(f"Test accuracy, {len(test_y)} held-out images, plain Keras: {accuracy:.4f}")
    print(f"Took {time.monotonic() - started:.0f} s in all.")
    if accuracy < WANTED_ACCURACY:
        print(f"That is below {WANTED_ACCURACY}. More --trials or --epochs may help.", file=sys.stderr)
        return 1
    return 0


def test_accuracy(path: Path, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of the images that the exported model reads right; nothing of cerebro_nas takes part."""
    import keras

    model = keras.models.load_model(path)
    probabilities = model.predict(images, verbose=0)
    return float(np.mean(probabilities.argmax(axis=1) == labels))


if __name__ == "__main__":
    sys.exit(main())
