"""Functions to minimise: Branin, Hartmann's six dimensions, and a space of model kinds with settings of their own."""

from __future__ import annotations

import math
from typing import Any

import keras_tuner
import numpy as np

from benchmarks.search._problem import Problem
from benchmarks.search._problem import Values

BRANIN_OPTIMUM = 0.39788735772973816
HARTMANN_OPTIMUM = -3.3223680114155147

_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def branin_space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Float("x1", -5.0, 10.0)
    hp.Float("x2", 0.0, 15.0)
    return hp


def branin(values: Values, units: int = 1) -> float:
    """Branin and Hoo (1972); three minima."""
    x1, x2 = values["x1"], values["x2"]
    bowl = (x2 - 5.1 / (4 * math.pi**2) * x1**2 + 5 / math.pi * x1 - 6) ** 2
    return float(bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x1) + 10)


def hartmann_space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    for axis in range(6):
        hp.Float(f"x{axis}", 0.0, 1.0)
    return hp


def hartmann(values: Values, units: int = 1) -> float:
    """Hartmann (1973) in six dimensions."""
    x = np.array([values[f"x{axis}"] for axis in range(6)])
    return float(-(_ALPHA * np.exp(-(_A * (x - _P) ** 2).sum(axis=1))).sum())


def cash_space() -> keras_tuner.HyperParameters:
    """Which model, and its settings: conditions two deep, every kind of hyperparameter."""
    hp = keras_tuner.HyperParameters()
    hp.Boolean("scale")
    kind = "model"
    hp.Choice(kind, ["linear", "forest", "boosting", "network"])
    with hp.conditional_scope(kind, ["linear"]):
        hp.Float("linear/penalty", 1e-6, 1e2, sampling="log")
        hp.Choice("linear/norm", ["l1", "l2"])
    with hp.conditional_scope(kind, ["forest"]):
        hp.Int("forest/depth", 2, 30)
        hp.Float("forest/features", 0.05, 1.0)
        hp.Boolean("forest/bootstrap")
    with hp.conditional_scope(kind, ["boosting"]):
        hp.Float("boosting/rate", 1e-3, 1.0, sampling="log")
        hp.Int("boosting/leaves", 4, 256, sampling="log")
        hp.Float("boosting/rows", 0.3, 1.0, step=0.1)
    with hp.conditional_scope(kind, ["network"]):
        _network_space(hp)
    return hp


def _network_space(hp: Any) -> None:
    hp.Int("network/layers", 1, 6)
    hp.Choice("network/width", [16, 32, 64, 128, 256, 512], ordered=True)
    hp.Choice("network/optimizer", ["sgd", "adam"])
    with hp.conditional_scope("network/optimizer", ["sgd"]):
        hp.Float("network/sgd/rate", 1e-4, 1.0, sampling="log")
        hp.Float("network/sgd/momentum", 0.0, 0.99)
        hp.Boolean("network/sgd/nesterov")
    with hp.conditional_scope("network/optimizer", ["adam"]):
        hp.Float("network/adam/rate", 1e-5, 1e-1, sampling="log")
        hp.Float("network/adam/decay", 1e-7, 1e-1, sampling="log")


def cash(values: Values, units: int = 1) -> float:
    """An error between 0 and 1; the kinds that are best when well set are the worst when badly set."""
    found = _KINDS[values["model"]](values)
    return float(1.0 - (1.0 - found) * (1.0 if values["scale"] else 0.93))


def _linear(values: Values) -> float:
    norm = 0.0 if values["linear/norm"] == "l2" else 0.02
    return 0.20 + norm + _bowl(0.02, _log10(values["linear/penalty"]) + 1, 2.0)


def _forest(values: Values) -> float:
    own = _bowl(0.05, values["forest/depth"] - 18, 8.0) + _bowl(0.05, values["forest/features"] - 0.3, 0.3)
    return 0.12 + own + (0.0 if values["forest/bootstrap"] else 0.01)


def _boosting(values: Values) -> float:
    rate, leaves = _log10(values["boosting/rate"]) + 1.3, math.log2(values["boosting/leaves"] / 31)
    # More leaves want smaller rates.
    return 0.08 + _bowl(0.1, rate + 0.3 * leaves, 0.5) + _bowl(0.05, leaves, 1.5) + _bowl(
        0.02, values["boosting/rows"] - 0.8, 0.2
    )  # fmt: skip


def _network(values: Values) -> float:
    width = math.log2(values["network/width"] / 128)
    own = _bowl(0.05, values["network/layers"] - 3, 1.5) + _bowl(0.04, width, 1.5)
    if values["network/optimizer"] == "sgd":
        momentum = _bowl(0.06, values["network/sgd/momentum"] - 0.9, 0.2)
        steps = 0.0 if values["network/sgd/nesterov"] else 0.005
        return 0.06 + own + momentum + steps + _bowl(0.25, _log10(values["network/sgd/rate"]) + 1.5, 0.7)
    rate, decay = _log10(values["network/adam/rate"]) + 3, _log10(values["network/adam/decay"]) + 4
    return 0.04 + own + _bowl(0.3, rate, 0.7) + _bowl(0.05, decay, 1.5)


_KINDS = {"linear": _linear, "forest": _forest, "boosting": _boosting, "network": _network}


def _bowl(height: float, distance: float, width: float) -> float:
    """Quadratic near the best value, and never more than `height`."""
    return height * (1.0 - math.exp(-((distance / width) ** 2)))


def _log10(value: float) -> float:
    return math.log10(value)


PROBLEMS = (
    Problem("branin", branin_space, branin, BRANIN_OPTIMUM, evaluations=50),
    Problem("hartmann6", hartmann_space, hartmann, HARTMANN_OPTIMUM, evaluations=100),
    # The best network: three layers of 128, Adam at 1e-3 with decay 1e-4, scaled.
    Problem("cash", cash_space, cash, 0.04, evaluations=100),
)
