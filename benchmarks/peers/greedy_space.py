"""The image space of the comparison by greedy search: candidates whose cost differs by a factor of more than ten."""

from __future__ import annotations

import argparse
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, default=24)


def search_space(autokeras: Any) -> tuple[Any, Any]:
    """Normalised images, one or two blocks of convolutions, a dense layer, a classification head."""
    from keras_tuner.engine.hyperparameters import Choice

    images = autokeras.ImageInput()
    node = autokeras.Normalization()(images)
    node = autokeras.ConvBlock(
        kernel_size=Choice("kernel_size", [3, 5]),
        num_blocks=Choice("num_blocks", [1, 2], default=2),
        num_layers=1,
        filters=Choice("filters", [8, 16, 32], default=16),
        max_pooling=True,
    )(node)
    node = autokeras.DenseBlock(
        num_layers=1,
        num_units=Choice("num_units", [32, 64, 128], default=64),
        use_batchnorm=Choice("use_batchnorm", [False, True]),
    )(autokeras.Flatten()(node))
    return images, make_head(autokeras)(node)


def optimizers() -> Any:
    """Adam, two learning rates."""
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.Fixed("optimizer", "adam")
    hp.Choice("learning_rate", [1e-3, 3e-3])
    return hp


def make_head(autokeras: Any) -> Any:
    """AutoKeras' classification head with its number of classes as an `int`: Keras now refuses NumPy's."""

    class Head(autokeras.ClassificationHead):  # type: ignore[misc]
        shape: Any

        def build(self, hp: Any, inputs: Any = None) -> Any:
            self.shape = tuple(int(size) for size in self.shape)
            return super().build(hp, inputs)

    return Head(dropout=0.0)
