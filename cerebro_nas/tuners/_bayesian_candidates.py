"""Where Bayesian optimisation looks: random configurations and neighbours of good ones, thousands at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import erfcx
from scipy.special import log_ndtr

from cerebro_nas.tuners._branches import Branch
from cerebro_nas.tuners._encoding import Bools
from cerebro_nas.tuners._encoding import Dimension
from cerebro_nas.tuners._encoding import Encoding
from cerebro_nas.tuners._encoding import Floats

# Neighbours are of so many rows at a time, in so many rounds of steps three times smaller each.
_PARENTS = 10
_ROUNDS = 5
_WIDEST = 0.3
# Rows that are kept: the first of them that is new is proposed.
_SHORT_LIST = 100
_LOG_ROOT_2PI = 0.5 * float(np.log(2.0 * np.pi))


class Search:
    """Looks for the rows of the highest acquisition.

    Args:
        encoding: of the space.
        tried: rows that are out of the question.
        acquisition: of many rows at once, higher is better.
        rng: source of chance.
        branch: where to look; None: everywhere.
    """

    def __init__(
        self,
        encoding: Encoding,
        tried: Floats,
        acquisition: Callable[[Floats], Floats],
        rng: np.random.Generator,
        branch: Branch | None = None,
    ) -> None:
        self._encoding = encoding
        self._branch = branch
        self._tried = set(_keys(tried))
        self._acquisition = acquisition
        self._rng = rng

    def run(self, good: Floats, count: int) -> Floats:
        """The best rows that were found, best first.

        Args:
            good: rows whose neighbourhoods are looked at, best first.
            count: how many rows to look at in the first round.
        """
        rng, encoding = self._rng, self._encoding
        rows, worth = self._score(sample(encoding, good, count, rng, self._branch))
        for step in range(1, _ROUNDS + 1):
            if len(rows):
                near = neighbours(encoding, rows[:_PARENTS], max(1, count // 10), _WIDEST / 3.0**step, rng)
                found, its_worth = self._score(near)
                rows, worth = _sorted(np.concatenate([rows, found]), np.concatenate([worth, its_worth]))
        return rows[:_SHORT_LIST]

    def _score(self, rows: Floats) -> tuple[Floats, Floats]:
        rows = rows[[key not in self._tried for key in _keys(rows)]]
        if self._branch is not None:
            rows = rows[self._encoding.within(rows, self._branch)]
        return _sorted(rows, self._acquisition(rows)) if len(rows) else (rows, np.empty(0))


def sample(
    encoding: Encoding, good: Floats, count: int, rng: np.random.Generator, branch: Branch | None = None
) -> Floats:
    """Random rows, and neighbours of good ones.

    Args:
        encoding: of the space.
        good: rows whose neighbourhoods are looked at, best first; of those in the branch, if there is one.
        count: how many rows; some fewer within a branch.
        rng: source of chance.
        branch: where they are to be; None: anywhere.
    """
    everywhere = rng.random((count - count // 2, len(encoding.dimensions)))
    if branch is None:
        near = neighbours(encoding, good[:_PARENTS], count // 2, _WIDEST, rng)
        return np.concatenate([encoding.settle(everywhere), near])
    encoding.fix(everywhere, branch)
    rows = encoding.settle(everywhere)
    inside = good[encoding.within(good, branch)][:_PARENTS]
    if len(inside):
        rows = np.concatenate([rows, neighbours(encoding, inside, count // 2, _WIDEST, rng)])
    return rows[encoding.within(rows, branch)]


def _sorted(rows: Floats, worth: Floats) -> tuple[Floats, Floats]:
    order = np.argsort(-worth, kind="stable")[:_SHORT_LIST]
    return rows[order], worth[order]


def _keys(rows: Floats) -> list[bytes]:
    """What equal configurations have in common."""
    return [row.tobytes() for row in np.nan_to_num(rows, nan=-1.0).round(9)]


def neighbours(encoding: Encoding, parents: Floats, count: int, width: float, rng: np.random.Generator) -> Floats:
    """Rows near to others: a few hyperparameters of each differ.

    Numbers and ordered choices move by a normal step, by one value at least; unordered choices are drawn anew.
    Hyperparameters that become active by it are drawn at random.

    Args:
        encoding: of the space.
        parents: rows to begin with.
        count: how many; parents are used in turn.
        width: the largest deviation of a step, in units; the smallest is a tenth of it.
        rng: source of chance.
    """
    shape = (count, len(encoding.dimensions))
    begun = parents[np.arange(count) % len(parents)]
    fresh = rng.random(shape)
    absent = np.isnan(begun)
    units = np.where(absent, fresh, begun)
    chosen = _choose(~absent, encoding, rng)
    steps = rng.normal(size=shape) * width * 10.0 ** -rng.random((count, 1))
    for place in encoding.free:
        item = encoding.dimensions[place]
        here = np.flatnonzero(chosen[:, place])
        units[here, place] = (
            fresh[here, place] if item.unordered else _step(item, units[here, place], steps[here, place])
        )
    return encoding.settle(units)


def _step(item: Dimension, units: Floats, steps: Floats) -> Floats:
    moved = 1.0 - np.abs(1.0 - np.abs(units + steps) % 2.0)  # reflected at the ends
    if item.grid is None:
        return moved
    before, after = item.places(units), item.places(moved)
    direction = np.where(steps < 0, -1, 1)
    outside = (before + direction < 0) | (before + direction >= item.size)
    after = np.where(after == before, before + np.where(outside, -direction, direction), after)
    return item.grid[after]


def _choose(active: Bools, encoding: Encoding, rng: np.random.Generator) -> Bools:
    """Which hyperparameters change: always one, and each of the others with a probability that differs by row."""
    free = np.zeros(active.shape[1], bool)
    free[encoding.free] = True
    lots = np.where(active & free, rng.random(active.shape), np.inf)
    share = rng.random((len(active), 1)) ** 2
    return np.asarray(np.isfinite(lots) & (lots <= np.maximum(lots.min(axis=1, keepdims=True), share)), bool)


def expected_improvement(mean: Floats, deviation: Floats, best: float, xi: float) -> Floats:
    """The logarithm of the expected improvement over `best - xi`.

    The logarithm tells points apart where the improvement itself is 0 in floating point. Sources: Jones, Schonlau,
    Welch, "Efficient global optimization of expensive black-box functions" (1998); Ament, Daulton, Eriksson, Balandat,
    Bakshy, "Unexpected improvements to expected improvement for Bayesian optimization" (2023).

    Args:
        mean: of the model, lower is better.
        deviation: of the model.
        best: lowest mean known.
        xi: by how much to improve at least.
    """
    z = (best - xi - mean) / deviation
    near = np.maximum(z, -1.0)
    log_near = np.log(np.exp(-0.5 * near**2 - _LOG_ROOT_2PI) + near * np.exp(log_ndtr(near)))
    far = np.clip(z, -1e6, -1.0)
    rest = 1.0 + far * erfcx(-far / np.sqrt(2.0)) * np.sqrt(np.pi / 2.0)
    log_far = -0.5 * z**2 - _LOG_ROOT_2PI + np.log(np.maximum(rest, 1e-13))
    return np.asarray(np.log(deviation) + np.where(z > -1.0, log_near, log_far), float)
