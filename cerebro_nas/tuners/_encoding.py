"""Configurations of a mixed, conditional space as rows of numbers, thousands at a time.

A configuration is a row of *units*, one for each hyperparameter, in [0, 1]: what KerasTuner calls the probability of a
value, so that logarithmic ranges and steps are respected. A hyperparameter that is not active is NaN. Models read
*features* instead: a number or an ordered choice is one column, an unordered choice is one column per value.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import keras_tuner
import numpy as np
from numpy.typing import NDArray

from cerebro_nas.tuners._branches import Branch
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._tree import is_active

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_Fixed = keras_tuner.engine.hyperparameters.Fixed
_Choice = keras_tuner.engine.hyperparameters.Choice
_Boolean = keras_tuner.engine.hyperparameters.Boolean
_Int = keras_tuner.engine.hyperparameters.Int
_NUMBERS = (keras_tuner.engine.hyperparameters.Int, keras_tuner.engine.hyperparameters.Float)

# Ranges with more values than this are as good as continuous.
_MANY = 1000
# KerasTuner takes units below 1: at 1 an integer with a logarithmic range comes out above its maximum.
_ONE = float(np.nextafter(1.0, 0.0))
# Two values of an unordered choice are as far from each other as the ends of a range.
_ONE_HOT = float(np.sqrt(0.5))


class Dimension:
    """One hyperparameter.

    Attributes:
        hp: KerasTuner's.
        grid: units of its values, ascending; None: it is continuous, or has very many.
        unordered: whether no value is nearer to another than to a third.
    """

    def __init__(self, hp: Any) -> None:
        self.hp = hp
        self.unordered = isinstance(hp, _Boolean) or (isinstance(hp, _Choice) and not hp.ordered)
        self._values: list[Any] = _values(hp)
        self.grid: Floats | None = None
        if self._values:
            units = np.array([_clip(hp.value_to_prob(value)) for value in self._values], float)
            if isinstance(hp, _NUMBERS) and hp.step is not None:
                # KerasTuner's own inverse takes 0.3 in steps of 0.1 for the value below.
                units = (np.arange(len(units)) + 0.5) / len(units)
            order = np.argsort(units, kind="stable")
            self.grid = units[order]
            self._values = [self._values[index] for index in order]
        self._places = {value: place for place, value in enumerate(self._values)}

    @property
    def size(self) -> int:
        """How many values it has; 0: it is continuous, or has very many."""
        return len(self._values)

    @property
    def width(self) -> int:
        """How many features it has: none if it has only one value."""
        if self.size == 1:
            return 0
        return self.size if self.unordered else 1

    def unit(self, value: Any) -> float:
        """The unit of a value; of the nearest one for a number out of the range; NaN for an unknown choice."""
        if self.grid is None:
            return _clip(self.hp.value_to_prob(min(max(value, self.hp.min_value), self.hp.max_value)))
        place = self._places.get(value)
        if place is None and isinstance(self.hp, _NUMBERS):
            place = int(np.argmin(np.abs(np.array(self._values, float) - value)))
        return float("nan") if place is None else float(self.grid[place])

    def value(self, unit: float) -> Any:
        """The value at a unit, or at the nearest that has one."""
        if self.grid is None:
            return self.hp.prob_to_value(_clip(unit))
        return self._values[int(self.places(np.array([unit]))[0])]

    def places(self, units: Floats) -> NDArray[np.intp]:
        """Numbers of the values nearest to the units, of a dimension that has a grid."""
        grid = np.empty(0) if self.grid is None else self.grid
        return np.searchsorted((grid[1:] + grid[:-1]) / 2, units, side="right")

    def snap(self, units: Floats) -> Floats:
        """Units that values have, nearest to these."""
        return np.clip(units, 0.0, _ONE) if self.grid is None else self.grid[self.places(units)]

    def holds(self, condition: Any, units: Floats) -> Bools:
        """Where a condition on this hyperparameter is met."""
        name = self.hp.name
        if self.grid is None:
            return np.array([bool(condition.is_active({name: self.value(unit)})) for unit in units], bool)
        table = np.array([bool(condition.is_active({name: value})) for value in self._values], bool)
        return table[self.places(units)]


class Encoding:
    """The rows of a space.

    Args:
        space: hyperparameters, parents before those that depend on them. Where a name has several entries with
            different conditions, each is a dimension; the first active one decides.
    """

    def __init__(self, space: Iterable[Any]) -> None:
        self.dimensions = [Dimension(hp) for hp in space]
        self.free = np.array([place for place, item in enumerate(self.dimensions) if item.size != 1], np.intp)
        self._homes: dict[str, list[int]] = {}
        for place, item in enumerate(self.dimensions):
            self._homes.setdefault(item.hp.name, []).append(place)
        columns = [group for group, place in enumerate(self.free) for _ in range(self.dimensions[place].width)]
        self.groups: NDArray[np.intp] = np.array(columns, np.intp)

    def row(self, values: Mapping[str, Any]) -> Floats:
        """The row of a configuration.

        A hyperparameter that is active and has no value, as it came into the space later, had its default.
        """
        units = np.full(len(self.dimensions), np.nan)
        seen: set[str] = set()
        for place, item in enumerate(self.dimensions):
            hp = item.hp
            if hp.name not in seen and is_active(hp, values):
                seen.add(hp.name)
                units[place] = item.unit(values.get(hp.name, hp.default))
        return units

    def values(self, row: Floats) -> Values:
        """The configuration of a row."""
        return {
            item.hp.name: item.value(unit)
            for item, unit in zip(self.dimensions, row.tolist(), strict=True)
            if not np.isnan(unit)
        }

    def settle(self, units: Floats) -> Floats:
        """Rows of configurations: units of values, and NaN where the conditions do not hold.

        Args:
            units: of shape (rows, dimensions), with a number for every dimension, active or not.
        """
        settled = np.empty_like(units)
        active = np.zeros(units.shape, bool)
        for place, item in enumerate(self.dimensions):
            settled[:, place] = item.snap(units[:, place])
            here = np.ones(len(units), bool)
            for condition in item.hp.conditions:
                here &= self._met(condition, settled, active)
            for earlier in self._homes[item.hp.name]:
                if earlier < place:
                    here &= ~active[:, earlier]
            active[:, place] = here
        settled[~active] = np.nan
        return settled

    def fix(self, units: Floats, branch: Branch) -> None:
        """Have these units, before they are settled, be in a branch."""
        for name, value in (*branch.under, (branch.name, branch.value)):
            for place in self._homes.get(name, ()):
                units[:, place] = self.dimensions[place].unit(value)

    def within(self, rows: Floats, branch: Branch) -> Bools:
        """Which rows are in a branch."""
        found = np.zeros(len(rows), bool)
        for place in self._homes.get(branch.name, ()):
            # What is not active is NaN, and equals nothing.
            found |= rows[:, place] == self.dimensions[place].unit(branch.value)
        return found

    def features(self, rows: Floats, inactive: float | None = None) -> Floats:
        """What models read.

        Args:
            rows: of shape (rows, dimensions).
            inactive: what stands for a hyperparameter that is not active; None: the middle of its values, which is
                equally far from all of a choice, and nearer to each number than the ends are to each other.

        Returns:
            Of shape (rows, features); feature `i` is of the free dimension `groups[i]`.
        """
        blocks = [self._block(self.dimensions[place], rows[:, place], inactive) for place in self.free]
        return np.concatenate(blocks, axis=1) if blocks else np.empty((len(rows), 0))

    def _block(self, item: Dimension, units: Floats, inactive: float | None) -> Floats:
        absent = np.isnan(units)
        if not item.unordered:
            block = units[:, None].copy()
            block[absent] = 0.5 if inactive is None else inactive
            return block
        block = np.zeros((len(units), item.size))
        present = np.flatnonzero(~absent)
        block[present, item.places(units[present])] = _ONE_HOT
        block[absent] = _ONE_HOT / item.size if inactive is None else inactive
        return block

    def _met(self, condition: Any, settled: Floats, active: Bools) -> Bools:
        met = np.zeros(len(settled), bool)
        for place in self._homes.get(condition.name, ()):
            met |= active[:, place] & self.dimensions[place].holds(condition, settled[:, place])
        return met


def _values(hp: Any) -> list[Any]:
    """Every value of a hyperparameter; none if it is continuous, or has very many."""
    if not isinstance(hp, _NUMBERS):
        return list(dict.fromkeys((False, True) if isinstance(hp, _Boolean) else hp.values))
    if hp.min_value == hp.max_value:
        return [hp.min_value]
    if hp.step is not None:
        few = hp.sampling != "linear" or (hp.max_value - hp.min_value) / hp.step < _MANY
        return (
            [hp.prob_to_value((place + 0.5) / count) for count in [_count(hp)] for place in range(count)] if few else []
        )
    few = isinstance(hp, _Int) and hp.max_value - hp.min_value < _MANY
    return list(range(hp.min_value, hp.max_value + 1)) if few else []


def _count(hp: Any) -> int:
    return len(list(hp.values))


def _clip(unit: float) -> float:
    return min(max(float(unit), 0.0), _ONE)
