"""Rules from what a user may pass."""

from __future__ import annotations

import difflib
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.stoppers._curve import Stopper
from cerebro_nas.stoppers._learning_curve import LearningCurveStopper
from cerebro_nas.stoppers._median import MedianStopper

_NAMED: dict[str, type[Stopper]] = {"learning_curve": LearningCurveStopper, "median": MedianStopper}


def make_stoppers(value: Any, name: str = "stoppers") -> tuple[Stopper, ...]:
    """The rules that an argument stands for; a trial stops when one of them says so.

    Args:
        value: None, a rule, the name of one (`"median"`, `"learning_curve"`: with its defaults), or a list of these.
        name: the argument, for messages.

    Raises:
        ConfigError: it stands for no rules.
    """
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        return tuple(_one(item, name) for item in value)
    return (_one(value, name),)


def _one(value: Any, name: str) -> Stopper:
    if isinstance(value, Stopper):
        return value
    if isinstance(value, str) and value in _NAMED:
        return _NAMED[value]()
    near = difflib.get_close_matches(value, _NAMED, n=1) if isinstance(value, str) else []
    hint = f"Did you mean {near[0]!r}?" if near else "Pass one, a list of them, or None."
    raise ConfigError(
        f"`{name}` must be rules such as `MedianStopper()`, or their names: {', '.join(map(repr, _NAMED))}. "
        f"Received: {name}={value!r}. {hint}"
    )
