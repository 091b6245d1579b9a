"""Vocabularies that a candidate need not know as a whole.

Data is encoded once, with the largest vocabulary that a candidate may ask for. A candidate whose embedding has fewer
rows takes the rarer words for unknown ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autokeras
import keras
import keras_tuner

# The number that stands for a word outside of the vocabulary; 0 stands for the end of the text.
_UNKNOWN = 1
_CHOICES = (500, 5000, 20000)
_DEFAULT = 5000


def set_num_tokens(node: Any, count: int) -> None:
    """Note how many different numbers an input gives: those of its words, of the end and of unknown words."""
    node.num_tokens = count


def with_token_limit(block: Any, build: Callable[..., Any]) -> Callable[..., Any]:
    """Have a block of AutoKeras that embeds the words of an input get no word beyond its table.

    Args:
        block: any block.
        build: its `build`.
    """
    if not isinstance(block, (autokeras.TextBlock, autokeras.Embedding)):
        return build

    def build_limited(hp: keras_tuner.HyperParameters, inputs: Any = None) -> Any:
        source = (block.inputs or [None])[0]
        count = getattr(source, "num_tokens", 0)
        if not isinstance(source, autokeras.TextInput) or not count:
            return build(hp, inputs)
        rows = _rows(block, hp)
        words = keras.tree.flatten(inputs)[0]
        if count > rows:
            words = keras.ops.where(keras.ops.less(words, rows), words, _UNKNOWN)
        return build(hp, [words])

    return build_limited


def _rows(block: Any, hp: keras_tuner.HyperParameters) -> int:
    """Rows of the table that the block will make."""
    if isinstance(block, autokeras.Embedding):
        return int(block.max_features)
    if block.max_tokens:
        return int(block.max_tokens) + 1
    # The block registers the very same entry when it is built.
    with hp.name_scope(block.name):
        return int(hp.Choice("max_tokens", list(_CHOICES), default=_DEFAULT)) + 1
