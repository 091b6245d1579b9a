"""Search for a network that tells from which library a docstring is, on an embedded Spark.

The corpus is what pip has installed: the first paragraphs of the docstrings of libraries that this package needs
anyway. Their sources are parsed and not imported; names of libraries are cut out. A fifth is held out before the
search, and the exported file is given the sentences themselves.

    python examples/text_classification.py
    python examples/text_classification.py --rows 1500 --trials 20 --store /tmp/docstrings
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from cerebro_nas.backend import SparkBackend
from cerebro_nas.backend import local_spark_session
from cerebro_nas.storage import LocalStore
from cerebro_nas.tracking import format_leaderboard
from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries

if TYPE_CHECKING:
    import autokeras as ak
    from keras_tuner import HyperParameters

LIBRARIES = ("keras", "numpy", "pandas", "pyspark", "scipy", "sklearn")
FEWEST_WORDS = 8
# Where the sections of a docstring begin, whose layout would tell the library at once.
SECTIONS = re.compile(r"^\s*(Parameters|Arg|Return|Example|Note|See Also|Raises|\.\. |>>>|:param|```|-{3}|={3})", re.M)
GIVEAWAYS = re.compile(r"\w*(?:keras|tensorflow|numpy|pandas|spark|scipy|scikit|sklearn)\w*|\b(?:np|pd|tf)\b\.?", re.I)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Architecture search on docstrings with an embedded Spark.")
    parser.add_argument("--rows", type=int, default=500, help="docstrings of each library (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=8, help="candidates to train (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="epochs per candidate at most (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of split, search and weights (default: %(default)s)")
    parser.add_argument(
        "--store", type=Path, default=Path("runs/docstrings"), help="folder for data and models (default: %(default)s)"
    )
    return parser.parse_args()


def load_libraries() -> None:
    """What takes seconds to import. Spark starts meanwhile, so the functions below import what they use themselves."""
    load_tensorflow()
    from cerebro_nas import HyperHyperModel  # noqa: F401 (it brings AutoKeras and Keras)


def docstrings(path: Path) -> Iterator[str]:
    """The first paragraphs of each docstring in a file, without what gives the library away."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
            prose = SECTIONS.split(ast.get_docstring(node) or "", maxsplit=1)[0]
            words = GIVEAWAYS.sub(" ", prose).split()
            if len(words) >= FEWEST_WORDS:
                yield " ".join(words)


def sample(library: str, rows: int, seed: int) -> list[str]:
    """Different docstrings of a library, from files in random order until there are enough."""
    spec = importlib.util.find_spec(library)  # reads no more than where it is
    if spec is None or spec.origin is None:
        return []
    files = [path for path in sorted(Path(spec.origin).parent.rglob("*.py")) if "tests" not in path.parts]
    random.Random(seed).shuffle(files)
    found: dict[str, None] = {}
    for path in files:
        found.update(dict.fromkeys(docstrings(path)))
        if len(found) >= rows:
            break
    return list(found)[:rows]


def load_corpus(rows: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts, each only once, and the libraries that they are from."""
    origin = {text: library for library in LIBRARIES for text in sample(library, rows, seed)}
    return list(origin), list(origin.values())


def search_space() -> tuple[ak.TextInput, ak.ClassificationHead]:
    """AutoKeras' block for texts: embedded words, convolutions, the strongest or the mean signal, dense layers."""
    import autokeras as ak

    texts = ak.TextInput(name="docstring")
    return texts, ak.ClassificationHead(dropout=0.25)(ak.TextBlock()(texts))


def hyperparameters() -> HyperParameters:
    """Narrower choices than AutoKeras' own, which are for more texts than these. Leaderboards have the names."""
    from keras_tuner import HyperParameters

    hp = HyperParameters()
    with hp.name_scope("text_block_1"):
        hp.Fixed("max_tokens", 5000)
        hp.Choice("embedding_1/embedding_dim", [64, 128])
        hp.Fixed("conv_block_1/num_blocks", 1)
        hp.Fixed("conv_block_1/num_layers", 1)
        hp.Fixed("conv_block_1/separable", False)
        hp.Choice("conv_block_1/filters_0_0", [64, 128])
        hp.Choice("spatial_reduction_1/reduction_type", ["global_max", "global_avg"])
    hp.Choice("optimizer", ["adam", "adam_weight_decay"])
    hp.Choice("learning_rate", [0.003, 0.001])
    return hp


def main() -> int:
    arguments = parse_arguments()
    quiet_libraries()  # TensorFlow and Spark are talkative when they load
    started = time.monotonic()
    texts, labels = load_corpus(arguments.rows, arguments.seed)
    train_x, test_x, train_y, test_y = train_test_split(
        texts, labels, test_size=0.2, stratify=labels, random_state=arguments.seed
    )
    print(f"{len(train_x)} docstrings to search with, {len(test_x)} held out. Starting Spark ...")
    spark = local_spark_session(arguments.workers, meanwhile=load_libraries)
    train_df = spark.createDataFrame(list(zip(train_x, train_y, strict=True)), ["docstring", "library"])

    import keras

    from cerebro_nas import HyperHyperModel

    text_input, head = search_space()
    model = HyperHyperModel(text_input, head, project_name="docstrings", overwrite=True, seed=arguments.seed)
    model.resource_bind(
        backend=SparkBackend(spark_context=spark.sparkContext, num_workers=arguments.workers),
        store=LocalStore(prefix_path=arguments.store),
        feature_columns=["docstring"],
        label_columns=["library"],
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
    result = model.fit(
        train_df,
        epochs=arguments.epochs,
        callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=2)],
    )
    print()
    print(format_leaderboard(result.leaderboard(), top=5))

    path = arguments.store / "best.keras"
    model.export_model(path)
    spark.stop()
    predicted = classify(path, test_x)
    linear = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, max_iter=1000)).fit(train_x, train_y)
    print()
    print("Held-out docstrings:")
    for text, truth, guess in list(zip(test_x, test_y, predicted, strict=True))[:6]:
        print(f"  {truth:8} taken for {guess:8} {text[:70]}")
    print()
    print(f"best network, plain Keras    accuracy {np.mean(predicted == np.array(test_y)):.4f}")
    print(f"tf-idf, logistic regression  accuracy {linear.score(test_x, test_y):.4f}")
    print(f"always the same library      accuracy {max(map(test_y.count, LIBRARIES)) / len(test_y):.4f}")
    print(f"Took {time.monotonic() - started:.0f} s in all.")
    return 0


def classify(path: Path, texts: list[str]) -> np.ndarray:
    """Labels that the exported file gives to strings; nothing of cerebro_nas takes part."""
    import keras

    description = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
    classes = np.array(description["outputs"][0]["classes"])
    probabilities = keras.models.load_model(path).predict(np.array(texts, dtype=object), verbose=0)
    return np.asarray(classes[probabilities.argmax(axis=1)])


if __name__ == "__main__":
    sys.exit(main())
