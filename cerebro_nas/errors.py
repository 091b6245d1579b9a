"""The exceptions of the project.

Every class descends from `CerebroNasError` and from the builtin a caller would expect to catch. Messages name the
argument, say what was expected, show `Received: name=value` and end with what to do.
"""

from __future__ import annotations


class CerebroNasError(Exception):
    """Base of every error raised by this package."""


class ConfigError(CerebroNasError, ValueError):
    """An argument, or the order of calls, is wrong. Raised before any work starts."""


class DataError(CerebroNasError, ValueError):
    """The data set cannot be used as asked; the message lists every problem found."""


class StoreError(CerebroNasError, OSError):
    """The store cannot be read or written."""


class CorruptStateError(StoreError):
    """A file in the store is damaged (its checksum or its structure does not match)."""


class LockedError(StoreError):
    """Another process works on the same project; the message names its host and process."""


class FencedError(StoreError):
    """Another process has taken over this project while this one worked; this one must stop."""


class ResumeMismatchError(CerebroNasError, ValueError):
    """What is to be resumed was begun with other settings; the message lists the differences."""


class BackendError(CerebroNasError, RuntimeError):
    """The backend cannot run what was asked."""


class BackendStartTimeout(BackendError, TimeoutError):
    """Workers did not register in time."""


class WorkerLostError(BackendError):
    """A worker process disappeared and could not be replaced."""


class ProtocolError(BackendError):
    """A message does not follow the control protocol."""


class AuthenticationError(BackendError):
    """A peer did not prove that it knows the secret of this search."""


class BuildError(CerebroNasError, ValueError):
    """A candidate architecture cannot be built, or is larger than `max_model_size`.

    Attributes:
        reason: `"invalid_graph"` or `"oversized"`.
        parameters: number of parameters, where the model could be measured.
    """

    def __init__(self, message: str, reason: str = "invalid_graph", parameters: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.parameters = parameters


class UnsafeModelError(CerebroNasError, ValueError):
    """A model file or specification holds what models are not made of; nothing of it was executed."""


class SearchAborted(CerebroNasError, RuntimeError):
    """The search cannot go on; the message carries a table of reasons."""
