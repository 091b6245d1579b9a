"""What a model says of rows that were measured in parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

MOST_NUMBERS = 1 << 17
"""Numbers of a part's states at most: a megabyte, which the driver gets from each part."""


@dataclass(frozen=True)
class Part:
    """Some rows, measured.

    Attributes:
        rows: how many.
        found: loss and metrics over them, by name.
        sums: states of those metrics that have states which add up.
    """

    rows: int
    found: dict[str, float]
    sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def joined(parts: Iterable[Part]) -> Part | None:
    """All parts as one, its metrics still means over the rows; None if there is no part. Holds two parts at a time."""
    whole: Part | None = None
    for part in parts:
        whole = part if whole is None else _join(whole, part)
    return whole


def measured(frames: Iterable[tuple[int, dict[str, float]]], model: keras.Model) -> Part | None:
    """A part of several frames: `frames` evaluates one after the other, and gives its rows and what was found."""
    from cerebro_nas.worker import metric_sums

    # While the metrics still are as the evaluation of the frame has left them.
    parts = (Part(rows, found, metric_sums(model, MOST_NUMBERS)) for rows, found in frames)
    whole = joined(parts)
    return None if whole is None else settled(model, whole)


def settled(model: keras.Model, part: Part) -> Part:
    """The part with its metrics as they follow from its sums."""
    from cerebro_nas.worker import metrics_of_sums

    return Part(part.rows, {**part.found, **metrics_of_sums(model, part.sums)}, part.sums)


def _join(one: Part, other: Part) -> Part:
    rows = one.rows + other.rows
    found = {name: (value * one.rows + other.found[name] * other.rows) / rows for name, value in one.found.items()}
    return Part(rows, found, {name: one.sums[name] + other.sums[name] for name in one.sums if name in other.sums})
