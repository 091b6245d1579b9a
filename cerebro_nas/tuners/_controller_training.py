"""How the controller learns: what a trial was worth, and a step up the gradient.

Sources: Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning" (1992);
Espeholt et al., "IMPALA: scalable distributed deep-RL with importance weighted actor-learner architectures" (2018), for
truncated importance ratios; Kingma, Ba, "Adam: a method for stochastic optimization" (2015).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any
from typing import Literal

import numpy as np

from cerebro_nas.tuners._controller import Floats

Method = Literal["adam", "momentum", "sgd"]

_BOUND = 3.0  # An advantage is within plus and minus this.
_WORST = -1.0
_LONGEST = 1.0  # The norm of a gradient is at most this, so that one odd batch does not undo what was learned.
_DEVIATION = 1.4826  # Standard deviation of a normal distribution in units of the median distance from the median.
_MOMENTUM = 0.9
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


def advantages(losses: Sequence[float | None], latest: int, decay: float) -> Floats:
    """How much better than expected each of the latest trials was, in units of their spread.

    The reward is the negative loss; what is expected is the running mean of the rewards (corrected for its beginning,
    and so a mean of the trials there are). The spread is the median distance from the median, scaled to be a normal
    distribution's standard deviation (the mean distance, if most are equal). So the advantage has no unit, whatever the
    objective, and one absurd loss changes that of no other trial much. It is bounded; a failed trial's is that of the
    worst, and at most -1.

    Args:
        losses: of the ended trials in that order, lower is better; None: it failed.
        latest: how many of them to tell.
        decay: of the running mean.

    Returns:
        Of shape (trials,), for `latest` trials at most.
    """
    recent = losses[-latest:]
    rewards = np.array([np.nan if loss is None else -loss for loss in recent])
    done = rewards[~np.isnan(rewards)]
    if not len(done):
        # Nothing is known to be better than what failed.
        return np.zeros(len(recent))
    middle = float(np.median(done))
    distances = np.abs(done - middle)
    spread = _DEVIATION * float(np.median(distances)) or float(distances.mean()) or 1.0
    # Clipped before the mean is taken, which one absurd loss would carry away otherwise.
    every = np.array([-loss for loss in losses if loss is not None])
    # Where the others are all but equal, an absurd loss may be more of their spreads than there are numbers.
    with np.errstate(over="ignore"):
        baseline = _running_mean(np.clip((every - middle) / spread, -_BOUND, _BOUND), decay)
        found: Floats = np.clip((rewards - middle) / spread - baseline, -_BOUND, _BOUND)
    return np.where(np.isnan(found), min(_WORST, float(np.nanmin(found))), found)


def _running_mean(values: Floats, decay: float) -> float:
    if decay == 1.0:
        return float(values.mean())
    weights = decay ** np.arange(len(values))[::-1]
    return float((weights * values).sum() / weights.sum())


class Optimiser:
    """Steps up the gradient, whose norm is bounded first.

    Args:
        method: `"sgd"`, `"momentum"` (Nesterov's, 0.9) or `"adam"`.
        learning_rate: length of a step in units of the gradient, of a weight's typical gradient for Adam.
    """

    def __init__(self, method: Method, learning_rate: float) -> None:
        self.method = method
        self.learning_rate = learning_rate
        self._steps = 0
        self._mean = np.zeros(0)
        self._square = np.zeros(0)

    def step(self, weights: Floats, gradient: Floats) -> Floats:
        """The weights after a step; there may be more of them than at the last, at the end."""
        self._steps += 1
        gradient = gradient * min(1.0, _LONGEST / (float(np.linalg.norm(gradient)) + _EPSILON))
        return weights + self.learning_rate * self._direction(gradient)

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values."""
        return {"steps": self._steps, "mean": encoded(self._mean), "square": encoded(self._square)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        self._steps = state["steps"]
        self._mean, self._square = decoded(state["mean"]), decoded(state["square"])

    def _direction(self, gradient: Floats) -> Floats:
        if self.method == "sgd":
            return gradient
        if self.method == "momentum":
            self._mean = _MOMENTUM * _padded(self._mean, len(gradient)) + gradient
            return gradient + _MOMENTUM * self._mean
        self._mean = _BETAS[0] * _padded(self._mean, len(gradient)) + (1.0 - _BETAS[0]) * gradient
        self._square = _BETAS[1] * _padded(self._square, len(gradient)) + (1.0 - _BETAS[1]) * gradient**2
        mean = self._mean / (1.0 - _BETAS[0] ** self._steps)
        square = self._square / (1.0 - _BETAS[1] ** self._steps)
        return mean / (np.sqrt(square) + _EPSILON)


def encoded(numbers: Floats) -> str:
    """Numbers as text that keeps every bit (as a list of decimals it would be saved 20 times as slowly)."""
    return base64.b64encode(numbers.astype("<f8").tobytes()).decode("ascii")


def decoded(text: str) -> Floats:
    """What `encoded` was given."""
    return np.frombuffer(base64.b64decode(text), "<f8").astype(np.float64)


def _padded(array: Floats, length: int) -> Floats:
    return np.concatenate([array, np.zeros(length - len(array))]) if len(array) < length else array
