"""Medians with their quartiles, and one-sided tests over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.05


@dataclass(frozen=True)
class Summary:
    """Of some numbers: the median, and the quartiles around it."""

    median: float
    low: float
    high: float
    count: int


def summarise(numbers: Sequence[float]) -> Summary:
    """Median and quartiles."""
    low, median, high = (float(value) for value in np.quantile(np.asarray(numbers), [0.25, 0.5, 0.75]))
    return Summary(median, low, high, len(numbers))


def p_less(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How likely numbers so much smaller than theirs are by chance (Mann and Whitney's test, one-sided)."""
    if len(set(ours) | set(theirs)) == 1:
        return 0.5  # the same everywhere; the test is not defined
    return float(stats.mannwhitneyu(ours, theirs, alternative="less").pvalue)


def p_less_paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> float:
    """The same for numbers that belong together by seed (Wilcoxon's signed-rank test, one-sided); NaN: none do."""
    differences = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if not differences:
        return math.nan
    if not any(differences):
        return 0.5
    # Where nothing differs is no evidence for anybody: half of it counts for each.
    return float(stats.wilcoxon(differences, alternative="less", zero_method="zsplit").pvalue)


def p_greater(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How likely numbers so much greater than theirs are by chance."""
    return p_less(theirs, ours)


def mean_of_last(numbers: Sequence[float | None], count: int) -> float:
    """Mean of the last so many, without those that are None; NaN if there is none."""
    known = [number for number in numbers[-count:] if number is not None]
    return sum(known) / len(known) if known else math.nan
