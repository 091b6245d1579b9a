"""Search for a network that tells malignant from benign tumours in a table, on an embedded Spark.

The table is scikit-learn's breast cancer set: 569 rows of 30 measurements. One of them is turned into words here
("smooth" to "coarse"), so that there is a column of categories too. A fifth of the rows is held out before the search.
Missing a malignant tumour is worse than a false alarm, so malignant rows weigh twice as much.

    python examples/tabular_classification.py
    python examples/tabular_classification.py --trials 20 --epochs 40 --store /tmp/tumours
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.preprocessing import StandardScaler

from cerebro_nas.backend import SparkBackend
from cerebro_nas.backend import local_spark_session
from cerebro_nas.storage import LocalStore
from cerebro_nas.tracking import format_leaderboard
from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries

if TYPE_CHECKING:
    import autokeras as ak
    from keras_tuner import HyperParameters

LABEL = "diagnosis"
TEXTURES = ["smooth", "fine", "rough", "coarse"]
CLASS_WEIGHT = {"malignant": 2.0, "benign": 1.0}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Architecture search on a table of tumours with an embedded Spark.")
    parser.add_argument("--trials", type=int, default=10, help="candidates to train (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="epochs per candidate at most (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of split, search and weights (default: %(default)s)")
    parser.add_argument(
        "--store", type=Path, default=Path("runs/tumours"), help="folder for data and models (default: %(default)s)"
    )
    return parser.parse_args()


def load_libraries() -> None:
    """What takes seconds to import. Spark starts meanwhile, so the functions below import what they use themselves."""
    load_tensorflow()
    from cerebro_nas import HyperHyperModel  # noqa: F401 (it brings AutoKeras and Keras)


def load_table() -> pd.DataFrame:
    """Measurements as they are, the mean texture as words, and the diagnosis as a word."""
    bunch = load_breast_cancer(as_frame=True)
    table: pd.DataFrame = bunch.data.copy()
    table["texture"] = pd.qcut(table.pop("mean texture"), len(TEXTURES), labels=TEXTURES).astype(str)
    table[LABEL] = [str(bunch.target_names[number]) for number in bunch.target]
    return table


def search_space() -> tuple[ak.StructuredDataInput, ak.ClassificationHead]:
    """Strings are categories and numbers are numbers without being told; the rest is AutoKeras' block for tables."""
    import autokeras as ak

    table = ak.StructuredDataInput(name="measurements")
    node = ak.StructuredDataBlock(normalize=True)(table)
    return table, ak.ClassificationHead()(node)


def hyperparameters() -> HyperParameters:
    """Rates at which some hundred steps teach something."""
    from keras_tuner import HyperParameters

    hp = HyperParameters()
    hp.Choice("optimizer", ["adam", "adam_weight_decay"])
    hp.Choice("learning_rate", [0.01, 0.003])
    return hp


def baseline(train: pd.DataFrame, test: pd.DataFrame) -> pd.Series:
    """What scikit-learn's logistic regression predicts, taught on the same rows with the same weights."""
    numbers = train.select_dtypes("number").columns.tolist()
    columns = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(), ["texture"]))
    linear = make_pipeline(columns, LogisticRegression(max_iter=1000, class_weight=CLASS_WEIGHT))
    linear.fit(train.drop(columns=LABEL), train[LABEL])
    return pd.Series(linear.predict(test.drop(columns=LABEL)), index=test.index)


def report(name: str, predicted: pd.Series, truth: pd.Series) -> str:
    hits = predicted == truth
    malignant = truth == "malignant"
    return f"{name:20} accuracy {hits.mean():.4f}   malignant found {hits[malignant].sum()} of {malignant.sum()}"


def main() -> int:
    arguments = parse_arguments()
    quiet_libraries()  # TensorFlow and Spark are talkative when they load
    started = time.monotonic()
    table = load_table()
    train, test = train_test_split(table, test_size=0.2, stratify=table[LABEL], random_state=arguments.seed)
    test = test.reset_index(drop=True)
    print(f"{len(train)} rows to search with, {len(test)} held out. Starting Spark ...")
    spark = local_spark_session(arguments.workers, meanwhile=load_libraries)

    from cerebro_nas import HyperHyperModel

    measurements, head = search_space()
    model = HyperHyperModel(measurements, head, project_name="tumours", overwrite=True, seed=arguments.seed)
    model.resource_bind(
        backend=SparkBackend(spark_context=spark.sparkContext, num_workers=arguments.workers),
        store=LocalStore(prefix_path=arguments.store),
        feature_columns=[name for name in table.columns if name != LABEL],
        label_columns=[LABEL],
        evaluation_metric="accuracy",
    )
    model.tuner_bind(
        "greedy", hyperparameters=hyperparameters(), objective="val_loss", max_trials=arguments.trials, exploration=0.3
    )
    result = model.fit(spark.createDataFrame(train), epochs=arguments.epochs, class_weight=CLASS_WEIGHT)
    print()
    print(format_leaderboard(result.leaderboard(), top=5))

    model.export_model(arguments.store / "best.keras")
    found = result.transform(spark.createDataFrame(test)).select("texture", LABEL, f"{LABEL}__prediction").toPandas()
    spark.stop()
    print()
    print("Held-out rows, labels as they stand in the data:")
    print(found.head(5).to_string(index=False))
    print()
    print(report("best network", found[f"{LABEL}__prediction"], found[LABEL]))
    print(report("logistic regression", baseline(train, test), test[LABEL]))
    print(report("always benign", pd.Series("benign", index=test.index), test[LABEL]))
    print(f"Took {time.monotonic() - started:.0f} s in all.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
