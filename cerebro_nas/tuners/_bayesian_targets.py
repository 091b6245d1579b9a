"""Losses as a model likes them: standardised, nearly normal, failures at the bad end.

Sources: Yeo, Johnson, "A new family of power transformations to improve normality or symmetry" (2000); Cowen-Rivers
and others, "HEBO: pushing the limits of sample-efficient hyper-parameter optimisation" (2022) for its use here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import yeojohnson
from scipy.stats import yeojohnson_llf

from cerebro_nas.tuners._encoding import Floats

# A trial that diverged is this many times as far from the median as the good ones are, and hardly more.
_FAR = 3.0
_POWERS = np.linspace(-2.0, 4.0, 25)


def targets(losses: Sequence[float | None]) -> Floats:
    """Losses in the same order, of mean 0 and deviation 1, as little skewed as a power transformation makes them.

    Bad outliers are drawn in first: a training that diverged says that its configuration is bad, and its loss of 1e9
    would leave no difference between all others. Failed trials count as the worst that was seen.

    Args:
        losses: lower is better; None: failed. At least one is known.
    """
    known = np.array([loss for loss in losses if loss is not None], float)
    found = _standard(_normal(_drawn_in(known)))
    filled = np.full(len(losses), found.max())
    filled[[loss is not None for loss in losses]] = found
    return filled


def _drawn_in(known: Floats) -> Floats:
    middle = float(np.median(known))
    # Where most are equal, the tenth below the median tells nothing.
    spread = middle - float(np.quantile(known, 0.1)) or float(np.abs(known - middle).mean()) or 1.0
    units = (known - middle) / spread
    return np.where(units > _FAR, _FAR + np.log1p(np.maximum(units - _FAR, 0.0)), units)


def _normal(units: Floats) -> Floats:
    if np.ptp(units) == 0.0:
        return units
    units = _standard(units)
    power = max(_POWERS, key=lambda power: float(yeojohnson_llf(power, units)))
    return np.asarray(yeojohnson(units, lmbda=power), float)


def _standard(values: Floats) -> Floats:
    deviation = float(values.std())
    return np.asarray((values - values.mean()) / (deviation if deviation > 0.0 else 1.0), float)
