"""Small search spaces of every kind, and whether a configuration is one of them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import keras_tuner

from cerebro_nas.testing._contract import _expect

_KINDS = keras_tuner.engine.hyperparameters
_TOLERANCE = 1e-9


def numeric_space() -> keras_tuner.HyperParameters:
    """Ranges only: of integers and floats, linear and logarithmic, with steps and without."""
    hps = keras_tuner.HyperParameters()
    hps.Int("layers", 1, 6)
    hps.Int("units", 16, 128, step=16)
    hps.Int("batch", 8, 512, sampling="log")
    hps.Int("filters", 2, 64, step=2, sampling="log")
    hps.Float("momentum", 0.0, 0.99)
    hps.Float("dropout", 0.0, 0.5, step=0.1)
    hps.Float("rate", 1e-4, 1e-1, sampling="log")
    hps.Float("decay", 0.9, 0.999, sampling="reverse_log")
    return hps


def mixed_space() -> keras_tuner.HyperParameters:
    """Every kind of hyperparameter; none depends on another."""
    hps = numeric_space()
    hps.Choice("optimizer", ["adam", "sgd", "rmsprop"])
    hps.Choice("kernel", [3, 5, 7], ordered=True)
    hps.Choice("scale", [0.5, 1.0, 2.0], ordered=False)
    hps.Boolean("normalize")
    hps.Fixed("loss", "mse")
    return hps


def conditional_space() -> keras_tuner.HyperParameters:
    """Hyperparameters that depend on others, two deep."""
    hps = keras_tuner.HyperParameters()
    hps.Choice("block", ["dense", "conv", "none"])
    hps.Float("rate", 1e-4, 1e-1, sampling="log")
    with hps.conditional_scope("block", ["dense"]):
        hps.Int("dense/units", 8, 64, step=8)
        hps.Boolean("dense/dropout")
        with hps.conditional_scope("dense/dropout", [True]):
            hps.Float("dense/dropout_rate", 0.1, 0.5)
    with hps.conditional_scope("block", ["conv"]):
        hps.Int("conv/filters", 100, 104)
        hps.Choice("conv/kernel", [3, 5])
        hps.Fixed("conv/padding", "same")
    return hps


def namesake_space() -> keras_tuner.HyperParameters:
    """One name that is another hyperparameter in each branch."""
    hps = keras_tuner.HyperParameters()
    hps.Choice("block", ["small", "large", "none"])
    hps.Int("width", 1, 8, parent_name="block", parent_values=["small"])
    hps.Int("width", 16, 64, parent_name="block", parent_values=["large"])
    hps.Choice("width", ["narrow", "wide"], parent_name="block", parent_values=["none"])
    hps.Float("rate", 0.0, 1.0)
    return hps


def finite_space() -> keras_tuner.HyperParameters:
    """Twelve configurations, eight of them of one branch."""
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["x", "y"])
    hps.Int("x/size", 1, 4, parent_name="kind", parent_values=["x"])
    hps.Boolean("y/wide", parent_name="kind", parent_values=["y"])
    hps.Choice("y/size", [10, 20, 30, 40], parent_name="kind", parent_values=["y"])
    return hps


def finite_numeric_space() -> keras_tuner.HyperParameters:
    """Twelve configurations of two numbers."""
    hps = keras_tuner.HyperParameters()
    hps.Int("a", 0, 2)
    hps.Float("b", 0.0, 0.75, step=0.25)
    return hps


def easy_space(numeric_only: bool) -> keras_tuner.HyperParameters:
    """Three dimensions; `easy_loss` has its minimum, 0, inside."""
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    hps.Int("n", 0, 20)
    if numeric_only:
        hps.Float("y", 0.0, 1.0)
    else:
        hps.Choice("c", ["a", "b", "c"])
    return hps


def easy_loss(values: dict[str, Any]) -> float:
    """Squared distance from x = 0.7, n = 6, and y = 0.4 or c = "b"."""
    third = float(values["c"] != "b") / 4 if "c" in values else (values["y"] - 0.4) ** 2
    return float((values["x"] - 0.7) ** 2 + ((values["n"] - 6) / 20) ** 2 + third)


def any_loss(values: dict[str, Any]) -> float:
    """A number that follows from the values of any space, and differs between most configurations."""
    total = 0.0
    for name, value in sorted(values.items()):
        total += len(name) * (float(value) if isinstance(value, (bool, int, float)) else len(str(value)))
    return math.sin(total) + total / 1000


def check_values(space: keras_tuner.HyperParameters, values: dict[str, Any]) -> None:
    """Raise an AssertionError unless `values` is a configuration of the space."""
    expected: dict[str, Any] = {}
    for hp in space.space:
        if hp.name not in expected and all(condition.is_active(expected) for condition in hp.conditions):
            _expect(hp.name in values, f"every active hyperparameter has a value, also {hp.name!r}", values)
            _check_value(hp, values[hp.name])
            expected[hp.name] = values[hp.name]
    _expect(set(values) == set(expected), "only active hyperparameters have values", values)


def _check_value(hp: Any, value: Any) -> None:
    received = f"{hp.name}={value!r} (of type {type(value).__name__}), {hp!r}"
    if isinstance(hp, _KINDS.Boolean):
        _expect(type(value) is bool, "the value of a Boolean is a bool", received)
    elif isinstance(hp, _KINDS.Int):
        _expect(type(value) is int, "the value of an Int is an int", received)
        grid = None if hp.step is None else {int(item) for item in hp.values}
        within = hp.min_value <= value <= hp.max_value
        _expect(within if grid is None else value in grid, "an Int is in its range and on its grid", received)
    elif isinstance(hp, _KINDS.Float):
        _expect(type(value) is float, "the value of a Float is a float", received)
        _expect(_is_float_of(hp, value), "a Float is in its range and on its grid", received)
    else:
        same = [item for item in hp.values if type(item) is type(value) and item == value]
        _expect(bool(same), "a value is among the choices, and of their type", received)


def _is_float_of(hp: Any, value: float) -> bool:
    if hp.step is not None:
        return any(math.isclose(value, item, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) for item in hp.values)
    slack = _TOLERANCE * max(abs(hp.min_value), abs(hp.max_value))
    return bool(hp.min_value - slack <= value <= hp.max_value + slack)


def all_of(space: keras_tuner.HyperParameters) -> int:
    """How many configurations a space without continuous ranges has."""
    found = set()
    for combination in itertools.product(*(list(hp.values) for hp in space.space)):
        values: dict[str, Any] = {}
        for hp, value in zip(space.space, combination, strict=True):
            if all(condition.is_active(values) for condition in hp.conditions):
                values[hp.name] = value
        found.add(tuple(values.items()))
    return len(found)
