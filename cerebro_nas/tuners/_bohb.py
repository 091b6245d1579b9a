"""BOHB: successive halving of configurations that a model of the good ones proposes."""

from __future__ import annotations

from typing import Any

import numpy as np

from cerebro_nas.tuners._asha import AshaOracle
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import check_number
from cerebro_nas.tuners._encoding import Encoding
from cerebro_nas.tuners._hyperband import HyperbandOracle
from cerebro_nas.tuners._kde import Density
from cerebro_nas.tuners._kde import Floats
from cerebro_nas.tuners._kde import impute
from cerebro_nas.tuners._rungs import RungedOracle
from cerebro_nas.tuners._rungs import ranked
from cerebro_nas.tuners._stages import Values

# The paper asks for one more than there are hyperparameters, which in spaces of architectures comes too late.
_POINTS_AT_MOST = 12


class _ModelledOracle(RungedOracle):
    """Rungs whose new trials are proposed by a model of those that did well.

    Source: Falkner, Klein, Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale" (2018). The model
    is made of the highest rung that enough trials have got to: one density of the good ones, one of the others
    (failed ones included). Points are drawn from the first, and that one is proposed at which the first is greatest
    in relation to the second. Hyperparameters that are not active in a trial get values of other trials in the model;
    those that are not active in a point do not count there. Trials that have not got to a rung yet are ignored, but
    none is proposed twice.

    Args:
        random_fraction: probability that a trial is random.
        top_n_percent: how many in a hundred of the trials on a rung are good ones.
        num_samples: points drawn for a proposal.
        bandwidth_factor: points are drawn with bandwidths so many times those of the density.
        min_bandwidth: bandwidth at least; hyperparameters run from 0 to 1.
        min_points: good ones, and others, that a rung must have for a model; None: one more than there are
            hyperparameters, 12 at most.
        **kwargs: those of the schedule.
    """

    def __init__(
        self,
        *,
        random_fraction: float = 1 / 3,
        top_n_percent: float = 15,
        num_samples: int = 64,
        bandwidth_factor: float = 3.0,
        min_bandwidth: float = 1e-3,
        min_points: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_number("random_fraction", random_fraction, 0, 1)
        check_number("top_n_percent", top_n_percent, 1, 99)
        check_int("num_samples", num_samples, least=1)
        check_number("bandwidth_factor", bandwidth_factor, 0.1, 100)
        check_number("min_bandwidth", min_bandwidth, 1e-6, 1)
        if min_points is not None:
            check_int("min_points", min_points, least=2)
        self.random_fraction = random_fraction
        self.top_n_percent = top_n_percent
        self.num_samples = num_samples
        self.bandwidth_factor = bandwidth_factor
        self.min_bandwidth = min_bandwidth
        self.min_points = min_points

    def new_values(self) -> Values | None:
        """The most promising of some points near good trials, or random values."""
        if self._rng.random() >= self.random_fraction:
            values = self._modelled_values()
            if values is not None:
                return values
        return self.fresh_random_values()

    def _modelled_values(self) -> Values | None:
        encoding = Encoding(self.hyperparameters.space)
        split = self._split(len(encoding.free))
        if split is None:
            return None
        generator = self.generator()
        sizes = np.array([_choices(encoding, place) for place in encoding.free], float)
        good, others = (
            Density(impute(self._coded(encoding, names), sizes, generator), sizes, self.min_bandwidth)
            for names in split
        )
        points = good.sample(self.num_samples, self.bandwidth_factor, generator)
        rows = encoding.settle(_decoded(encoding, points))
        coded = _codes(encoding, rows)
        for index in np.argsort(others.log(coded) - good.log(coded), kind="stable"):
            values = encoding.values(rows[index])
            if self.is_new(values):
                return values
        return None

    def _split(self, dimensions: int) -> tuple[list[str], list[str]] | None:
        """The good trials, and the others, of the highest rung that has enough of both."""
        least = min(dimensions + 1, _POINTS_AT_MOST) if self.min_points is None else self.min_points
        if dimensions == 0:
            return None
        for _, losses in sorted(self.results().items(), reverse=True):
            if len(losses) >= 2 * least:
                order = ranked(losses)
                good = max(least, int(len(order) * self.top_n_percent / 100))
                good = min(good, len(order) - least)
                return order[:good], order[good:]
        return None

    def _coded(self, encoding: Encoding, trial_ids: list[str]) -> Floats:
        rows = [encoding.row(self.trials[name].hyperparameters.values) for name in trial_ids]
        return _codes(encoding, np.array(rows))


class BohbOracle(_ModelledOracle, HyperbandOracle):
    """Hyperband's brackets, with proposals of a model.

    See `HyperbandOracle` for the schedule (`max_resource`, `min_resource`, `factor`, `iterations`, `resource`), and
    `_ModelledOracle` for the model and its options (`random_fraction`, `top_n_percent`, `num_samples`,
    `bandwidth_factor`, `min_bandwidth`, `min_points`).
    """


class AsyncBohbOracle(_ModelledOracle, AshaOracle):
    """Asynchronous successive halving, with proposals of a model.

    See `AshaOracle` for the schedule (`max_resource`, `min_resource`, `factor`, `brackets`, `resource`), and
    `_ModelledOracle` for the model and its options, as with `BohbOracle`.
    """


def _choices(encoding: Encoding, place: int) -> int:
    item = encoding.dimensions[place]
    return item.size if item.unordered else 0


def _codes(encoding: Encoding, rows: Floats) -> Floats:
    """The free dimensions of rows, with the number of its value for each unordered choice."""
    codes = rows[:, encoding.free].copy()
    for column, place in zip(codes.T, encoding.free, strict=True):
        if encoding.dimensions[place].unordered:
            present = ~np.isnan(column)
            column[present] = encoding.dimensions[place].places(column[present])
    return codes


def _decoded(encoding: Encoding, codes: Floats) -> Floats:
    """Rows with these free dimensions."""
    rows = np.full((len(codes), len(encoding.dimensions)), 0.5)
    for column, place in zip(codes.T, encoding.free, strict=True):
        size = _choices(encoding, place)
        grid = encoding.dimensions[place].grid
        rows[:, place] = grid[column.astype(int)] if size and grid is not None else column
    return rows
