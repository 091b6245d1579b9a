"""Search on Fashion-MNIST through Spark `local[2]` and report how well the workers were used.

The images come from the Debian package `dataset-fashion-mnist`, or from a folder with the same four files:

    apt-get install dataset-fashion-mnist
    python examples/fashion_mnist.py
    ./download_data.sh fashion-mnist && python examples/fashion_mnist.py --path data/fashion-mnist
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyspark.ml.linalg import Vectors

from cerebro_nas.backend import SparkBackend
from cerebro_nas.backend import local_spark_session
from cerebro_nas.storage import LocalStore
from cerebro_nas.tracking import format_leaderboard
from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries

if TYPE_CHECKING:
    import autokeras as ak
    from keras_tuner import HyperParameters

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_HEADER_BYTES = {"images": 16, "labels": 8}  # of IDX files of three and of one dimension


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Architecture search on Fashion-MNIST with an embedded Spark.")
    parser.add_argument("--path", type=Path, default=DEBIAN_FOLDER, help="folder of the files (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=12_000, help="training rows (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=12, help="candidates to train (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs per candidate (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of search and weights (default: %(default)s)")
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("runs/fashion_mnist"),
        help="folder for data and models (default: %(default)s)",
    )
    return parser.parse_args()


def read_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, one row of 784 bytes each, and labels of `split`, `"train"` or `"t10k"`."""
    found = []
    for kind, name in (("images", f"{split}-images-idx3-ubyte.gz"), ("labels", f"{split}-labels-idx1-ubyte.gz")):
        path = folder / name
        if not path.exists():
            sys.exit(
                f"{path} is not there. Install the Debian package dataset-fashion-mnist "
                "(apt-get install dataset-fashion-mnist), or name a folder that has its files with --path."
            )
        found.append(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=_HEADER_BYTES[kind]))
    images, labels = found
    return images.reshape(len(labels), 784), labels


def load_libraries() -> None:
    """What takes seconds to import. Spark starts meanwhile, so the functions below import what they use themselves."""
    load_tensorflow()
    from cerebro_nas import HyperHyperModel  # noqa: F401 (it brings AutoKeras and Keras)


def search_space() -> tuple[ak.ImageInput, ak.ClassificationHead]:
    import autokeras as ak
    from keras_tuner.engine.hyperparameters import Choice

    images = ak.ImageInput()
    node = ak.Normalization()(images)
    node = ak.ConvBlock(kernel_size=3, separable=False, filters=Choice("filters", [16, 32]))(node)
    return images, ak.ClassificationHead()(node)


def hyperparameters() -> HyperParameters:
    from keras_tuner import HyperParameters

    hp = HyperParameters()
    hp.Choice("optimizer", ["adam", "adam_weight_decay"])
    hp.Choice("learning_rate", [0.003, 0.001])
    return hp


def main() -> int:
    arguments = parse_arguments()
    quiet_libraries()  # TensorFlow and Spark are talkative when they load
    train_x, train_y = read_split(arguments.path, "train")
    test_x, test_y = read_split(arguments.path, "t10k")
    # The files are shuffled already: the first rows are a fair sample of the classes.
    rows = list(zip(train_x[: arguments.rows], train_y[: arguments.rows], strict=True))
    spark = local_spark_session(arguments.workers, meanwhile=load_libraries)
    train_df = spark.createDataFrame([(Vectors.dense(x), int(y)) for x, y in rows], ["features", "label"])

    from cerebro_nas import HyperHyperModel

    images, head = search_space()
    model = HyperHyperModel(inputs=images, outputs=head, project_name="fashion", overwrite=True, seed=arguments.seed)
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
        max_model_size=1_000_000,
    )
    result = model.fit(train_df, epochs=arguments.epochs, input_shape=(28, 28, 1))
    table = result.leaderboard()
    print()
    print(format_leaderboard(table))
    path = arguments.store / "best.keras"
    model.export_model(path)
    spark.stop()

    import keras

    predicted = keras.models.load_model(path).predict(test_x.reshape(-1, 28, 28, 1), batch_size=256, verbose=0)
    print()
    print(f"Makespan:                 {result.schedule.makespan:.1f} s")
    print(f"Utilisation:              {result.schedule.utilisation:.1%} of worker time inside steps")
    print(f"Best validation accuracy: {table['score'].iloc[0]:.4f}")
    print(f"Test accuracy:            {np.mean(predicted.argmax(axis=1) == test_y):.4f} ({len(test_y):,} images)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
