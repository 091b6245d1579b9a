"""Statistics of a column that can be computed in parts and merged: exact counts, stable means and variances.

Means and squared deviations merge by the method of Chan, Golub and LeVeque (1979), in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_CLASSES = 10_000
# Distinct words of a partition that are kept; the rarest go, which cannot be among the most frequent of all but by the
# smallest of chances.
_MAX_WORDS = 200_000


@dataclass
class Moments:
    """Numbers of a tensor column. Per entry of the last axis: count, mean, and sum of squared deviations.

    Attributes:
        integral: whether every number is a whole one.
        onehot: whether every row has a single 1 and zeros else; `sums` then counts the classes.
    """

    rows: int = 0
    count: int = 0
    minimum: float = np.inf
    maximum: float = -np.inf
    mean: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)
    integral: bool = True
    onehot: bool = True
    sums: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, values: NDArray[Any]) -> Moments:
        """Compute for an array of shape (n, ...), n > 0."""
        table = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1).astype(np.float64)
        mean = table.mean(axis=0)
        zeros_and_ones = bool(((table == 0) | (table == 1)).all())
        return cls(
            rows=len(values),
            count=len(table),
            minimum=float(table.min()),
            maximum=float(table.max()),
            mean=mean.tolist(),
            squares=((table - mean) ** 2).sum(axis=0).tolist(),
            integral=bool((table == np.floor(table)).all()),
            onehot=values.ndim == 2 and zeros_and_ones and bool((table.sum(axis=1) == 1).all()),
            sums=table.sum(axis=0).tolist(),
        )

    def merge(self, other: Moments) -> Moments:
        """The statistics of both parts together."""
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        mine, theirs = np.asarray(self.mean), np.asarray(other.mean)
        delta = theirs - mine
        # No sum of squares is subtracted from another, so nothing cancels.
        squares = np.asarray(self.squares) + np.asarray(other.squares) + delta**2 * (self.count * other.count / count)
        return Moments(
            rows=self.rows + other.rows,
            count=count,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            mean=(mine + delta * (other.count / count)).tolist(),
            squares=squares.tolist(),
            integral=self.integral and other.integral,
            onehot=self.onehot and other.onehot,
            sums=(np.asarray(self.sums) + np.asarray(other.sums)).tolist(),
        )

    @property
    def variance(self) -> tuple[float, ...]:
        """Population variance per entry of the last axis."""
        return tuple(float(s) / self.count for s in self.squares) if self.count else ()


@dataclass
class Classes:
    """Rows of each distinct value of a scalar column; `overflow` once there are too many to be classes."""

    counts: dict[Any, int] = field(default_factory=dict)
    overflow: bool = False

    def add(self, values: NDArray[Any]) -> None:
        """Count these values."""
        found, counts = np.unique(values.astype(str) if values.dtype == object else values, return_counts=True)
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            self._add(value, count)

    def merge(self, other: Classes) -> Classes:
        """Both together."""
        merged = Classes(dict(self.counts), self.overflow or other.overflow)
        for value, count in other.counts.items():
            merged._add(value, count)
        return merged

    def sorted(self) -> list[tuple[Any, int]]:
        """Values with their rows, in sorted order; empty after an overflow."""
        return [] if self.overflow else sorted(self.counts.items())

    def _add(self, value: Any, count: int) -> None:
        if self.overflow:
            return
        self.counts[value] = self.counts.get(value, 0) + count
        if len(self.counts) > MAX_CLASSES:
            self.counts, self.overflow = {}, True


@dataclass
class Words:
    """How often each word occurs, and in how many rows; `longest` is the most words in a row.

    Attributes:
        counts: by word, how often it occurs and how many rows have it; of too many words the rarest are left out.
    """

    counts: dict[str, list[int]] = field(default_factory=dict)
    longest: int = 0
    rows: int = 0

    def add(self, texts: list[list[str]]) -> None:
        """Count the words of these rows."""
        self.rows += len(texts)
        for words in texts:
            self.longest = max(self.longest, len(words))
            for word in words:
                self.counts.setdefault(word, [0, 0])[0] += 1
            for word in set(words):
                self.counts[word][1] += 1
        self._prune()

    def merge(self, other: Words) -> Words:
        """Both together, in this one: a copy for each partition would take as long as all those before."""
        self.longest, self.rows = max(self.longest, other.longest), self.rows + other.rows
        for word, (times, rows) in other.counts.items():
            known = self.counts.setdefault(word, [0, 0])
            known[0], known[1] = known[0] + times, known[1] + rows
        self._prune()
        return self

    def most_frequent(self, count: int) -> list[str]:
        """At most so many words: the most frequent first, those of equal frequency in alphabetical order."""
        return sorted(self.counts, key=lambda word: (-self.counts[word][0], word))[:count]

    def keep(self, count: int) -> None:
        """Keep so many words at most, the most frequent."""
        if len(self.counts) > count:
            self.counts = {word: self.counts[word] for word in self.most_frequent(count)}

    def _prune(self) -> None:
        if len(self.counts) > _MAX_WORDS:
            self.keep(_MAX_WORDS // 2)
