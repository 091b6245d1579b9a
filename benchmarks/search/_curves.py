"""Learning curves: power laws that cross each other, and curves that were recorded on Fashion-MNIST."""

from __future__ import annotations

import functools
import itertools
import json
import math
from pathlib import Path
from typing import Any

import keras_tuner

from benchmarks.search._problem import Problem
from benchmarks.search._problem import Values
from benchmarks.search._record import PATH

_EPOCHS, _SHARDS = 9, 3
_UNITS = _EPOCHS * _SHARDS
_START, _FLOOR = 0.9, 0.05


def power_space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 1.0, sampling="log")
    hp.Int("width", 8, 512, sampling="log")
    hp.Float("dropout", 0.0, 0.6)
    hp.Choice("optimizer", ["sgd", "adam", "rmsprop"])
    hp.Float("decay", 1e-6, 1e-1, sampling="log")
    return hp


def power_law(values: Values, units: int) -> float:
    """An error that falls with (1 + units) ** -slope, to what the configuration is worth after all units.

    Small learning rates, wide layers and much dropout end lower and fall later, so that curves cross.
    """
    rate, width = math.log10(values["rate"]), math.log2(values["width"])
    dropout, decay = values["dropout"], math.log10(values["decay"])
    best = {"sgd": -1.0, "adam": -2.5, "rmsprop": -2.2}[values["optimizer"]]
    worth = (
        0.03 * (rate - best) ** 2 + 0.012 * (width - 8.0) ** 2 + 0.5 * (dropout - 0.3) ** 2 + 0.004 * (decay + 4) ** 2
    )
    worth += {"sgd": 0.03, "adam": 0.0, "rmsprop": 0.015}[values["optimizer"]]
    slope = 1.0 + 0.15 * (rate - best) - 0.05 * (width - 5.5) - 0.4 * dropout
    slope = min(1.5, max(0.4, slope))
    last = (1 + _UNITS) ** -slope
    fall = ((1 + units) ** -slope - last) / (1.0 - last)
    end = _FLOOR + 0.8 * (1.0 - math.exp(-worth / 0.8))
    return float(end + max(0.0, _START - end) * fall)


@functools.cache
def recorded(path: Path = PATH) -> dict[str, Any]:
    """What was recorded: choices, and accuracies after each unit by configuration."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    points = itertools.product(*found["choices"].values())
    return {**found, "curves": dict(zip(points, found["curves"], strict=True))}


def recorded_space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    for name, values in recorded()["choices"].items():
        hp.Choice(name, values, ordered=not isinstance(values[0], str))
    return hp


def recorded_loss(values: Values, units: int) -> float:
    """The error that was measured."""
    table = recorded()
    point = tuple(values[name] for name in table["choices"])
    return 1.0 - float(table["curves"][point][units - 1])


def _power_seconds(values: Values) -> float:
    return 0.5 + float(values["width"]) / 256


def _recorded_seconds(values: Values) -> float:
    return 0.7 + float(values["width"]) / 128


def recorded_problem() -> Problem:
    """Read when it is wanted, as there may be no recording yet."""
    table = recorded()
    units = table["epochs"] * table["shards"]
    return Problem(
        "fashion-mnist",
        recorded_space,
        recorded_loss,
        # The best accuracy at any time: a search may stop a curve that falls again.
        1.0 - max(max(curve) for curve in table["curves"].values()),
        evaluations=32,
        units=units,
        per_epoch=table["shards"],
        seconds=_recorded_seconds,
    )


POWER = Problem(
    "power-laws",
    power_space,
    power_law,
    _FLOOR,
    evaluations=48,
    noise=0.005,
    units=_UNITS,
    per_epoch=_SHARDS,
    seconds=_power_seconds,
)
