"""A model that takes the user's own values: the preprocessing of its columns as layers of Keras, before the model."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from cerebro_nas.worker import ColumnSpec

Groups = Sequence[tuple["ColumnSpec", ...]]

# What Keras calls the operations below; names must be unique in a model.
_OPERATIONS = re.compile(r"(cast|mod|subtract)(_\d+)?")
_TEXT_KINDS = ("categories", "tokens")


@dataclass(frozen=True)
class RawInput:
    """An input of an exported model.

    Attributes:
        name: the column's, or for an input that takes a tensor the model's own name of it.
        dtype: `"string"` or NumPy's name of the type.
        shape: of one row.
        columns: the columns in it, in order; none for a model whose columns are unknown.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    columns: tuple[ColumnSpec, ...] = ()


@dataclass(frozen=True)
class Feed:
    """What feeds one input of the model inside: `sources` are positions among the raw inputs, one per column."""

    sources: tuple[int, ...]
    columns: tuple[ColumnSpec, ...]

    @property
    def encoded(self) -> bool:
        """Whether its columns are encoded by layers; else one raw input is the tensor."""
        return is_encoded(self.columns)


def is_encoded(group: tuple[ColumnSpec, ...]) -> bool:
    """Whether columns hold text or categories, which models take as strings when they are exported."""
    return any(_kind(column) in _TEXT_KINDS for column in group)


def raw_inputs(model: keras.Model, groups: Groups) -> tuple[list[RawInput], list[Feed]]:
    """Say what an exported model takes.

    Args:
        model: the model as it was trained.
        groups: the columns of each of its inputs; nothing if they are unknown.
    """
    names = _Names({model.name, *output_names(model)})
    found: list[RawInput] = []
    known: dict[tuple[str, bool], int] = {}
    feeds = []
    for tensor, group in zip(model.inputs, groups or [()] * len(model.inputs), strict=True):
        if not is_encoded(group):
            feeds.append(Feed((len(found),), group))
            found.append(RawInput(names.of(tensor.name), str(tensor.dtype), tuple(tensor.shape[1:]), group))
            continue
        for column in group:
            # A column that feeds two inputs is asked for once.
            key = (column.name, _kind(column) in _TEXT_KINDS)
            if key not in known:
                known[key] = len(found)
                found.append(_of_column(column, names.of(column.name)))
        places = tuple(known[column.name, _kind(column) in _TEXT_KINDS] for column in group)
        feeds.append(Feed(places, group))
    return found, feeds


def with_preprocessing(model: keras.Model, groups: Groups) -> keras.Model:
    """Put the preprocessing of columns before a model; a model of numbers alone is returned as it is.

    Args:
        model: a functional model, compiled or not; the new one shares its layers and its optimizer.
        groups: the columns of each of its inputs.
    """
    if not any(map(is_encoded, groups)):
        return model
    import keras

    wanted, feeds = raw_inputs(model, groups)
    tensors = [keras.Input(item.shape, dtype=item.dtype, name=item.name) for item in wanted]
    names = _Names({item.name for item in wanted} | {model.name, *output_names(model)})
    given = [
        _fed(feed, [tensors[source] for source in feed.sources], inside.dtype, names)
        for feed, inside in zip(feeds, model.inputs, strict=True)
    ]
    # Compiled once, outside: what is inside would be saved with its compilation too.
    inner = keras.Model(model.inputs, model.outputs, name=model.name)
    found = keras.tree.flatten(inner(given))
    # They keep the names that losses, metrics and whoever reads the outputs know them by.
    outputs = [
        keras.layers.Identity(name=name, dtype=output.dtype)(output)
        for name, output in zip(output_names(model), found, strict=True)
    ]
    # A list, also of one: then Keras takes an array, a list and a dict by name.
    outer = keras.Model(tensors, single(outputs), name=names.of(f"{model.name}_with_preprocessing"))
    if model.compiled:
        settings = keras.saving.deserialize_keras_object(model.get_compile_config())
        outer.compile(**{**settings, "optimizer": model.optimizer})
    return outer


def output_names(model: keras.Model) -> list[str]:
    """Names of a model's outputs; a sequential one has none for its output but its own."""
    return list(getattr(model, "output_names", None) or [model.name])


def single(items: list[Any]) -> Any:
    """The only one of a list, as Keras takes it, or the list."""
    return items[0] if len(items) == 1 else items


def stack(columns: Sequence[NDArray[Any]], feed: Feed) -> NDArray[Any]:
    """The tensor of an input from the encoded arrays of its columns."""
    if len(columns) == 1 and feed.columns[0].shape:
        return columns[0]
    return np.concatenate([column.reshape(len(column), -1).astype(np.float32) for column in columns], axis=-1)


def _kind(column: ColumnSpec) -> str:
    return str((column.encoder or {}).get("kind", ""))


def _of_column(column: ColumnSpec, name: str) -> RawInput:
    if _kind(column) in _TEXT_KINDS:
        return RawInput(name, "string", (1,), (column,))
    return RawInput(name, "float32", column.shape or (1,), (column,))


class _Names:
    """Names of layers: each is given once, without the slashes that Keras refuses."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = set(taken)

    def of(self, name: str) -> str:
        candidates = _numbered(name.replace("/", "_") or "input")
        found = next(one for one in candidates if one not in self._taken and not _OPERATIONS.fullmatch(one))
        self._taken.add(found)
        return found


def _layer_name(column: str, what: str) -> str:
    # TensorFlow is more particular with the names of layers than with those of inputs.
    return f"{re.sub(r'[^0-9A-Za-z]', '_', column).strip('_') or 'column'}_{what}"


def _numbered(name: str) -> Iterator[str]:
    return itertools.chain([name], (f"{name}_column_{number}" for number in itertools.count(1)))


def _fed(feed: Feed, tensors: list[Any], dtype: str, names: _Names) -> Any:
    import keras

    if not feed.encoded:
        return tensors[0]
    parts = [_encoded(column, tensor, names) for column, tensor in zip(feed.columns, tensors, strict=True)]
    if len(parts) == 1:
        return keras.ops.cast(parts[0], dtype)
    parts = [
        keras.layers.Reshape((math.prod(column.shape),), name=names.of(_layer_name(column.name, "flat")))(part)
        if len(column.shape) > 1
        else part
        for column, part in zip(feed.columns, parts, strict=True)
    ]
    parts = [keras.ops.cast(part, dtype) for part in parts]
    return keras.layers.Concatenate(name=names.of("columns"), dtype=dtype)(parts)


def _encoded(column: ColumnSpec, tensor: Any, names: _Names) -> Any:
    import keras

    encoder = column.encoder or {}
    if encoder.get("kind") == "tokens":
        return keras.layers.TextVectorization(
            vocabulary=encoder["vocabulary"],
            output_sequence_length=encoder["length"],
            name=names.of(_layer_name(column.name, "words")),
        )(tensor)
    if encoder.get("kind") == "categories":
        return _positions(encoder["values"], column.name, tensor, names)
    return tensor


def _positions(values: list[str], column: str, tensor: Any, names: _Names) -> Any:
    import keras

    lookup = keras.layers.StringLookup(
        # Keras takes no empty table; without values every number below is 0.
        vocabulary=values or ["-"],
        oov_token=next(name for name in _numbered("[UNK]") if name not in values),
        name=names.of(_layer_name(column, "category")),
    )
    # Keras puts what is unknown first and the values after it; here it comes last.
    return keras.ops.mod(keras.ops.subtract(lookup(tensor), 1), len(values) + 1)
