"""Data sets and graphs of the comparison of search quality, the same for both sides."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from benchmarks._errors import BenchmarkError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SPLIT_SEED = 0
_FASHION_ROWS = 10_000
_FILES = (("train-images-idx3-ubyte.gz", 16), ("train-labels-idx1-ubyte.gz", 8))

Arrays = dict[str, "NDArray[Any]"]


@dataclass(frozen=True)
class Problem:
    """A data set with the search that is run on it.

    Attributes:
        name: for the command line and the tables.
        title: what it is.
        trials: candidates of a search.
        epochs: epochs of a candidate.
        held_out: share of the rows that candidates are validated on.
        rows: gives features and labels; of Fashion-MNIST, from the folder with its files.
        graph: gives inputs and outputs of the graph, out of the module `autokeras`.
    """

    name: str
    title: str
    trials: int
    epochs: int
    held_out: float
    rows: Callable[[Path], tuple[NDArray[Any], NDArray[Any]]]
    graph: Callable[[Any], tuple[Any, Any]]

    def arrays(self, folder: Path, most: int | None = None) -> Arrays:
        """Training and validation rows, always the same ones: `x`, `y`, `x_val`, `y_val`.

        Args:
            folder: where the files of Fashion-MNIST are.
            most: rows at most, before they are split.

        Raises:
            BenchmarkError: the files are not there.
        """
        from sklearn.model_selection import train_test_split

        x, y = self.rows(folder)
        if most is not None and most < len(x):
            x, _, y, _ = train_test_split(x, y, train_size=most, stratify=y, random_state=_SPLIT_SEED)
        parts = train_test_split(x, y, test_size=self.held_out, stratify=y, random_state=_SPLIT_SEED)
        return dict(zip(("x", "x_val", "y", "y_val"), parts, strict=True))


def _digits(folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return pixels.reshape(-1, 8, 8, 1).astype(np.float32), labels


def _fashion(folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    found = []
    for name, header in _FILES:
        path = folder / name
        if not path.exists():
            raise BenchmarkError(
                f"`--images` must be a folder with Fashion-MNIST's files. Received: {folder}, without {name}. "
                "Install the Debian package dataset-fashion-mnist, or run ./download_data.sh fashion-mnist."
            )
        found.append(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header))
    # The files are shuffled already.
    return found[0].reshape(-1, 28, 28, 1)[:_FASHION_ROWS], found[1][:_FASHION_ROWS]


def _table(folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    return features, labels


def _image_graph(autokeras: Any) -> tuple[Any, Any]:
    """Convolutions over normalised images; depth, pooling, dropout, reduction and optimizer are AutoKeras' own."""
    from keras_tuner.engine.hyperparameters import Choice

    images = autokeras.ImageInput()
    node = autokeras.ConvBlock(
        kernel_size=Choice("kernel_size", [3, 5]),
        separable=False,
        filters=Choice("filters", [8, 16, 32], default=16),
    )(autokeras.Normalization()(images))
    return images, autokeras.ClassificationHead()(node)


def _table_graph(autokeras: Any) -> tuple[Any, Any]:
    """All of AutoKeras' own block for tables."""
    columns = autokeras.StructuredDataInput()
    return columns, autokeras.ClassificationHead()(autokeras.StructuredDataBlock()(columns))


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("digits", "digits, 1,797 images of 8 x 8", 12, 5, 0.3, _digits, _image_graph),
        Problem("fashion", "Fashion-MNIST, 10,000 images of 28 x 28", 8, 3, 0.2, _fashion, _image_graph),
        Problem("table", "breast cancer, 569 rows of 30 columns", 12, 5, 0.4, _table, _table_graph),
    )
}
