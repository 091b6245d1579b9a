"""Keeping the secret of a search out of the logs of the libraries that carry it to Spark."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

# At level DEBUG they log every argument, the function of a task included; and the secret travels in that function.
_LOGGERS = ("py4j.clientserver", "py4j.java_gateway", "pyspark.sql.connect.logging")


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Drop what those libraries log on this thread; what they log on others is not touched."""
    thread = threading.get_ident()

    def is_of_another(record: logging.LogRecord) -> bool:
        # Filters run where the record is made; its own field is empty with `logging.logThreads` off.
        return threading.get_ident() != thread

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(is_of_another)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_of_another)
