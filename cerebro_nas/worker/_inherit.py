"""Beginning with another candidate's weights, where layers match."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from itertools import pairwise
from typing import Any

import keras
from numpy.typing import NDArray

from cerebro_nas.worker._align import NORMALISATION
from cerebro_nas.worker._behaviour import is_affine
from cerebro_nas.worker._kin import Kin
from cerebro_nas.worker._outline import Outline
from cerebro_nas.worker._outline import Part
from cerebro_nas.worker._outline import kind_of
from cerebro_nas.worker._outline import outline
from cerebro_nas.worker._outline import parse_outline
from cerebro_nas.worker._state import finalize
from cerebro_nas.worker._state import read_outline
from cerebro_nas.worker._state import read_state
from cerebro_nas.worker._state import state_variables
from cerebro_nas.worker._state import write_variable
from cerebro_nas.worker._widen import Spread
from cerebro_nas.worker._widen import draw_spread
from cerebro_nas.worker._widen import make_identity
from cerebro_nas.worker._widen import widen_affine
from cerebro_nas.worker._widen import widen_normalisation

_OWN = "rate"


def inherit_state(model: keras.Model, data: bytes) -> float:
    """Take over what fits of another candidate's state, so that the model computes what that one did, where it can.

    Layers match in the order in which the models have them, by class, settings and shapes of their variables; those
    at the beginning and at the end first. A layer is taken whole or not at all, and a batch normalisation only behind
    the layer that it normalised. Where everything matches, the optimizer's state is taken too, its learning rate
    apart: that is the candidate's own.

    Two kinds of layers that do not match begin so that the function remains (Net2Net): a dense layer or convolution
    with more units or channels gets replicas of those that there were, if along a chain the next one takes them in,
    and one that is new between two that were connected before begins as the identity, if it can be. What is drawn
    for it follows from the model's initial weights.

    Args:
        model: compiled, with its optimizer built, in its initial state.
        data: what `dump_state` gave of the other one.

    Returns:
        The share of the model's numbers that came from the other one, from 0 to 1. Those of a layer with replicas did;
        those of a layer that began as the identity did not.

    Raises:
        CorruptStateError: the bytes are damaged. Nothing was changed.
    """
    # Nothing short of everything can be taken if the state does not tell its layers, or either model is no graph.
    arrays = [(name.split("/", 1)[1], array) for name, array in sorted(read_state(data)[0].items())]
    variables = state_variables(model)
    kinds = [kind_of(name, array) for name, array in arrays]
    theirs, ours = parse_outline(read_outline(data), kinds), outline(model)
    if kinds == [kind_of(variable.name, variable) for variable in variables] and _same_classes(theirs, ours):
        for kind, (_, array), variable in zip(kinds, arrays, variables, strict=True):
            if kind[0] != _OWN:
                write_variable(variable, array)
        finalize(model)
        return 1.0
    weights = variables[: len(variables) - len(model.optimizer.variables)]
    if not theirs or ours is None or sum(len(part.variables) for part in ours.parts) != len(weights):
        return 0.0
    heir = _Heir(theirs, ours, weights, [array for _, array in arrays])
    heir.take()
    finalize(model)
    return heir.taken / max(1, sum(map(_size, weights)))


def _same_classes(theirs: Sequence[Part], ours: Outline | None) -> bool:
    """Whether variables that are alike belong to layers that are: false only if both are known."""
    return not theirs or ours is None or _learners(theirs) == _learners(ours.parts)


def _learners(parts: Sequence[Part]) -> list[str]:
    return [part.kind for part in parts if part.learns]


class _Heir:
    """Sets the variables of a child, part by part."""

    def __init__(
        self, theirs: Sequence[Part], ours: Outline, weights: Sequence[Any], arrays: Sequence[NDArray[Any]]
    ) -> None:
        self._theirs, self._ours = theirs, ours
        self._weights, self._arrays = _split(ours.parts, weights), _split(theirs, arrays)
        self._kin = Kin(theirs, ours)
        self._settled: set[int] = set()
        self._entering: dict[int, Spread] = {}
        self.taken = 0

    def take(self) -> None:
        """Set them."""
        for number in range(len(self._ours.parts)):
            if number in self._kin.match:
                if self._take(number):
                    self._settled.add(number)
                    self.taken += sum(map(_size, self._weights[number]))
            elif number in self._kin.identities and self._kin.fed_by(number) <= self._settled:
                if self._ours.parts[number].learns:
                    make_identity(self._ours.layers[number])

    def _take(self, number: int) -> bool:
        """Take a layer, if all of it can be."""
        part, arrays = self._ours.parts[number], self._arrays[self._kin.match[number]]
        if part.kind == NORMALISATION and not (
            self._kin.follows_the_same(number) and self._kin.fed_by(number) <= self._settled
        ):
            return False
        if part.variables == self._theirs[self._kin.match[number]].variables:
            for variable, array in zip(self._weights[number], arrays, strict=True):
                write_variable(variable, array)
            return True
        if part.kind == NORMALISATION:
            return self._widen_normalisation(number, arrays)
        return is_affine(self._ours.layers[number]) and self._widen(number, arrays)

    def _widen_normalisation(self, number: int, arrays: Sequence[NDArray[Any]]) -> bool:
        if number not in self._entering:
            return False
        widen_normalisation(self._weights[number], arrays, self._entering[number])
        return True

    def _widen(self, number: int, arrays: Sequence[NDArray[Any]]) -> bool:
        variables, entering, leaving = self._weights[number], self._entering.get(number), None
        if entering is None and variables[0].shape[-2] != arrays[0].shape[-2]:
            return False
        if self._kin.wider(number):
            if number not in self._kin.routes:
                return False
            leaving = draw_spread(arrays[0].shape[-1], variables[0])
            self._entering.update(dict.fromkeys(self._kin.routes[number], leaving))
        widen_affine(variables, arrays, entering, leaving)
        return True


def _split(parts: Sequence[Part], items: Sequence[Any]) -> list[Sequence[Any]]:
    """The items of each part."""
    ends = accumulate((len(part.variables) for part in parts), initial=0)
    return [items[begin:end] for begin, end in pairwise(ends)]


def _size(variable: Any) -> int:
    size = 1
    for length in variable.shape:
        size *= int(length)
    return size
