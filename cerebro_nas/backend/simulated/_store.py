"""The store of a simulated cluster: names of states, and nothing else."""

from __future__ import annotations

import itertools
from collections import deque

_KEPT = 4


class SimulatedStore:
    """Remembers which states were written; of each trial the last few, so that it does not grow with a long search.

    Give one store to several backends, in turn, to simulate a search that is resumed.
    """

    def __init__(self) -> None:
        self._names: dict[str, deque[str]] = {}
        self._writes = itertools.count()

    def write(self, trial: str, generation: int) -> str:
        """Write a state and give its name."""
        name = f"{generation:06d}-{next(self._writes):08x}"
        self._names.setdefault(trial, deque(maxlen=_KEPT)).append(name)
        return name

    def has(self, trial: str, name: str) -> bool:
        """Whether a state is there and whole."""
        return name in self._names.get(trial, ())

    def lose(self, trial: str, name: str) -> None:
        """Damage or remove a state: it cannot be read any more."""
        self._names[trial].remove(name)
