"""Configurations to begin with, checked against the space before any work."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras_tuner
import numpy as np

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._enumerate import ordered_values
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._tree import admits
from cerebro_nas.tuners._tree import configure

_INT = keras_tuner.engine.hyperparameters.Int
_FLOAT = keras_tuner.engine.hyperparameters.Float
# As Python's float comes by a value that is counted up in steps.
_ROUNDING = 1e-9


def check_initial(initial: Any, space: keras_tuner.HyperParameters | None) -> list[Values]:
    """Refuse configurations that are not of this space, as a tuner would drop or distort what does not fit.

    Args:
        initial: a list of dicts from names to values; what they leave out takes its default. None is an empty list.
        space: the complete space; None: it is not known yet, so that only the form is checked.

    Returns:
        The same configurations with values of the space's own types, where it is known: a column of a leaderboard,
        say, has NumPy's numbers, and floats where some trials had none.

    Raises:
        ConfigError: no such list, an unknown or inactive hyperparameter, or a value that it does not have.
    """
    if initial is None:
        return []
    if not isinstance(initial, Sequence) or not all(isinstance(values, dict) for values in initial):
        raise ConfigError(
            "Argument `initial_hps` should be a list of dicts from names of hyperparameters to values. "
            f"Received: initial_hps={initial!r}. Pass, for example, [{{'learning_rate': 0.001}}]."
        )
    plain = [{name: _plain(value) for name, value in values.items()} for values in initial]
    return plain if space is None or not space.space else [_checked(values, space) for values in plain]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _checked(given: Values, space: keras_tuner.HyperParameters) -> Values:
    known = {hp.name for hp in space.space}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=3)
            raise ConfigError(
                "Argument `initial_hps` should name hyperparameters of the search space. "
                f"Received: {name!r}. Near names: {', '.join(near) or 'none'}; see `search_space_summary()`."
            )

    def choose(hp: Any) -> Any:
        return _value_of(hp, given[hp.name]) if hp.name in given else hp.default

    values = configure(space, choose)
    for name in given:
        if name not in values:
            hp = next(hp for hp in space.space if hp.name == name)
            raise ConfigError(
                "Argument `initial_hps` should give values to hyperparameters that are active together. Received: "
                f"{name}={given[name]!r}, which is there only {_reason(hp, values)}. Leave {name!r} out, or give the "
                "other such a value."
            )
    return {name: values[name] for name in given}


def _value_of(hp: Any, value: Any) -> Any:
    """The hyperparameter's own value that equals this one."""
    found = _find(hp, value) if admits(hp, value) else None
    if found is None:
        raise ConfigError(
            f"Argument `initial_hps` should give {hp.name!r} a value of its range, {_range(hp)}. "
            f"Received: {hp.name}={value!r} (of type {type(value).__name__}). Choose one of the range, or widen it "
            "with `hyperparameters`."
        )
    return found


def _find(hp: Any, value: Any) -> Any:
    if not isinstance(hp, _INT | _FLOAT):
        return next(one for one in hp.values if value == one)
    own = int(value) if isinstance(hp, _INT) else float(value)
    if not _has_steps(hp):
        return own
    values = ordered_values(hp)
    if isinstance(values, range):
        return own if own in values else None
    return next((one for one in values if math.isclose(own, one, rel_tol=_ROUNDING)), None)


def _has_steps(hp: Any) -> bool:
    # Whole numbers without a step have one of 1.
    return hp.step is not None and not (isinstance(hp, _INT) and hp.step == 1)


def _range(hp: Any) -> str:
    if not isinstance(hp, _INT | _FLOAT):
        return ", ".join(map(repr, hp.values))
    kind = "whole numbers" if isinstance(hp, _INT) else "numbers"
    if not _has_steps(hp):
        return f"{kind} from {hp.min_value} to {hp.max_value}"
    # Not the end of the range, where KerasTuner's steps do not get there: five of 0.1 are a little more than 0.5.
    found = f"{kind} from {hp.min_value} to {ordered_values(hp)[-1]:.12g}"
    return f"{found} in {'steps' if hp.sampling == 'linear' else 'factors'} of {hp.step}"


def _reason(hp: Any, values: Mapping[str, Any]) -> str:
    condition = next(condition for condition in hp.conditions if not condition.is_active(values))
    wanted = " or ".join(map(repr, condition.values))
    return f"where {condition.name!r} is {wanted}, and it is {values.get(condition.name)!r}"
