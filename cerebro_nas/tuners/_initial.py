"""Configurations to begin with, checked against the space before any work."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras_tuner

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._enumerate import ordered_values
from cerebro_nas.tuners._tree import configure

_INT = keras_tuner.engine.hyperparameters.Int
_FLOAT = keras_tuner.engine.hyperparameters.Float
# As Python's float comes by a value that is counted up in steps.
_ROUNDING = 1e-9


def check_initial(initial: Any, space: keras_tuner.HyperParameters | None) -> None:
    """Refuse configurations that are not of this space, as a tuner would drop or distort what does not fit.

    Args:
        initial: a list of dicts from names to values; what they leave out takes its default.
        space: the complete space; None: it is not known yet, so that only the form is checked.

    Raises:
        ConfigError: no such list, an unknown or inactive hyperparameter, or a value that it does not have.
    """
    if not isinstance(initial, Sequence) or not all(isinstance(values, dict) for values in initial):
        raise ConfigError(
            "Argument `initial_hps` should be a list of dicts from names of hyperparameters to values. "
            f"Received: initial_hps={initial!r}. Pass, for example, [{{'learning_rate': 0.001}}]."
        )
    if space is None or not space.space:
        return
    for values in initial:
        _check(values, space)


def _check(given: Mapping[str, Any], space: keras_tuner.HyperParameters) -> None:
    known = {hp.name for hp in space.space}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=3)
            raise ConfigError(
                "Argument `initial_hps` should name hyperparameters of the search space. "
                f"Received: {name!r}. Near names: {', '.join(near) or 'none'}; see `search_space_summary()`."
            )

    def choose(hp: Any) -> Any:
        if hp.name in given:
            _check_value(hp, given[hp.name])
        return given.get(hp.name, hp.default)

    values = configure(space, choose)
    for name in given:
        if name not in values:
            hp = next(hp for hp in space.space if hp.name == name)
            raise ConfigError(
                "Argument `initial_hps` should give values to hyperparameters that are active together. Received: "
                f"{name}={given[name]!r}, which is there only {_reason(hp, values)}. Leave {name!r} out, or give the "
                "other such a value."
            )


def _check_value(hp: Any, value: Any) -> None:
    if not _has(hp, value):
        raise ConfigError(
            f"Argument `initial_hps` should give {hp.name!r} a value of its range, {_range(hp)}. "
            f"Received: {hp.name}={value!r} (of type {type(value).__name__}). Choose one of the range, or widen it "
            "with `hyperparameters`."
        )


def _has(hp: Any, value: Any) -> bool:
    if not isinstance(hp, _INT | _FLOAT):
        # For Python True is 1.
        return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in hp.values)
    kinds = int if isinstance(hp, _INT) else int | float
    if not isinstance(value, kinds) or isinstance(value, bool) or not hp.min_value <= value <= hp.max_value:
        return False
    return not _has_steps(hp) or any(math.isclose(value, one, rel_tol=_ROUNDING) for one in ordered_values(hp))


def _has_steps(hp: Any) -> bool:
    # Whole numbers without a step have one of 1.
    return hp.step is not None and not (isinstance(hp, _INT) and hp.step == 1)


def _range(hp: Any) -> str:
    if not isinstance(hp, _INT | _FLOAT):
        return ", ".join(map(repr, hp.values))
    kind = "whole numbers" if isinstance(hp, _INT) else "numbers"
    found = f"{kind} from {hp.min_value} to {hp.max_value}"
    if not _has_steps(hp):
        return found
    return f"{found} in {'steps' if hp.sampling == 'linear' else 'factors'} of {hp.step}"


def _reason(hp: Any, values: Mapping[str, Any]) -> str:
    condition = next(condition for condition in hp.conditions if not condition.is_active(values))
    wanted = " or ".join(map(repr, condition.values))
    return f"where {condition.name!r} is {wanted}, and it is {values.get(condition.name)!r}"
