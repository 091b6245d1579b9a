"""Rows that cannot be used, and how they are told."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXAMPLES = 5
_LARGEST = float(np.finfo(np.float32).max)


@dataclass
class Faults:
    """Rows of a column that cannot be used, by kind, with the positions of the first few."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[int]] = field(default_factory=dict)

    def add(self, kind: str, rows: NDArray[Any]) -> None:
        """Count these rows (positions in their partition)."""
        if len(rows):
            self.counts[kind] = self.counts.get(kind, 0) + len(rows)
            known = self.examples.setdefault(kind, [])
            known.extend(int(row) for row in rows[: _EXAMPLES - len(known)])

    def merge(self, other: Faults, shift: int = 0) -> None:
        """Take in those of another part, whose rows begin at `shift`."""
        for kind, count in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
            known = self.examples.setdefault(kind, [])
            known.extend(row + shift for row in other.examples[kind][: _EXAMPLES - len(known)])

    def told(self, column: str, kind: str, rows: int, hint: str = "") -> str:
        """Put one kind into words.

        Args:
            column: name of the column.
            kind: one of `counts`.
            rows: how many rows there are altogether.
            hint: comes behind their number.
        """
        count, examples = self.counts[kind], self.examples[kind]
        return f"column {column!r}: {kind} in {count} of {rows} rows{hint}, for example rows {examples}"


def usable(values: NDArray[Any], *, wide: bool = False) -> NDArray[np.bool_]:
    """Say of each number whether it is one: neither NaN nor infinite.

    Args:
        values: numbers of any type.
        wide: whether they keep their range as float64; otherwise they become float32, which has no number as large.
    """
    if values.dtype.kind != "f":
        return np.ones(values.shape, dtype=np.bool_)
    found: NDArray[np.bool_]
    if wide or values.dtype != np.float64:
        found = np.isfinite(values)
    else:
        # Of NaN it is false as well.
        found = np.abs(values) <= _LARGEST
    return found
