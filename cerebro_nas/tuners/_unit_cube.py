"""A space in numbers, for algorithms that know nothing of names, conditions and KerasTuner's kinds of ranges."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Literal

import keras_tuner

from cerebro_nas.tuners._branches import Branch
from cerebro_nas.tuners._enumerate import ordered_values
from cerebro_nas.tuners._seeded import Observation
from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._tree import is_active

Kind = Literal["category", "steps", "integers", "continuous"]
Codes = dict[str, float]

_BELOW_ONE = 1.0 - 1e-12
_TYPES = keras_tuner.engine.hyperparameters


@dataclass(frozen=True)
class Axis:
    """A hyperparameter, as far as numbers go.

    The code of a value is: of a category or one of evenly spaced values (`"steps"`) its index; of an integer on a
    logarithmic scale (`"integers"`) the integer itself, on a reversed one its mirror image; of a real number its
    place between 0 and 1 on the scale of the range.

    Attributes:
        key: its name; numbered where the space has several of one name.
        hp: KerasTuner's hyperparameter.
        kind: see above.
        size: number of values; 0 for real numbers.
        low: smallest code.
        high: largest code.
        choices: the values of a choice, in order.
    """

    key: str
    hp: Any
    kind: Kind
    size: int
    low: float
    high: float
    choices: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """The name of the hyperparameter."""
        return str(self.hp.name)

    def encode(self, value: Any) -> float:
        """The code of a value; the nearest one of a number between steps."""
        if self.choices:
            return self.choices.index(value if value in self.choices else self.hp.default)
        if self.kind == "continuous":
            return float(min(max(self.hp.value_to_prob(value), 0.0), 1.0))
        if self.kind == "integers":
            code = int(value) if self.hp.sampling == "log" else self.hp.max_value + self.hp.min_value - int(value)
        else:
            code = round(_steps_from_begin(self.hp, value))
        return min(max(code, self.low), self.high)

    def decode(self, code: float) -> Any:
        """The value of a code."""
        if self.choices:
            return self.choices[int(code)]
        if self.kind == "continuous":
            return self.hp.prob_to_value(min(max(float(code), 0.0), _BELOW_ONE))
        if self.kind == "integers":
            return int(code) if self.hp.sampling == "log" else self.hp.max_value + self.hp.min_value - int(code)
        return self.hp.prob_to_value((int(code) + 0.5) / self.size)

    def place(self, code: float) -> float:
        """Where between 0 and 1 a code is, on the scale of the range: the middle of its share."""
        if self.kind == "continuous":
            return code
        if self.kind == "integers":
            return float(self.hp.value_to_prob(self.decode(code)))
        return (code + 0.5) / self.size

    def at(self, place: float) -> float:
        """The code of the value at a place between 0 and 1."""
        place = min(max(float(place), 0.0), _BELOW_ONE)
        if self.kind == "continuous":
            return place
        if self.kind == "integers":
            return self.encode(self.hp.prob_to_value(place))
        return int(place * self.size)


@dataclass(frozen=True)
class Cube:
    """All hyperparameters of a space, parents first.

    Attributes:
        axes: one for each entry of the space.
    """

    axes: tuple[Axis, ...]

    @property
    def free(self) -> tuple[Axis, ...]:
        """The axes on which there is something to choose."""
        return tuple(axis for axis in self.axes if axis.size != 1)

    def walk(self, pick: Callable[[Axis], float]) -> Values:
        """The configuration with the picked codes; nothing is picked for what is not active."""
        values: Values = {}
        for axis in self.axes:
            if _active(axis, values):
                values[axis.name] = axis.decode(0 if axis.size == 1 else pick(axis))
        return values

    def part(self, codes: Mapping[str, float]) -> tuple[Values, list[Axis]]:
        """What these codes come to, and the axes that are active then and have no code."""
        values: Values = {}
        waiting: dict[str, Axis] = {}
        for axis in self.axes:
            if _active(axis, values):
                if axis.size == 1 or axis.key in codes:
                    values[axis.name] = axis.decode(codes.get(axis.key, 0))
                else:
                    waiting.setdefault(axis.name, axis)
        return values, list(waiting.values())

    def codes_within(self, branch: Branch) -> Codes:
        """The codes that all configurations in a branch have."""
        given = {**dict(branch.under), branch.name: branch.value}
        return {axis.key: axis.encode(given[axis.name]) for axis in self.free if axis.name in given}

    def codes(self, values: Values) -> Codes:
        """The codes of a configuration; what it leaves out was built with its default."""
        seen: Values = {}
        codes: Codes = {}
        for axis in self.axes:
            if _active(axis, seen):
                seen[axis.name] = values.get(axis.name, axis.hp.default)
                if axis.size != 1:
                    codes[axis.key] = axis.encode(seen[axis.name])
        return codes


class CubeOracle(SeededOracle):
    """An oracle that works on codes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Both follow from the space and the trials, and are there only because working them out again takes long.
        self._cube: tuple[Any, int, Cube] | None = None
        self._codes: dict[str, Codes] = {}

    @property
    def cube(self) -> Cube:
        """The space as it is now."""
        space = self.hyperparameters.space
        if self._cube is None or self._cube[0] is not self.hyperparameters or self._cube[1] != len(space):
            self._cube = (self.hyperparameters, len(space), make_cube(self.hyperparameters))
            self._codes = {}
        return self._cube[2]

    def codes_of(self, observation: Observation) -> Codes:
        """The codes of a trial that has ended."""
        cube = self.cube
        if observation.trial_id not in self._codes:
            self._codes[observation.trial_id] = cube.codes(observation.values)
        return self._codes[observation.trial_id]

    def settle(self, values: Values) -> Values | None:
        """These values if no trial had them, else with one of them drawn anew, else random ones."""
        if self.is_new(values):
            return values
        names = [axis.name for axis in self.cube.free if axis.name in values]
        for _ in range(self._max_collisions if names else 0):
            changed = self._rng.choice(names)
            near = self.complete_randomly({name: value for name, value in values.items() if name != changed})
            if self.is_new(near):
                return near
        return self.fresh_random_values()


def make_cube(space: keras_tuner.HyperParameters) -> Cube:
    """The axes of a space."""
    axes: list[Axis] = []
    count: dict[str, int] = {}
    for hp in space.space:
        number = count[hp.name] = count.get(hp.name, 0) + 1
        axes.append(_axis(hp.name if number == 1 else f"{hp.name}#{number}", hp))
    return Cube(tuple(axes))


def _axis(key: str, hp: Any) -> Axis:
    if isinstance(hp, _TYPES.Boolean):
        return Axis(key, hp, "category", 2, 0, 1, (False, True))
    if not isinstance(hp, _TYPES.Int | _TYPES.Float):
        choices = tuple(ordered_values(hp) if isinstance(hp, _TYPES.Choice) else (hp.default,))
        ordered = getattr(hp, "ordered", False)
        choices = tuple(sorted(choices)) if ordered else choices
        return Axis(key, hp, "steps" if ordered else "category", len(choices), 0, len(choices) - 1, choices)
    if hp.min_value == hp.max_value:
        return Axis(key, hp, "steps", 1, 0, 0)
    if hp.step is not None:
        size = hp._get_n_values()
        return Axis(key, hp, "steps", size, 0, size - 1)
    if isinstance(hp, _TYPES.Int):
        return Axis(key, hp, "integers", hp.max_value - hp.min_value + 1, hp.min_value, hp.max_value)
    return Axis(key, hp, "continuous", 0, 0.0, 1.0)


def _steps_from_begin(hp: Any, value: float) -> float:
    # KerasTuner's own `value_to_prob` rounds down, and so takes 0.3 in steps of 0.1 for the second one.
    if hp.sampling == "linear":
        return float((value - hp.min_value) / hp.step)
    if hp.sampling == "log":
        return math.log(value / hp.min_value, hp.step)
    return math.log((hp.max_value + hp.min_value - value) / hp.min_value, hp.step)


def _active(axis: Axis, values: Values) -> bool:
    return axis.name not in values and is_active(axis.hp, values)
