"""Kernel densities of configurations: numbers and choices mixed, each hyperparameter with a bandwidth of its own.

Sources: Aitchison, Aitken, "Multivariate binary discrimination by the kernel method" (1976), for choices; Scott,
"Multivariate Density Estimation" (1992), for bandwidths.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def impute(rows: Floats, sizes: Floats, generator: np.random.Generator) -> Floats:
    """Rows in which every hyperparameter has a value.

    What is missing (NaN) is taken from another row, drawn from those that have it; where none has, it is random.

    Args:
        rows: of shape (rows, hyperparameters).
        sizes: number of values of each unordered choice, 0 for numbers.
        generator: what it is drawn with.
    """
    full = rows.copy()
    for column, size in zip(full.T, sizes, strict=True):
        absent = np.isnan(column)
        if absent.all():
            column[:] = generator.integers(int(size), size=len(column)) if size else generator.random(len(column))
        elif absent.any():
            column[absent] = generator.choice(column[~absent], int(absent.sum()))
    return full


class Density:
    """Product kernels around rows: Gaussian for numbers in [0, 1], Aitchison and Aitken's for unordered choices.

    Args:
        rows: of shape (rows, hyperparameters), complete; an unordered choice is the number of its value.
        sizes: number of values of each unordered choice, 0 for numbers.
        least: bandwidth at least.
    """

    def __init__(self, rows: Floats, sizes: Floats, least: float) -> None:
        self.rows = rows
        self.sizes = sizes
        shrink = 1.06 * len(rows) ** (-1 / (4 + rows.shape[1]))
        spread = np.array([_spread(column, int(size)) for column, size in zip(rows.T, sizes, strict=True)])
        self.bandwidths = np.maximum(shrink * spread, least)
        choices = sizes > 0
        # Beyond that the other values would be likelier than the one that was seen.
        self.bandwidths[choices] = np.minimum(self.bandwidths[choices], 1 - 1 / sizes[choices])

    def log(self, points: Floats) -> Floats:
        """Logarithm of the density at each point, over the hyperparameters that are not NaN there."""
        total = np.zeros((len(points), len(self.rows)))
        for place, width in enumerate(self.bandwidths):
            at = points[:, place, None]
            total += np.where(np.isnan(at), 0.0, self._log_kernel(at, place, float(width)))
        peak: Floats = total.max(axis=1)
        logs: Floats = np.log(np.exp(total - peak[:, None]).mean(axis=1))
        return peak + logs

    def sample(self, number: int, stretch: float, generator: np.random.Generator) -> Floats:
        """Points around rows drawn by chance, with the bandwidths of numbers multiplied by `stretch`."""
        around = self.rows[generator.integers(len(self.rows), size=number)]
        columns = [
            _resampled(column, int(size), width, generator) if size else _near(column, width * stretch, generator)
            for column, size, width in zip(around.T, self.sizes, self.bandwidths, strict=True)
        ]
        return np.column_stack(columns)

    def _log_kernel(self, at: Floats, place: int, width: float) -> Floats:
        rows = self.rows[None, :, place]
        size = self.sizes[place]
        if size:
            return np.log(np.where(at == rows, 1 - width, width / (size - 1)))
        distances: Floats = (at - rows) / width
        return -0.5 * distances**2 - math.log(width * math.sqrt(2 * math.pi))


def _spread(column: Floats, size: int) -> float:
    if not size:
        return float(column.std())
    # The variance of a choice: how probable it is that two rows differ.
    shares = np.bincount(column.astype(int), minlength=size) / len(column)
    return float(np.sqrt(1 - (shares**2).sum()))


def _near(column: Floats, width: float, generator: np.random.Generator) -> Floats:
    """Normal around each number, cut off at 0 and 1."""
    points = np.full(len(column), -1.0)
    while (outside := (points < 0) | (points > 1)).any():
        points[outside] = generator.normal(column[outside], width)
    return points


def _resampled(column: Floats, size: int, width: float, generator: np.random.Generator) -> Floats:
    again = generator.random(len(column)) < width
    return np.where(again, generator.integers(size, size=len(column)), column)
