"""Search for one network that looks at a picture and a table at once and answers two questions, on an embedded Spark.

Each row of scikit-learn's digits becomes a PNG file and, beside it, a few measurements, one of them a word (how thick
the pen was). Asked are the digit, and how far it leans to the right (in pixels from its bottom to its top). Thick pens
are rare, so rows weigh more the rarer their pen is. A fifth of the rows is held out before the search.

    python examples/multimodal.py
    python examples/multimodal.py --trials 20 --epochs 15 --store /tmp/multimodal
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

from cerebro_nas.backend import SparkBackend
from cerebro_nas.backend import local_spark_session
from cerebro_nas.storage import LocalStore
from cerebro_nas.tracking import format_leaderboard
from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries

if TYPE_CHECKING:
    from keras_tuner import HyperParameters

# By input's name: one column of pictures, and the columns of a table.
FEATURES = {"picture": "png", "measurements": ["pen", "ink", "width", "top"]}
# By head's name.
LABELS = {"digit": "digit", "slant": "slant"}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Architecture search on pictures and a table with an embedded Spark.")
    parser.add_argument("--trials", type=int, default=8, help="candidates to train (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs per candidate at most (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of split, search and weights (default: %(default)s)")
    parser.add_argument(
        "--store", type=Path, default=Path("runs/multimodal"), help="folder for data and models (default: %(default)s)"
    )
    return parser.parse_args()


def load_libraries() -> None:
    """What takes seconds to import. Spark starts meanwhile, so the functions below import what they use themselves."""
    load_tensorflow()
    from cerebro_nas import HyperHyperModel  # noqa: F401 (it brings AutoKeras and Keras)


def load_table() -> pd.DataFrame:
    """One row per digit: its picture as a file, measurements, both labels and a weight."""
    bunch = load_digits()
    images: np.ndarray = bunch.images
    dark = images > images.max() / 3
    table = pd.DataFrame(
        {
            "png": [as_png(image) for image in images],
            "ink": images.sum(axis=(1, 2)),
            "width": dark.any(axis=1).sum(axis=1),
            "top": images[:, :4].sum(axis=(1, 2)) / images.sum(axis=(1, 2)),
            "digit": bunch.target,
            "slant": [slant(image) for image in images],
        }
    )
    table["pen"] = pd.cut(table["ink"], [0, 280, 350, np.inf], labels=["thin", "medium", "thick"]).astype(str)
    table["weight"] = len(table) / (3 * table.groupby("pen")["ink"].transform("size"))
    return table


def as_png(image: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray((image / 16 * 255).astype(np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def slant(image: np.ndarray) -> float:
    """Pixels by which the top is further to the right than the bottom, from the second moments of the ink."""
    rows, columns = np.indices(image.shape)
    ink = image / image.sum()
    down, right = rows - (ink * rows).sum(), columns - (ink * columns).sum()
    return float(-len(image) * (ink * down * right).sum() / (ink * down**2).sum())


def search_space() -> tuple[list[Any], list[Any]]:
    """Convolutions for the picture, dense layers for the table; what comes out of both feeds two heads."""
    import autokeras as ak
    from keras_tuner.engine.hyperparameters import Choice

    picture = ak.ImageInput(name="picture")
    table = ak.StructuredDataInput(name="measurements")
    convolved = ak.ConvBlock(kernel_size=3, separable=False, filters=Choice("filters", [16, 32]))(
        ak.Normalization()(picture)
    )
    measured = ak.StructuredDataBlock(normalize=True)(table)
    merged = ak.DenseBlock()(ak.Merge("concatenate")([ak.Flatten()(convolved), measured]))
    heads = [
        ak.ClassificationHead(name="digit", dropout=0.0)(merged),
        ak.RegressionHead(name="slant", dropout=0.0, metrics=["mean_absolute_error"])(merged),
    ]
    return [picture, table], heads


def hyperparameters() -> HyperParameters:
    from keras_tuner import HyperParameters

    hp = HyperParameters()
    hp.Choice("optimizer", ["adam", "adam_weight_decay"])
    hp.Choice("learning_rate", [0.003, 0.001])
    return hp


def main() -> int:
    arguments = parse_arguments()
    quiet_libraries()  # TensorFlow and Spark are talkative when they load
    started = time.monotonic()
    table = load_table()
    train, test = train_test_split(table, test_size=0.2, stratify=table["digit"], random_state=arguments.seed)
    print(f"{len(train)} rows to search with, {len(test)} held out. Starting Spark ...")
    spark = local_spark_session(arguments.workers, meanwhile=load_libraries)

    import keras

    from cerebro_nas import HyperHyperModel

    inputs, outputs = search_space()
    model = HyperHyperModel(inputs, outputs, project_name="multimodal", overwrite=True, seed=arguments.seed)
    model.resource_bind(
        backend=SparkBackend(spark_context=spark.sparkContext, num_workers=arguments.workers),
        store=LocalStore(prefix_path=arguments.store),
        feature_columns=FEATURES,
        label_columns=LABELS,
        sample_weight_column="weight",
    )
    model.tuner_bind(
        "greedy",
        hyperparameters=hyperparameters(),
        objective="val_digit_accuracy",
        max_trials=arguments.trials,
        exploration=0.3,
        max_model_size=500_000,
    )
    result = model.fit(
        spark.createDataFrame(train),
        epochs=arguments.epochs,
        callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=3)],
    )
    print()
    print(format_leaderboard(result.leaderboard(), top=5))

    model.export_model(arguments.store / "best.keras")
    found = result.transform(spark.createDataFrame(test)).drop("png", "weight").toPandas()
    spark.stop()
    print()
    print("Held-out rows:")
    columns = ["pen", "ink", "digit", "digit__prediction", "slant", "slant__prediction"]
    print(found[columns].head(6).round(2).to_string(index=False))
    print()
    print(report("best network", found["digit__prediction"], found["slant__prediction"], found))
    print(report("linear models", *linear(train, test), test))
    print(report("always the same", np.full(len(test), 3), np.full(len(test), train["slant"].mean()), test))
    print(f"Took {time.monotonic() - started:.0f} s in all.")
    return 0


def linear(train: pd.DataFrame, test: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Both labels as scikit-learn's linear models predict them, with the same weights, from pixels and table."""
    weight = train["weight"]
    digits = LogisticRegression(max_iter=500).fit(numbers_of(train), train["digit"], sample_weight=weight)
    slants = Ridge().fit(numbers_of(train), train["slant"], sample_weight=weight)
    return digits.predict(numbers_of(test)), slants.predict(numbers_of(test))


def numbers_of(table: pd.DataFrame) -> np.ndarray:
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(png))).reshape(-1) / 255 for png in table["png"]])
    pens = np.stack([table["pen"] == pen for pen in ("thin", "medium", "thick")], axis=1)
    return np.hstack([pixels, pens, table[["ink", "width", "top"]] / [300, 8, 1]])


def report(name: str, digits: Any, slants: Any, truth: pd.DataFrame) -> str:
    hits = np.mean(np.asarray(digits) == truth["digit"].to_numpy())
    error = np.abs(np.asarray(slants) - truth["slant"].to_numpy()).mean()
    r2 = r2_score(truth["slant"], slants)
    return f"{name:16} digit accuracy {hits:.4f}   slant off by {error:.3f} pixels, R2 {r2:6.3f}"


if __name__ == "__main__":
    sys.exit(main())
