"""What stands for the objective in Bayesian optimisation: a Gaussian process or a random forest.

Sources: Rasmussen, Williams, "Gaussian Processes for Machine Learning" (2006), section 5.4 for the marginal
likelihood and its gradient; Hvarfner, Hellsten, Nardi, "Vanilla Bayesian optimization performs great in high
dimensions" (2024) for the prior of the length scales; Hutter, Hoos, Leyton-Brown, "Sequential model-based optimization
for general algorithm configuration" (2011) for the forest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError
from scipy.linalg import cho_solve
from scipy.linalg import cholesky
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel
from sklearn.gaussian_process.kernels import Matern

from cerebro_nas.tuners._encoding import Encoding
from cerebro_nas.tuners._encoding import Floats

_ROOT5 = float(np.sqrt(5.0))

# Logarithms of length scale, noise (variance) and amplitude: normal priors, and the box they are looked for in.
_SCALE_SPREAD = float(np.sqrt(3.0))
_NOISE_CENTRE, _NOISE_SPREAD = -6.0, 2.0
_AMPLITUDE_SPREAD = 1.0
_SCALE_BOX = (float(np.log(0.02)), float(np.log(200.0)))
_NOISE_BOX = (float(np.log(1e-6)), 0.0)
_AMPLITUDE_BOX = (-3.0, 4.0)

_TREES = 50
_OUTSIDE = -1.0


class Model(Protocol):
    """What is believed of the objective."""

    def predict(self, rows: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation at rows of the encoding."""


@dataclass(frozen=True)
class Scales:
    """Hyperparameters of a Gaussian process on standardised targets.

    Attributes:
        lengths: length scale of every free dimension, in units.
        noise: variance of the noise.
        amplitude: variance of the process.
    """

    lengths: Floats
    noise: float
    amplitude: float


class Process:
    """A Gaussian process with a Matern 5/2 kernel, one length scale for each hyperparameter."""

    def __init__(self, encoding: Encoding, rows: Floats, targets: Floats, scales: Scales) -> None:
        self._encoding = encoding
        self._centre = float(targets.mean())
        kernel = ConstantKernel(scales.amplitude) * Matern(length_scale=scales.lengths[encoding.groups], nu=2.5)
        self._regressor = GaussianProcessRegressor(kernel, alpha=scales.noise, optimizer=None)
        self._regressor.fit(encoding.features(rows), targets - self._centre)

    def predict(self, rows: Floats) -> tuple[Floats, Floats]:
        mean, deviation = self._regressor.predict(self._encoding.features(rows), return_std=True)
        return mean + self._centre, np.maximum(deviation, 1e-9)


class Forest:
    """Randomised trees; the deviation is that between them and that within their leaves."""

    def __init__(self, encoding: Encoding, rows: Floats, targets: Floats, seed: int) -> None:
        self._encoding = encoding
        self._trees = ExtraTreesRegressor(
            _TREES, bootstrap=True, max_features=5 / 6, min_samples_split=3, random_state=seed
        )
        self._trees.fit(self._features(rows), targets)

    def predict(self, rows: Floats) -> tuple[Floats, Floats]:
        features = self._features(rows)
        leaves = [(tree.tree_, tree.tree_.apply(features)) for tree in self._trees.estimators_]
        means = np.stack([tree.value[leaf, 0, 0] for tree, leaf in leaves])
        within = np.stack([tree.impurity[leaf] for tree, leaf in leaves])
        # Impurity may come out a little below 0.
        deviation = np.sqrt(means.var(axis=0) + np.maximum(within.mean(axis=0), 0.0))
        return means.mean(axis=0), np.maximum(deviation, 1e-9)

    def _features(self, rows: Floats) -> NDArray[np.float32]:
        # Outside of all ranges, so that one split tells whether a hyperparameter is active.
        return self._encoding.features(rows, inactive=_OUTSIDE).astype(np.float32)


def fit_scales(encoding: Encoding, rows: Floats, targets: Floats) -> Scales:
    """The most probable hyperparameters of a Gaussian process.

    scikit-learn's own fit has no priors, without which a handful of observations gives absurd length scales, knows no
    length scale that several columns share, and holds an array of observations x observations x features.

    Args:
        encoding: of the space.
        rows: of shape (observations, dimensions).
        targets: of mean 0 and deviation about 1.
    """
    count = len(encoding.free)
    features = encoding.features(rows)
    problem = _Posterior(features, targets, encoding.groups, count)
    start = np.concatenate([np.full(count, np.log(0.4 * np.sqrt(count))), [np.log(1e-3), 0.0]])
    box = [_SCALE_BOX] * count + [_NOISE_BOX, _AMPLITUDE_BOX]
    found = minimize(problem, start, jac=True, method="L-BFGS-B", bounds=box, options={"maxiter": 60})
    return Scales(np.exp(found.x[:count]), float(np.exp(found.x[count])), float(np.exp(found.x[count + 1])))


class _Posterior:
    """Minus the logarithm of the posterior density of the scales, with its gradient."""

    def __init__(self, features: Floats, targets: Floats, groups: NDArray[np.intp], count: int) -> None:
        self._features = features
        self._targets = targets - targets.mean()
        self._groups = groups
        self._count = count
        self._scale_centre = np.sqrt(2.0) + 0.5 * np.log(max(count, 1))

    def __call__(self, logs: Floats) -> tuple[float, Floats]:
        likelihood, slope = self._likelihood(logs)
        prior, prior_slope = self._prior(logs)
        return prior - likelihood, prior_slope - slope

    def _prior(self, logs: Floats) -> tuple[float, Floats]:
        count = self._count
        centres = np.concatenate([np.full(count, self._scale_centre), [_NOISE_CENTRE, 0.0]])
        spreads = np.concatenate([np.full(count, _SCALE_SPREAD), [_NOISE_SPREAD, _AMPLITUDE_SPREAD]])
        standard = (logs - centres) / spreads
        # Of a log-normal density over the length scales themselves, hence the sum of their logarithms.
        return float(0.5 * standard @ standard + logs[:count].sum()), standard / spreads + (
            np.arange(count + 2) < count
        )

    def _likelihood(self, logs: Floats) -> tuple[float, Floats]:
        count = self._count
        noise, amplitude = np.exp(logs[count]), np.exp(logs[count + 1])
        scaled = self._features / np.exp(logs[:count])[self._groups]
        distance = _ROOT5 * cdist(scaled, scaled)
        decay = np.exp(-distance)
        kernel = amplitude * (1.0 + distance + distance**2 / 3.0) * decay
        covariance = kernel + noise * np.eye(len(kernel))
        try:
            factor = cholesky(covariance, lower=True)
        except LinAlgError:
            return -1e10, np.zeros_like(logs)
        weights = cho_solve((factor, True), self._targets)
        inverse = cho_solve((factor, True), np.eye(len(kernel)))
        value = -0.5 * self._targets @ weights - np.log(np.diag(factor)).sum()
        outer = np.outer(weights, weights) - inverse
        pull = outer * (amplitude * 5.0 / 3.0 * (1.0 + distance) * decay)
        # The sum over pairs of pull * (x - x')^2, without an array of pairs x features.
        spread = 2.0 * (pull.sum(axis=1) @ scaled**2) - 2.0 * np.einsum("ic,ic->c", scaled, pull @ scaled)
        lengths = np.bincount(self._groups, weights=spread, minlength=count)
        slope = 0.5 * np.concatenate([lengths, [noise * np.trace(outer), np.sum(outer * kernel)]])
        return float(value), slope
