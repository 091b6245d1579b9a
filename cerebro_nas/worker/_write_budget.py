"""What writing states may cost: a share of the training's time."""

from __future__ import annotations

import threading

SHARE = 0.03
"""Of the seconds that training takes, what writing may take from it."""

WAIT_SHARE = 0.05
"""Of the seconds that a write waits for the disk, what it takes from the training beside it.

A thread that waits holds neither a core nor the interpreter; what is left is the competition for memory and for the
interpreter at each wake-up. Measured beside a computation on one core, beyond the processor time of the writes: 0.09,
-0.10 and 0.05 of the waiting, for writes of 4 kB, 1 MB and 12 MB."""

_FIXED_SECONDS = 0.001
_BYTES_PER_SECOND = 1e9
_MEMORY = 0.7


class WriteBudget:
    """A bucket that training fills and writing empties. Safe between threads.

    What must be written anyway may leave it with a debt, and then nothing else is written before that is earned.

    Args:
        share: what a second of training earns.
    """

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._slowness = 1.0

    def earn(self, seconds: float) -> None:
        """Training has taken so many seconds more."""
        with self._lock:
            self._seconds += self._share * max(0.0, seconds)

    def allows(self, size: int) -> bool:
        """Whether a state of so many bytes can be paid for."""
        with self._lock:
            return self._slowness * _guess(size) <= self._seconds

    def spend(self, size: int, busy: float, waited: float) -> None:
        """A state of so many bytes took the writing thread so long, busy and waiting for the disk."""
        cost = busy + WAIT_SHARE * waited
        with self._lock:
            self._seconds -= cost
            # Kept as a factor of the guess, as one figure serves small states and large ones.
            self._slowness = _MEMORY * self._slowness + (1 - _MEMORY) * cost / _guess(size)


def _guess(size: int) -> float:
    return _FIXED_SECONDS + size / _BYTES_PER_SECOND
