"""How the train units of a trial divide into epochs, each of which ends with an evaluation."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


class Legs:
    """Where epochs begin and end, counted in train units from the start of the trial.

    Args:
        num_train: train units of a pass over all shards.
        epochs: number of epochs.
        lengths: train units of each, empty: a pass.
    """

    def __init__(self, num_train: int, epochs: int, lengths: tuple[int, ...] = ()) -> None:
        self._pass = num_train
        self._epochs = epochs
        self._ends = tuple(accumulate(lengths))

    def at(self, generation: int) -> int:
        """The epoch to which the train unit after so many belongs; beyond the last one there are more of no length."""
        if not self._ends:
            return generation // self._pass
        return bisect_right(self._ends, generation)

    def start(self, epoch: int) -> int:
        """Train units before an epoch."""
        if not self._ends:
            return epoch * self._pass
        return self._ends[epoch - 1] if epoch else 0

    @property
    def total(self) -> int:
        """Train units of all epochs."""
        return self._ends[-1] if self._ends else self._epochs * self._pass

    def pass_start(self, generation: int) -> int:
        """Train units before the pass over all shards in which the unit after so many is."""
        return generation - generation % self._pass


def fit_passes(lengths: Sequence[int], num_train: int) -> bool:
    """Whether epochs of these lengths have a train unit or more each, none of them in two passes over all shards."""
    starts = accumulate(lengths, initial=0)
    return all(0 < length <= num_train - start % num_train for start, length in zip(starts, lengths, strict=False))


def legs_between(start: int, end: int, num_train: int) -> tuple[int, ...]:
    """Lengths of the epochs from `start` to `end` train units: they end at the ends of passes, and at `end`.

    Args:
        start: train units done.
        end: train units in all.
        num_train: train units of a pass over all shards.
    """
    borders = [*range(start - start % num_train + num_train, end, num_train), end]
    return tuple(after - before for before, after in zip([start, *borders], borders, strict=False) if after > before)
