"""Inputs and heads, set from the statistics of the prepared data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import autokeras
import keras
import numpy as np

from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space._layout import asked_columns
from cerebro_nas.search_space._layout import spread
from cerebro_nas.search_space._tokens import set_num_tokens
from cerebro_nas.worker import ColumnSpec

if TYPE_CHECKING:
    from cerebro_nas.data import PreparedData

_BINARY = ("binary_crossentropy", "BinaryCrossentropy", "bce", "BCE")
_BYTE = 255
_SPARSE = "sparse_categorical_crossentropy"


@dataclass(frozen=True)
class HeadSettings:
    """What the user asked of a head, before AutoKeras or we fill the rest in."""

    num_classes: int | None
    loss: Any
    output_dim: int | None


def head_settings(head: Any) -> HeadSettings:
    """Read a head that has not been configured yet."""
    num_classes = getattr(head, "num_classes", None)
    loss = head.loss
    if isinstance(head, autokeras.ClassificationHead) and num_classes and _is_inferred(head):
        # AutoKeras fills the loss in when the number of classes is given.
        loss = None
    return HeadSettings(num_classes, _usable_loss(loss), getattr(head, "output_dim", None))


def features_by_input(
    prepared: PreparedData, inputs: Sequence[Any], names: Sequence[Sequence[str]] | None
) -> tuple[tuple[ColumnSpec, ...], ...]:
    """Give each input its columns: all to a single input, one each if the numbers agree, or as the user says."""
    columns = {column.name: column for column in prepared.features}
    if names is None:
        names = spread(inputs, tuple(columns))
    if len(names) != len(inputs):
        raise ConfigError(
            f"Argument `feature_columns` should say which columns feed each of the {len(inputs)} inputs. "
            f"Received: feature_columns={[list(n) for n in names]}. Pass one list of columns per input."
        )
    unknown = [name for group in names for name in group if name not in columns]
    if unknown or not all(names):
        raise ConfigError(
            f"Argument `feature_columns` should name prepared columns ({', '.join(columns)}), at least one per input. "
            f"Received: feature_columns={[list(n) for n in names]}. Use these names."
        )
    groups = tuple(tuple(columns[name] for name in group) for group in names)
    for node, group in zip(inputs, groups, strict=True):
        if isinstance(node, autokeras.TextInput):
            _check_tokens(group, prepared)
    return groups


def configure_input(node: Any, columns: tuple[ColumnSpec, ...], rows: int, batch_size: int) -> None:
    """Set what an AutoKeras input needs to know of its data."""
    if len(columns) > 1 and any(column.shape for column in columns):
        shapes = ", ".join(f"{column.name}: {column.shape}" for column in columns)
        raise ConfigError(
            "Argument `feature_columns` should give an input one tensor column or several scalar ones. "
            f"Received: {shapes}. Assemble them into one column, or use one input for each."
        )
    shape = columns[0].shape or (len(columns),)
    _check_rank(node, columns[0].name, shape)
    # AutoKeras takes shapes as NumPy integers, which layers of Keras 3.13 and later refuse.
    node.shape = tuple(int(size) for size in shape)
    node.dtype = _input_dtype(node, columns)
    node.num_samples = rows
    node.batch_size = batch_size
    node.data_shape = [rows, *node.shape]
    if isinstance(node, autokeras.StructuredDataInput):
        _configure_structured(node, columns)
    if isinstance(node, autokeras.TextInput):
        encoder = columns[0].encoder or {}
        set_num_tokens(node, len(encoder["vocabulary"]) + 2 if "vocabulary" in encoder else 0)


def configure_head(head: Any, settings: HeadSettings, column: ColumnSpec, prepared: PreparedData) -> dict[str, Any]:
    """Set what an AutoKeras head needs to know of its labels.

    Returns:
        How a worker makes targets of the labels (`SearchSpec.targets`).
    """
    if isinstance(head, autokeras.ClassificationHead):
        target = _configure_classification(head, settings, column, prepared)
    else:
        target = _configure_values(head, settings, column)
    head.dtype = "float32"
    head.num_samples = prepared.train_rows
    head.data_shape = [prepared.train_rows, *head.shape]
    return target


def _check_rank(node: Any, name: str, shape: tuple[int, ...]) -> None:
    if not isinstance(node, autokeras.ImageInput) or len(shape) in (2, 3):
        return
    width = math.isqrt(shape[0])
    example = f"({width}, {width}, 1)" if width * width == shape[0] else "(height, width, channels)"
    raise ConfigError(
        "An `ImageInput` should be given images of shape (height, width) or (height, width, channels). "
        f"Received: {name!r} with rows of shape {shape}. Give arrays of that shape, or, with a DataFrame, "
        f"`input_shape={example}`."
    )


def _check_tokens(columns: tuple[ColumnSpec, ...], prepared: PreparedData) -> None:
    """Refuse numbers that are no positions in a vocabulary; an embedding would round them, and say nothing."""
    for column in columns:
        known = prepared.statistics[column.name]
        low, high = known.minimum, known.maximum
        if column.encoder is not None or low is None or high is None:
            continue
        # Whole numbers of this range are stored as bytes.
        fractions = column.dtype.startswith("float") and (high <= _BYTE or not (low.is_integer() and high.is_integer()))
        if low < 0 or fractions:
            raise ConfigError(
                "Argument `feature_columns` should give a `TextInput` a column of strings, or of arrays of token "
                f"numbers, which are whole and not negative. Received: column {column.name!r} of numbers from {low:g} "
                f"to {high:g}{', with fractions' if fractions else ''}. Use `Input` for other numbers."
            )


def _input_dtype(node: Any, columns: tuple[ColumnSpec, ...]) -> str:
    if isinstance(node, autokeras.TextInput):
        return "int32"
    if isinstance(node, autokeras.StructuredDataInput):
        # Unlike the others, this input has no layer that casts.
        return "float32"
    dtype = np.result_type(*(np.dtype(column.dtype) for column in columns))
    # Bytes are how small whole numbers are stored; a model that took bytes would wrap all others.
    return "float32" if dtype.kind == "f" or dtype == np.uint8 else dtype.name


def _configure_structured(node: Any, columns: tuple[ColumnSpec, ...]) -> None:
    asked_names, asked_types = asked_columns(node)
    names = [column.name for column in columns]
    if len(columns) == 1 and columns[0].shape:
        names = [f"{columns[0].name}_{i}" for i in range(math.prod(columns[0].shape))]
        names = list(asked_names) or names
    node.column_names = names
    found = {column.name: "categorical" for column in columns if column.encoder is not None}
    node.column_types = {name: "numerical" for name in names} | asked_types | found


def _configure_classification(
    head: Any, settings: HeadSettings, column: ColumnSpec, prepared: PreparedData
) -> dict[str, Any]:
    if column.shape:
        return _configure_encoded(head, settings, column, prepared)
    classes = list(prepared.statistics[column.name].classes)
    expected, given = _named(head, column)
    if head.multi_label:
        raise ConfigError(
            f"Argument {expected} 0/1 vectors for a head with `multi_label=True`. "
            f"Received: {given} of scalars. Encode the labels, or leave `multi_label` out."
        )
    if not classes:
        raise ConfigError(
            f"Argument {expected} classes for a `ClassificationHead`: texts or whole numbers, at most 10,000 of them. "
            f"Received: {given}, with fractions or more values. Use a `RegressionHead`, or turn the labels into "
            "classes, texts for example."
        )
    if len(classes) < 2:
        raise ConfigError(
            f"Argument {expected} at least two classes. "
            f"Received: {given} with the classes {classes}. Choose other labels or more rows."
        )
    _check_classes(settings.num_classes, len(classes), given)
    head.num_classes = len(classes)
    _set_flags(head, labels=[str(label) for label in classes], add_dimension=True)
    binary = len(classes) == 2 and (settings.loss is None or _is_binary(settings.loss))
    head.shape = (1,) if binary else (len(classes),)
    head.loss = settings.loss or _default_loss(binary)
    return {"kind": "classes", "classes": classes, "as": "binary" if binary else "onehot"}


def _configure_encoded(head: Any, settings: HeadSettings, column: ColumnSpec, prepared: PreparedData) -> dict[str, Any]:
    statistics = prepared.statistics[column.name]
    low, high = statistics.minimum, statistics.maximum
    expected, given = _named(head, column)
    if len(column.shape) != 1 or column.dtype == "str" or low is None or high is None or low < 0 or high > 1:
        raise ConfigError(
            f"Argument {expected} classes or one-hot vectors with elements in [0, 1]. "
            f"Received: {given}, shape {column.shape}, elements from {low} to {high}. "
            "Encode the labels, or use `RegressionHead`."
        )
    size = int(column.shape[0])
    there = [value for value, rows in zip(statistics.classes, statistics.class_counts, strict=True) if rows]
    if len(there) == 1:
        raise ConfigError(
            f"Argument {expected} at least two classes. "
            f"Received: {given}, of which every row is of class {there[0]}. Choose other labels or more rows."
        )
    sigmoid = head.multi_label or size == 1
    found = 2 if size == 1 else size
    _check_classes(settings.num_classes, found, given)
    head.num_classes = found
    _set_flags(head, labels=None, add_dimension=False, sigmoid=sigmoid)
    head.shape = (size,)
    head.loss = settings.loss or _default_loss(sigmoid)
    return {"kind": "values", "as": "multilabel"} if sigmoid else {"kind": "values"}


def _configure_values(head: Any, settings: HeadSettings, column: ColumnSpec) -> dict[str, Any]:
    shape = tuple(int(size) for size in column.shape) or (1,)
    expected, given = _named(head, column)
    if column.dtype == "str" or len(shape) != 1:
        raise ConfigError(
            f"Argument {expected} numbers or vectors for this head. "
            f"Received: {given} of dtype {column.dtype} and shape {column.shape}. "
            "Choose other labels, or use `ClassificationHead`."
        )
    if settings.output_dim is not None and settings.output_dim != shape[-1]:
        raise ConfigError(
            "Argument `output_dim` should be the length of the label. "
            f"Received: output_dim={settings.output_dim}, and {given} of length {shape[-1]}. "
            "Leave it out to take the length from the data."
        )
    head.shape = shape
    head._add_one_dimension = not column.shape
    head.loss = settings.loss
    return {"kind": "values"}


def _named(head: Any, column: ColumnSpec) -> tuple[str, str]:
    """What should hold a head's labels, and what to call them: arrays become columns that are named as their heads."""
    if column.name.removeprefix(".") == head.name:
        return "`y` should hold", f"`y` of the head {head.name!r}"
    return "`label_columns` should name a column of", f"column {column.name!r}"


def _check_classes(asked: int | None, found: int, given: str) -> None:
    if asked is not None and asked != found:
        raise ConfigError(
            f"Argument `num_classes` should be {found}, the number of classes in {given}. "
            f"Received: num_classes={asked!r}. Leave it out to take it from the data."
        )


def _set_flags(head: Any, *, labels: list[str] | None, add_dimension: bool, sigmoid: bool = False) -> None:
    head._labels = labels
    head._encoded = labels is None
    head._encoded_for_sigmoid = labels is None and sigmoid
    head._encoded_for_softmax = labels is None and not sigmoid
    head._add_one_dimension = add_dimension


def _default_loss(sigmoid: bool) -> Any:
    return keras.losses.BinaryCrossentropy() if sigmoid else keras.losses.CategoricalCrossentropy()


def _is_inferred(head: Any) -> bool:
    inferred = head.infer_loss()
    return type(head.loss) is type(inferred) and head.loss.get_config() == inferred.get_config()


def _is_binary(loss: Any) -> bool:
    return isinstance(loss, keras.losses.BinaryCrossentropy)


def _usable_loss(loss: Any) -> Any:
    """The user's loss in the form that AutoKeras' heads recognise."""
    # For the name or the function, heads would put a softmax where this loss needs a sigmoid.
    if loss is keras.losses.binary_crossentropy or (isinstance(loss, str) and loss in _BINARY):
        return keras.losses.BinaryCrossentropy()
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    if name in (_SPARSE, "SparseCategoricalCrossentropy"):
        raise ConfigError(
            "Argument `loss` of a head should suit one-hot targets, which is what labels are encoded to. "
            f"Received: loss={name!r}. Use 'categorical_crossentropy'."
        )
    return loss
