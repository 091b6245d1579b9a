"""Beginning with another candidate's weights, where layers match."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import keras
from numpy.typing import NDArray

from cerebro_nas.worker._state import finalize
from cerebro_nas.worker._state import read_state
from cerebro_nas.worker._state import state_variables
from cerebro_nas.worker._state import write_variable

_OPTIMIZER_BEGINS = "iteration"
_OWN = "learning_rate"

_Kind = tuple[str, tuple[int, ...], str]


def inherit_state(model: keras.Model, data: bytes) -> float:
    """Take over what fits of another candidate's state.

    Variables match in the order in which the models have them, by name, shape and type: the longest runs that both
    have, so that what a mutation put in between, or took out, leaves the layers before and behind it as they were.
    Where everything matches, the optimizer's state is taken too, its learning rate apart: that is the candidate's own.

    Args:
        model: compiled, with its optimizer built.
        data: what `dump_state` gave of the other one.

    Returns:
        The share of the model's numbers that were taken, from 0 to 1.

    Raises:
        CorruptStateError: the bytes are damaged. Nothing was changed.
    """
    arrays, _ = read_state(data)
    theirs = [(name.split("/", 1)[1], array) for name, array in sorted(arrays.items())]
    ours = [(variable.name, variable) for variable in state_variables(model)]
    kinds = [_kind(name, item) for name, item in theirs], [_kind(name, item) for name, item in ours]
    if kinds[0] == kinds[1]:
        pairs = [(a, b) for a, (name, b) in zip(theirs, ours, strict=True) if name != _OWN]
        for (_, array), variable in pairs:
            write_variable(variable, array)
        finalize(model)
        return 1.0
    theirs, ours = theirs[: _weights(kinds[0])], ours[: _weights(kinds[1])]
    taken = _take(theirs, ours)
    finalize(model)
    return taken / max(1, sum(_size(variable) for _, variable in ours))


def _take(theirs: Sequence[tuple[str, NDArray[Any]]], ours: Sequence[tuple[str, Any]]) -> int:
    """Copy the runs that match; return how many numbers that were."""
    matcher = SequenceMatcher(None, [_kind(*item) for item in theirs], [_kind(*item) for item in ours], autojunk=False)
    taken = 0
    for block in matcher.get_matching_blocks():
        for offset in range(block.size):
            variable = ours[block.b + offset][1]
            write_variable(variable, theirs[block.a + offset][1])
            taken += _size(variable)
    return taken


def _kind(name: str, item: Any) -> _Kind:
    # The last word of it: names of the optimizer's variables hold those of the layers, with counters.
    return name.rsplit("_", 1)[-1], tuple(item.shape), str(item.dtype)


def _weights(kinds: Sequence[_Kind]) -> int:
    """How many of the variables are the model's; the optimizer's come after them."""
    return next((number for number, kind in enumerate(kinds) if kind[0] == _OPTIMIZER_BEGINS), len(kinds))


def _size(variable: Any) -> int:
    size = 1
    for length in variable.shape:
        size *= int(length)
    return size
