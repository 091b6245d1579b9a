"""Macro search as Katib has it: an operation for each layer, and skip connections; the score adds up, with noise."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import keras_tuner
import numpy as np
from numpy.typing import NDArray

from benchmarks.search._problem import Problem
from benchmarks.search._problem import Values

_FILTER_SIZES, _FILTERS, _STRIDES, _DEPTHS = (3, 5, 7), (32, 48, 64, 96, 128), (1, 2), (1, 2)
_KINDS: dict[str, Sequence[Sequence[object]]] = {
    "convolution": (_FILTER_SIZES, _FILTERS, _STRIDES),
    "separable_convolution": (_FILTER_SIZES, _FILTERS, _STRIDES, _DEPTHS),
    "depthwise_convolution": (_FILTER_SIZES, _STRIDES, _DEPTHS),
    "reduction": (("max_pooling", "avg_pooling"), (2, 3)),
}
_OPERATION_SHARE = 0.7


def operations() -> list[tuple[object, ...]]:
    """Katib's 106 operations: the products of each kind's parameters, the last one varying fastest."""
    return [(kind, *point) for kind, axes in _KINDS.items() for point in itertools.product(*axes)]


@dataclass(frozen=True)
class Macro:
    """Layers with one operation each, and a possible skip connection between any two that are not neighbours.

    Attributes:
        layers: number of layers.
        operations: number of operations; 106 are Katib's, whose scores have their parameters in common in part.
        seed: of the scores.
    """

    layers: int
    operations: int
    seed: int = 5

    def space(self) -> keras_tuner.HyperParameters:
        """One choice for each layer, one Boolean for each skip connection."""
        hp = keras_tuner.HyperParameters()
        for layer in range(self.layers):
            hp.Choice(f"layer_{layer}/operation", list(range(self.operations)), ordered=False)
            for earlier in range(layer):
                hp.Boolean(f"layer_{layer}/skip_{earlier}")
        return hp

    def loss(self, values: Values, units: int = 1) -> float:
        """One minus the score, which is between 0 and 1."""
        scores, skips = _tables(self)
        chosen = [scores[layer, values[f"layer_{layer}/operation"]] for layer in range(self.layers)]
        right = [values[f"layer_{layer}/skip_{earlier}"] == wanted for (layer, earlier), wanted in skips.items()]
        return float(1.0 - _OPERATION_SHARE * np.mean(chosen) - (1.0 - _OPERATION_SHARE) * np.mean(right))


@functools.cache
def _tables(macro: Macro) -> tuple[NDArray[np.float64], dict[tuple[int, int], bool]]:
    """Score of each operation in each layer, from 0 to 1, and the skip connections that are right."""
    rng = np.random.default_rng([macro.seed, macro.layers, macro.operations])
    rows = [_operation_scores(macro.operations, rng) for _ in range(macro.layers)]
    scores = np.stack([(row - row.min()) / (row.max() - row.min()) for row in rows])
    pairs = [(layer, earlier) for layer in range(macro.layers) for earlier in range(layer)]
    return scores, {pair: bool(rng.integers(2)) for pair in pairs}


def _operation_scores(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    own = rng.uniform(size=count)
    known = operations()
    if count != len(known):
        return own
    parts = {part: rng.uniform() for part in sorted({_part(*item) for op in known for item in enumerate(op)})}
    shared = np.array([np.mean([parts[_part(*item)] for item in enumerate(op)]) for op in known])
    return np.asarray(0.4 * own + shared, dtype=np.float64)


def _part(place: int, value: object) -> str:
    return f"{place} {value}"


SMALL, LARGE = Macro(6, 6), Macro(6, len(operations()))

PROBLEMS = (
    Problem("macro-6", SMALL.space, SMALL.loss, 0.0, evaluations=200, noise=0.03),
    Problem("macro-106", LARGE.space, LARGE.loss, 0.0, evaluations=200, noise=0.03),
)
