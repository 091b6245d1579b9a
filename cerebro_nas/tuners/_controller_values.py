"""The values of a hyperparameter as the numbered outcomes of a decision."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any

import keras_tuner

from cerebro_nas.tuners._controller import SKIPPED

_Float = keras_tuner.engine.hyperparameters.Float
_NUMBERS = (keras_tuner.engine.hyperparameters.Int, _Float)


class Outcomes:
    """Numbers the values of a hyperparameter.

    Each value is an outcome of its own, unless it is a number of which there are more than `bins`. Then an outcome is
    a part of the range, as wide as the others on the scale on which it is sampled (the logarithmic one, say) or, with a
    `step`, with as many values as the others, give or take one.

    Args:
        hp: the hyperparameter.
        bins: outcomes at most of a range of numbers; any number of a choice.
    """

    def __init__(self, hp: Any, bins: int) -> None:
        self._hp = hp
        self._number = isinstance(hp, _NUMBERS)
        self._count = _count(hp, bins) if self._number else None
        self._lists = not self._number or (self._count is not None and self._count <= bins)
        # The first value of each outcome and where it is: its place among the values, or its share of the scale.
        self._values: list[Any] = []
        self._starts: list[Any] = []
        for value, start in self._listed() if self._lists else self._edges(bins):
            # Several parts may begin with the same integer: they are one.
            if value not in self._values:
                self._values.append(value)
                self._starts.append(start)

    @property
    def size(self) -> int:
        """Number of outcomes."""
        return len(self._values)

    def draw(self, number: int, u: float) -> Any:
        """A value of an outcome, by a random number in [0, 1)."""
        if self._lists:
            return self._values[number]
        start, last = self._starts[number], number + 1 == self.size
        if self._count is not None:
            end = self._count if last else self._starts[number + 1]
            return self._at(start + int(u * (end - start)))
        end = 1.0 if last else self._starts[number + 1]
        # Rounding must not carry a value over the edge.
        highest = self._hp.max_value if last else self._below(self._values[number + 1])
        return max(self._values[number], min(self._hp.prob_to_value(start + u * (end - start)), highest))

    def number_of(self, value: Any) -> int:
        """The outcome that a value belongs to, of a number out of range the nearest; `SKIPPED` if none."""
        values = self._values
        if not self._number:
            return values.index(value) if value in values else SKIPPED
        if self._lists:
            return min(range(len(values)), key=lambda number: abs(values[number] - value))
        if values[-1] < values[0]:
            # With steps on the reversed logarithmic scale KerasTuner counts down.
            return max(0, bisect_right([-start for start in values], -value) - 1)
        return max(0, bisect_right(values, value) - 1)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _listed(self) -> list[tuple[Any, Any]]:
        values = self._hp.values if self._count is None else map(self._at, range(self._count))
        return [(value, None) for value in values]

    def _edges(self, bins: int) -> list[tuple[Any, Any]]:
        if self._count is not None:
            return [(self._at(place), place) for place in (number * self._count // bins for number in range(bins))]
        # KerasTuner's own rounding may leave the range.
        shares = [number / bins for number in range(bins)]
        return [(max(self._hp.min_value, self._hp.prob_to_value(share)), share) for share in shares]

    def _at(self, place: int) -> Any:
        hp, count = self._hp, self._count or 1
        return hp.min_value + place if hp.step is None else hp.prob_to_value((place + 0.5) / count)

    def _below(self, value: Any) -> Any:
        return math.nextafter(value, -math.inf) if isinstance(self._hp, _Float) else value - 1


def _count(hp: Any, bins: int) -> int | None:
    """How many values a range of numbers has; None: too many to count, and evenly spread over no places."""
    if hp.min_value == hp.max_value:
        return 1
    if hp.step is None:
        few = not isinstance(hp, _Float) and hp.max_value - hp.min_value < bins
        return hp.max_value - hp.min_value + 1 if few else None
    if hp.sampling == "linear":
        return int((hp.max_value - hp.min_value) // hp.step + 1)
    return sum(1 for _ in hp.values)
