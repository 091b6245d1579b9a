"""What an estimator is given of the user's own code: workers import the modules that register it with Keras."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import keras
import tensorflow as tf

from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space import is_registered
from cerebro_nas.search_space import must_be_registered
from cerebro_nas.worker import find_transformation

if TYPE_CHECKING:
    from cerebro_nas.worker import ColumnSpec

_ROWS = 3


def check_registered(custom_objects: Any) -> None:
    """Refuse objects that workers could not find.

    Raises:
        ConfigError: `custom_objects` is no dict, or there are some that are not registered.
    """
    if custom_objects is None:
        return
    if not isinstance(custom_objects, Mapping):
        raise ConfigError(
            "`custom_objects` must be a dict from names to objects. "
            f"Received: custom_objects={custom_objects!r:.80} (of type {type(custom_objects).__name__})."
        )
    missing = [name for name, item in custom_objects.items() if not (is_registered(item) or _is_keras_own(item))]
    if missing:
        raise ConfigError(must_be_registered("custom_objects", f"{', '.join(map(str, missing))}, not registered"))


def _is_keras_own(item: Any) -> bool:
    return str(getattr(item, "__module__", "")).partition(".")[0] == "keras"


def transformation_name(function: Any) -> str:
    """The name under which Keras knows a function that changes rows; empty for None.

    Raises:
        ConfigError: it is no function, or not registered.
    """
    if function is None:
        return ""
    if not callable(function) or isinstance(function, type):
        raise ConfigError(
            "`transformation_fn` must be a function from a `tf.data.Dataset` to another one. "
            f"Received: transformation_fn={function!r:.80} (of type {type(function).__name__})."
        )
    if not is_registered(function):
        raise ConfigError(must_be_registered("transformation_fn", f"{function!r:.80}, not registered"))
    return str(keras.saving.get_registered_name(function))


def row_specs(features: Sequence[tuple[ColumnSpec, ...]], widths: Sequence[int], *, weighted: bool) -> Any:
    """What the tensors of a row are to a function that changes rows: `(x, y)`, or `(x, y, sample_weight)`.

    Args:
        features: columns of each input.
        widths: of each output.
        weighted: whether rows have weights.

    Returns:
        A `tf.TensorSpec` each, in a tuple where there are several inputs, or outputs.
    """
    x = [
        tf.TensorSpec(group[0].shape, group[0].dtype)
        if len(group) == 1 and group[0].shape
        else tf.TensorSpec((len(group),), "float32")
        for group in features
    ]
    y = [tf.TensorSpec((width,), "float32") for width in widths]
    packs = [x, y, [tf.TensorSpec((), "float32")] * len(y)]
    return tuple(pack[0] if len(pack) == 1 else tuple(pack) for pack in packs[: 2 + weighted])


def check_transformation(name: str, rows: Any) -> None:
    """Call a function that changes rows once, with rows of zeros, and look at what it gives.

    Args:
        name: under which it is registered; empty: none.
        rows: a `tf.TensorSpec` for each tensor of a row, `(x, y)` or `(x, y, sample_weight)`.

    Raises:
        ConfigError: it fails, or gives anything but as many rows of the same shapes.
    """
    function = find_transformation(name)
    if function is None:
        return
    zeros = tf.nest.map_structure(lambda spec: tf.zeros([_ROWS, *(n or 1 for n in spec.shape)], spec.dtype), rows)
    given = tf.data.Dataset.from_tensor_slices(zeros)
    try:
        found = function(given)
    except Exception as error:  # noqa: BLE001 - the user's function may raise anything
        reason = f"{type(error).__name__}: {str(error).strip()[-400:]}"
        raise ConfigError(
            f"`transformation_fn` must take a `tf.data.Dataset` of rows {given.element_spec}. Received: {name!r}, "
            f"which failed with {reason}."
        ) from error
    problem = _difference(given, found)
    if problem:
        raise ConfigError(
            "`transformation_fn` must return a `tf.data.Dataset` of as many rows of the same shapes, as "
            f"`dataset.map` does. Received: {name!r}, which gives {problem}. Filter, repeat and reshape in Spark "
            "before `fit`."
        )


def _difference(given: tf.data.Dataset, found: Any) -> str:
    if not isinstance(found, tf.data.Dataset):
        return f"{found!r:.80} (of type {type(found).__name__})"
    mine, theirs = found.element_spec, given.element_spec
    try:
        tf.nest.assert_same_structure(mine, theirs)
    except (TypeError, ValueError):
        return f"rows {mine} for {theirs}"
    pairs = zip(tf.nest.flatten(mine), tf.nest.flatten(theirs), strict=True)
    if not all(isinstance(a, tf.TensorSpec) and a.shape.is_compatible_with(b.shape) for a, b in pairs):
        return f"rows {mine} for {theirs}"
    rows = int(found.cardinality())
    return "" if rows == _ROWS else f"{'another number of' if rows < 0 else rows} rows for {_ROWS}"
