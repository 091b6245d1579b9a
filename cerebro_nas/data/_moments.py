"""Statistics of one column that can be computed by parts and merged: count, range, mean and variance, classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np

MAX_CLASSES = 10_000
_MAX_EXAMPLES = 3
Key = str | int | float


@dataclass
class ColumnPart:
    """What one part of the rows says of a column. `merge` combines parts in any grouping.

    Attributes:
        count: values per entry of the last axis; `mean` and `m2` (sum of squared deviations) are per entry.
        minimum: over all elements; `maximum` likewise.
        integral: whether every element is a whole number.
        onehot: whether every row has a single one and zeros.
        shapes: rows of each shape, by the shape as text (`"8,8"`), with the place of the first.
        classes: rows of each value, as (value, rows); None where there are too many values.
        problems: what is wrong, as kind -> [rows, places].
    """

    count: int = 0
    mean: list[float] = field(default_factory=list)
    m2: list[float] = field(default_factory=list)
    minimum: float = math.inf
    maximum: float = -math.inf
    integral: bool = True
    onehot: bool = True
    shapes: dict[str, list[Any]] = field(default_factory=dict)
    classes: list[tuple[Key, int]] | None = field(default_factory=list)
    problems: dict[str, list[Any]] = field(default_factory=dict)

    def add_problem(self, kind: str, rows: int, places: list[str]) -> None:
        """Count rows that cannot be used."""
        known = self.problems.setdefault(kind, [0, []])
        known[0] += rows
        known[1] = (known[1] + places)[:_MAX_EXAMPLES]

    def add_shape(self, shape: tuple[int, ...], rows: int, place: str) -> None:
        """Count rows of a shape."""
        known = self.shapes.setdefault(",".join(map(str, shape)), [0, place])
        known[0] += rows

    def add_values(self, values: np.ndarray[Any, Any], axis: int) -> None:
        """Take in the elements of whole rows, of which `axis` neighbours are the entries of the last axis."""
        if not values.size:
            return
        wide = np.asarray(values, dtype=np.float64).reshape(-1, axis)
        mean = wide.mean(axis=0)
        part = ColumnPart(
            count=len(wide),
            mean=mean.tolist(),
            m2=np.square(wide - mean).sum(axis=0).tolist(),
            minimum=float(wide.min()),
            maximum=float(wide.max()),
            integral=values.dtype.kind in "biu" or bool((np.floor(wide) == wide).all()),
        )
        self._merge_moments(part)

    def add_classes(self, counts: Mapping[Key, int]) -> None:
        """Count values."""
        if self.classes is None:
            return
        found = dict(self.classes)
        for value, rows in counts.items():
            found[value] = found.get(value, 0) + rows
        self.classes = None if len(found) > MAX_CLASSES else list(found.items())

    def merge(self, other: ColumnPart) -> None:
        """Take in another part."""
        self._merge_moments(other)
        for text, (rows, place) in other.shapes.items():
            known = self.shapes.setdefault(text, [0, place])
            known[0] += rows
        for kind, (rows, places) in other.problems.items():
            self.add_problem(kind, rows, places)
        self.onehot = self.onehot and other.onehot
        if other.classes is None:
            self.classes = None
        else:
            self.add_classes(dict(other.classes))

    def _merge_moments(self, other: ColumnPart) -> None:
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self.integral = self.integral and other.integral
        if not other.count or (self.count and len(self.mean) != len(other.mean)):
            # Parts of different shapes are an error that `shapes` shows; their moments mean nothing together.
            return
        if not self.count:
            self.count, self.mean, self.m2 = other.count, list(other.mean), list(other.m2)
            return
        total = self.count + other.count
        mean, theirs = np.asarray(self.mean), np.asarray(other.mean)
        delta = theirs - mean
        # Chan's rule: no sum of squares is ever subtracted from another, so nothing cancels.
        m2 = np.asarray(self.m2) + np.asarray(other.m2) + np.square(delta) * (self.count * other.count / total)
        self.mean = (mean + delta * (other.count / total)).tolist()
        self.m2 = m2.tolist()
        self.count = total

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ColumnPart:
        """Rebuild from `to_dict`."""
        classes = raw["classes"]
        return cls(**{**raw, "classes": None if classes is None else [(value, rows) for value, rows in classes]})
