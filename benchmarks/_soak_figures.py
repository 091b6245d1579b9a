"""What samples over a long search say: does anything grow?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks._soak_samples import Sample

WARM_UP = 0.1
"""Share of the trials at the beginning that does not count: caches fill, Java compiles."""

LEAST_SAMPLES = 6


@dataclass(frozen=True)
class Bound:
    """How much something may grow for every 100 trials.

    Attributes:
        name: of the figure.
        slope: at most, per 100 trials.
        why: where it is not zero.
    """

    name: str
    slope: float
    why: str = ""


BOUNDS = (
    Bound("driver RSS MB", 20.0, "Keras keeps names and functions of every model that it built"),
    Bound("driver threads", 1.0),
    Bound("driver descriptors", 2.0),
    Bound("driver sockets", 1.0),
    Bound("processes", 0.5),
    Bound("supervisor RSS MB", 1.0),
    Bound("supervisor descriptors", 1.0),
    Bound("supervisor threads", 0.5),
    Bound("JVM RSS MB", 40.0, "Java fills its heap before it collects"),
    Bound("JVM threads", 2.0),
    Bound("JVM descriptors", 3.0),
    Bound("temporary files", 2.0),
    Bound("temporary MB", 0.5),
    Bound("state files", 510.0, "a trial leaves a directory with its specification, best state, manifest and mark"),
    Bound("state MB", 10.0, "the best state of each trial is kept"),
    Bound("journal MB", 2.0, "it is the record of the search, and grows with it"),
)


@dataclass(frozen=True)
class Growth:
    """How one figure went.

    Attributes:
        bound: what it was compared with.
        first: median over the first third of the trials, the warm-up apart; `last`: over the last third.
        slope: per 100 trials, by least squares.
    """

    bound: Bound
    first: float
    last: float
    slope: float

    @property
    def is_flat(self) -> bool:
        """Whether it stayed below its bound."""
        return self.slope <= self.bound.slope


def growths(samples: Sequence[Sample], bounds: Sequence[Bound] = BOUNDS) -> list[Growth]:
    """What became of each figure that was looked at often enough."""
    found = []
    most = max((sample.trials for sample in samples), default=0)
    warm = [sample for sample in samples if sample.trials > WARM_UP * most]
    for bound in bounds:
        points = [(float(sample.trials), sample.values[bound.name]) for sample in warm if bound.name in sample.values]
        if len(points) >= LEAST_SAMPLES:
            third = len(points) // 3
            first, last = (statistics.median(value for _, value in part) for part in (points[:third], points[-third:]))
            found.append(Growth(bound, first, last, 100 * slope(points)))
    return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line through the points by least squares; 0 where they are all in one place."""
    if len({x for x, _ in points}) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*points, strict=True)).slope
