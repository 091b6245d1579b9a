"""Walking through every configuration of a conditional space, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras_tuner

from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._tree import is_active

_Step = tuple[Any, Sequence[Any], int]

_INT = keras_tuner.engine.hyperparameters.Int
_NUMBERS = (keras_tuner.engine.hyperparameters.Int, keras_tuner.engine.hyperparameters.Float)


def next_values(space: keras_tuner.HyperParameters, previous: Values | None) -> Values | None:
    """The configuration after `previous` in the order of the space; the last hyperparameter varies fastest.

    Only active hyperparameters have values, so configurations that differ in inactive ones are the same one. Nothing
    but the previous configuration is needed to go on, hence a walk can be stopped and saved anywhere.

    Args:
        space: the space; parents come before the hyperparameters that depend on them.
        previous: what this function gave last, or None to begin.

    Returns:
        The next configuration, or None after the last.
    """
    if previous is None:
        return _values(_extend(space, []))
    path = _path_of(space, previous)
    while path:
        hp, choices, index = path.pop()
        if index + 1 < len(choices):
            return _values(_extend(space, [*path, (hp, choices, index + 1)]))
    return None


def ordered_values(hp: Any) -> Sequence[Any]:
    """Every value of a hyperparameter, in order; ten representative ones of a continuous range."""
    whole = isinstance(hp, _INT)
    if whole and hp.sampling == "linear":
        # KerasTuner's own list of a billion of them would not fit into memory.
        return range(hp.min_value, hp.max_value + 1, hp.step)
    # KerasTuner's steps of a logarithmic range of whole numbers are floats.
    values = list(dict.fromkeys(map(int, hp.values) if whole else hp.values))
    # KerasTuner builds the values of a range without `step` from a set, in no particular order.
    return sorted(values) if isinstance(hp, _NUMBERS) else values


def _extend(space: keras_tuner.HyperParameters, path: list[_Step]) -> list[_Step]:
    """Complete a path with the first value of every hyperparameter that is active and has none yet."""
    values = _values(path)
    # A name may stand for several entries with different conditions: the first active one decides.
    last = _position(space, path[-1][0]) + 1 if path else 0
    for hp in space.space[last:]:
        if hp.name not in values and is_active(hp, values):
            choices = ordered_values(hp)
            path.append((hp, choices, 0))
            values[hp.name] = choices[0]
    return path


def _path_of(space: keras_tuner.HyperParameters, values: Values) -> list[_Step]:
    path: list[_Step] = []
    seen: Values = {}
    for hp in space.space:
        if hp.name in seen or hp.name not in values or not is_active(hp, seen):
            continue
        choices = ordered_values(hp)
        value = values[hp.name]
        path.append((hp, choices, choices.index(value) if value in choices else len(choices) - 1))
        seen[hp.name] = value
    return path


def _position(space: keras_tuner.HyperParameters, entry: Any) -> int:
    return next(i for i, hp in enumerate(space.space) if hp is entry)


def _values(path: list[_Step]) -> Values:
    return {hp.name: choices[index] for hp, choices, index in path}
