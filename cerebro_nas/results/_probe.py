"""Rows to try a model on: raw values, known and unknown ones, and the tensors that they are in training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.errors import StoreError
from cerebro_nas.results._raw import Groups
from cerebro_nas.results._raw import RawInput
from cerebro_nas.results._raw import raw_inputs
from cerebro_nas.results._raw import single
from cerebro_nas.results._raw import stack
from cerebro_nas.worker import encode_column

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

_ROWS = 16
_MARKS = ("", ",", "!", " --", "'s", "\n")


@dataclass(frozen=True)
class Probe:
    """Rows to try a model on.

    Attributes:
        inputs: what the exported model takes.
        raw: an array for each of them; strings as objects, shape (n,).
        encoded: an array for each input of the model as it was trained.
    """

    inputs: tuple[RawInput, ...]
    raw: tuple[NDArray[Any], ...]
    encoded: tuple[NDArray[Any], ...]


def make_probe(model: keras.Model, groups: Groups) -> Probe:
    """Make rows for a model.

    Args:
        model: as it was trained.
        groups: the columns of each of its inputs; nothing if they are unknown.
    """
    generator = np.random.default_rng(0)
    wanted, feeds = raw_inputs(model, groups)
    raw = tuple(_values(item, generator) for item in wanted)
    encoded = []
    for feed, inside in zip(feeds, model.inputs, strict=True):
        arrays = [raw[source] for source in feed.sources]
        if feed.encoded:
            columns = [
                encode_column(array, column) if column.encoder else array
                for array, column in zip(arrays, feed.columns, strict=True)
            ]
            arrays = [stack(columns, feed).astype(inside.dtype)]
        encoded.append(arrays[0])
    return Probe(tuple(wanted), raw, tuple(encoded))


def outputs_of(model: keras.Model, rows: tuple[NDArray[Any], ...]) -> list[NDArray[Any]]:
    """What a model predicts, one array for each output."""
    import keras

    # Called, not `predict`: that would fix the model to the rank of these arrays, and whoever gets it may use another.
    found = model(single([_tensor(row) for row in rows]), training=False)
    return [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(found)]


def _tensor(rows: NDArray[Any]) -> Any:
    import tensorflow as tf

    return tf.convert_to_tensor(rows[:, None] if rows.dtype == object else rows)


def check_same(expected: list[NDArray[Any]], found: list[Any], what: str, tolerance: float = 1e-5) -> None:
    """Refuse a model that predicts something else.

    Raises:
        StoreError: it does; the message begins with `what`.
    """
    same = len(expected) == len(found) and all(
        np.shape(one) == np.shape(other)
        and np.allclose(one, other, rtol=tolerance, atol=tolerance / 10, equal_nan=True)
        for one, other in zip(expected, found, strict=True)
    )
    if not same:
        raise StoreError(f"{what} predicts something else than the one saved, so it is not kept.")


def _values(item: RawInput, generator: np.random.Generator) -> NDArray[Any]:
    encoder = item.columns[0].encoder if len(item.columns) == 1 else None
    if encoder is not None and item.dtype == "string":
        texts = _categories(encoder["values"]) if encoder["kind"] == "categories" else _texts(encoder, generator)
        return np.array(texts, dtype=object)
    shape = (_ROWS, *(size or 1 for size in item.shape))
    if encoder is not None:
        return generator.integers(0, 256, shape).astype(item.dtype)
    if np.issubdtype(np.dtype(item.dtype) if item.dtype != "bfloat16" else np.float32, np.integer):
        # They may be positions in a table of any size.
        return generator.integers(0, 2, shape).astype(item.dtype)
    return generator.random(shape).astype(item.dtype)


def _categories(values: list[str]) -> list[str]:
    """The first value, the last one, others in between; then such as are unknown."""
    unknown = list(_unknown(values, "unknown "))
    count = _ROWS - len(unknown)
    spread = np.linspace(0, len(values) - 1, count if values else 0).round().astype(int).tolist()
    return [*(values[place] for place in spread), *unknown, *unknown * count][:_ROWS]


def _texts(encoder: dict[str, Any], generator: np.random.Generator) -> list[str]:
    vocabulary = encoder["vocabulary"]
    some = [vocabulary[place] for place in generator.integers(0, len(vocabulary), 4 * _ROWS)] if vocabulary else []
    words = [*some, *_unknown(vocabulary, "unknown")]
    texts = ["", "?!", next(_unknown(vocabulary, "unknown")), " ".join(words * (encoder["length"] // len(words) + 1))]
    while len(texts) < _ROWS:
        chosen = generator.choice(len(words), int(generator.integers(1, 12)))
        shown = [words[place].title() if place % 2 else words[place] for place in chosen]
        texts.append(
            " ".join(f"{word}{_MARKS[place % len(_MARKS)]}" for place, word in zip(chosen, shown, strict=True))
        )
    return texts


def _unknown(known: list[str], name: str) -> Iterator[str]:
    """Four texts that are not among those known."""
    taken = set(known)
    names = (f"{name}{'x' * length}" for length in range(len(taken) + 4))
    free = (one for one in names if one not in taken)
    return (next(free) for _ in range(4))
