"""The failure that is a candidate's own."""

from __future__ import annotations

from cerebro_nas.errors import CerebroNasError
from cerebro_nas.errors import CorruptStateError


class CandidateError(CerebroNasError, RuntimeError):
    """A candidate cannot go on: it fails, and the search goes on.

    Attributes:
        reason: one word: `nan_loss`, `oom`, `build_error` or `error` (a step failed).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnusableStateError(CorruptStateError):
    """The state that a unit was to start from cannot be restored; another copy of it, or an older one, may serve."""
