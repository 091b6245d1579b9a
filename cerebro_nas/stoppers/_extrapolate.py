"""Where a learning curve is going: a mixture of parametric curves, weighed by how well each explains what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.special import ndtr

Array = NDArray[np.float64]

_POWERS = np.geomspace(0.2, 3.0, 12)
_RATES = 20
_STEEPNESSES = (1.0, 2.0, 3.0)
_MIDPOINTS = 6
# Standard deviations of the noise of one epoch that are weighed, as parts of the scale of the objective.
_NOISES = np.geomspace(0.01, 0.3, 7)


@dataclass(frozen=True)
class Forecast:
    """What is expected of a trial at its last epoch: a mixture of normal distributions.

    Attributes:
        means: mean of every member.
        deviations: standard deviation of every member, the noise of one epoch included.
        weights: weight of every member; they sum to 1.
    """

    means: Array
    deviations: Array
    weights: Array

    @property
    def mean(self) -> float:
        """The value that is expected."""
        return float(self.weights @ self.means)

    def chance_above(self, value: float) -> float:
        """The probability of a value above the given one."""
        return float(self.weights @ ndtr((self.means - value) / self.deviations))


def forecast(epochs: NDArray[np.integer[Any]], values: Array, horizon: int, *, centre: float, scale: float) -> Forecast:
    """Extrapolate a learning curve.

    A curve is `end - gain * (1 - progress(epoch))`, where `progress` is 0 at the first epoch, 1 at the last, and
    follows one of a fixed grid of shapes (power laws, exponentials, log-powers). Given the shape and the noise of an
    epoch, `end` and `gain` are a Bayesian linear regression in closed form with the priors N(centre, scale^2) and
    N(0, scale^2); shapes and noises are weighed by their marginal likelihood. There is nothing to optimise, hence
    neither random numbers nor fits that fail.

    Args:
        epochs: the epochs seen, counted from 1.
        values: the objective at these epochs.
        horizon: the last epoch of the trial.
        centre: what trials reach, before anything was seen of this one.
        scale: how far values of the objective lie apart, above 0.
    """
    remaining = _remaining(int(epochs[-1]), horizon)[:, epochs - 1]
    design = np.stack([np.ones_like(remaining), -remaining], axis=-1)
    target = (values - centre) / scale
    # Shapes x noises, of 2 x 2 systems.
    precision = 1 / _NOISES**2
    normal = design.transpose(0, 2, 1) @ design
    posterior = normal[:, None] * precision[:, None, None] + np.eye(2)
    moment = (design.transpose(0, 2, 1) @ target)[:, None] * precision[:, None]
    covariance = np.linalg.inv(posterior)
    coefficients = (covariance @ moment[..., None])[..., 0]
    misfit = precision * (target @ target) - (moment * coefficients).sum(-1)
    log_weights = -len(values) * np.log(_NOISES) - np.linalg.slogdet(posterior)[1] / 2 - misfit / 2
    weights = np.exp(log_weights - logsumexp(log_weights))
    deviations = np.sqrt(covariance[..., 0, 0] + _NOISES**2)
    return Forecast(centre + scale * coefficients[..., 0].ravel(), (scale * deviations).ravel(), weights.ravel())


@lru_cache(maxsize=256)
def _remaining(seen: int, horizon: int) -> Array:
    """Which part of the gain is still to come at every epoch up to `seen`, for every shape; 1 first, 0 at `horizon`."""
    epochs = np.append(np.arange(1.0, seen + 1), float(horizon))
    powers = [epochs**-power for power in _POWERS]
    rates = [np.exp(-rate * epochs) for rate in np.geomspace(1 / horizon, 2.0, _RATES)]
    # A curve that has not yet come half its way says nothing of where the middle is: none beyond what was seen.
    midpoints = np.geomspace(1.0, max(2.0, float(seen)), _MIDPOINTS)
    sigmoids = [1 / (1 + (epochs / mid) ** steep) for mid in midpoints for steep in _STEEPNESSES]
    shapes = np.stack([*powers, *rates, *sigmoids])
    first, last = shapes[:, :1], shapes[:, -1:]
    scaled: Array = (shapes - last) / (first - last)
    scaled.setflags(write=False)
    return scaled[:, :-1]
