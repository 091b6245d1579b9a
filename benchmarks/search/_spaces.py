"""KerasTuner's spaces as plain values, for peers that have spaces of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

Condition = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter.

    Attributes:
        name: its name.
        kind: "float", "int" or "choice".
        low: least value of a number.
        high: greatest value of a number.
        log: whether a number is searched on a logarithmic scale.
        step: step of a number; None: none (for integers 1).
        values: of a choice.
        conditions: it is active if each of these hyperparameters has one of these values.
    """

    name: str
    kind: str
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    values: tuple[Any, ...] = ()
    conditions: tuple[Condition, ...] = ()

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether it counts, given the values of those before it."""
        return all(name in values and values[name] in wanted for name, wanted in self.conditions)


def parameters(space: keras_tuner.HyperParameters) -> list[Parameter]:
    """The hyperparameters in the order of the space: parents come before their children."""
    return [_parameter(hp) for hp in space.space]


def _parameter(hp: Any) -> Parameter:
    conditions = tuple((condition.name, tuple(condition.values)) for condition in hp.conditions)
    if isinstance(hp, (kinds.Float, kinds.Int)):
        kind = "float" if isinstance(hp, kinds.Float) else "int"
        log = hp.sampling == "log"
        # KerasTuner's step on a logarithmic scale is a factor, and no problem here has one.
        step = None if log else hp.step
        return Parameter(hp.name, kind, hp.min_value, hp.max_value, log, step, (), conditions)
    return Parameter(hp.name, "choice", values=tuple(hp.values), conditions=conditions)


def typed(item: Parameter, value: Any) -> Any:
    """A value as our tuners give it, within its range."""
    if item.kind == "choice":
        # NumPy's or texts: what a peer gives back need not be of the type that it was given.
        return next(known for known in item.values if str(known) == str(value))
    value = min(max(value, item.low), item.high)
    return round(value) if item.kind == "int" else float(value)
