"""What a search can be tried on without training: a space, a noise-free loss for each configuration, noise and time."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """One problem. Losses are minimised.

    Attributes:
        name: for the command line and the tables.
        make_space: gives the space, a new one each time, as tuners add to it.
        loss: noise-free loss of a configuration after so many units of training.
        optimum: the least loss that there is.
        evaluations: complete trainings that a search may spend, unless told otherwise.
        noise: standard deviation of what is observed.
        units: units of a complete training; 1: a trial is only judged at its end.
        per_epoch: units (visits to shards) of an epoch.
        seconds: how long a complete training takes on the virtual clock, chance apart.
    """

    name: str
    make_space: Callable[[], keras_tuner.HyperParameters]
    loss: Callable[[Values, int], float]
    optimum: float
    evaluations: int
    noise: float = 0.0
    units: int = 1
    per_epoch: int = 1
    seconds: Callable[[Values], float] = lambda values: 1.0

    @property
    def epochs(self) -> int:
        """Epochs of a complete training."""
        return self.units // self.per_epoch

    @property
    def has_curves(self) -> bool:
        """Whether trials can be judged before their end."""
        return self.units > 1

    def observe(self, values: Values, units: int, seed: int, trial: int) -> float:
        """The loss with its noise, which follows from seed, configuration, number of the trial and units."""
        found = self.loss(values, units)
        return found + self.noise * chance("noise", seed, trial, units, plain(values)).gauss(0.0, 1.0)

    def regret(self, values: Values, units: int) -> float:
        """How far the noise-free loss is from the optimum."""
        return self.loss(values, units) - self.optimum

    def unit_seconds(self, values: Values, seed: int, trial: int) -> float:
        """Virtual seconds of each unit of a trial: log-normal around what the configuration takes."""
        draw = chance("seconds", seed, trial, plain(values)).gauss(0.0, _SPREAD)
        return self.seconds(values) / self.units * math.exp(draw - _SPREAD**2 / 2)


_SPREAD = 0.5
_OF_KERAS_TUNER = "tuner/"


def plain(values: Values) -> dict[str, Any]:
    """The configuration, without what KerasTuner's Hyperband adds of its own."""
    return {name: value for name, value in sorted(values.items()) if not name.startswith(_OF_KERAS_TUNER)}


def chance(*parts: object) -> random.Random:
    """A generator that follows from its arguments, in any process."""
    text = json.dumps(parts, sort_keys=True, default=float)
    return random.Random(hashlib.sha256(text.encode()).digest())
