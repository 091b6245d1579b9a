"""What a benchmark says when it cannot run."""

from __future__ import annotations


class BenchmarkError(RuntimeError):
    """A benchmark cannot run; the message says what to do."""
