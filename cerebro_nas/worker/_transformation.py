"""Functions of the user's that change rows on their way into a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from cerebro_nas.errors import UnsafeModelError

Transformation = Callable[[tf.data.Dataset], tf.data.Dataset]
"""From a data set of rows, `(x, y)` or `(x, y, sample_weight)`, to one of as many rows of the same shapes."""


def find_transformation(name: str) -> Transformation | None:
    """The function that this process has registered with Keras under this name; None for an empty name.

    Raises:
        UnsafeModelError: there is none.
    """
    if not name:
        return None
    found: Transformation | None = keras.saving.get_custom_objects().get(name)
    if not callable(found):
        raise UnsafeModelError(
            "`transformation_fn` must be registered with `keras.saving.register_keras_serializable`. "
            f"Received: {name[:80]!r}, which is not. Import the module that registers it first."
        )
    return found


def transform_rows(transformation: Transformation, rows: Any) -> Any:
    """Have a function change the rows of a batch.

    Args:
        transformation: the function.
        rows: tensors of shape (rows, ...), nested as the function expects them.

    Returns:
        What it made of them, nested and stacked alike.
    """
    size = tf.shape(tf.nest.flatten(rows)[0], tf.int64)[0]
    return transformation(tf.data.Dataset.from_tensor_slices(rows)).batch(size).get_single_element()
