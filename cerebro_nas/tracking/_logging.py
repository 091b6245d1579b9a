"""Logging: ours as asked, and that of the libraries below us quiet."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import tempfile
from types import TracebackType
from typing import TextIO

from cerebro_nas.errors import ConfigError

_LEVELS = {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO, 3: logging.DEBUG}
# 2 hides what TensorFlow's C++ side logs below errors; gRPC's own warnings would show on every worker that leaves.
_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "2", "GRPC_VERBOSITY": "ERROR"}
_BANNER = (b"All log messages before absl::InitializeLog()", b"oneDNN custom operations are on")
_LOGGERS = ("py4j", "pyspark", "tensorflow", "absl")


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is at the moment, so that a live display can redirect it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        """The present `sys.stderr`."""
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError("the stream of this handler is always sys.stderr")

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless there is no stderr at all."""
        if self.stream is not None:
            super().emit(record)


def configure_logging(verbose: int = 1) -> logging.Logger:
    """Set up the library's logger, `cerebro_nas`, and return it. A second call replaces what the first one set up.

    Args:
        verbose: 0: errors only. 1: warnings. 2: what happens. 3: everything.

    Raises:
        ConfigError: `verbose` is none of these.
    """
    if verbose not in _LEVELS:
        raise ConfigError(
            f"`verbose` must be one of {tuple(_LEVELS)}. Received: verbose={verbose!r}. "
            "Use 1 for warnings, 2 to see what happens."
        )
    logger = logging.getLogger("cerebro_nas")
    for handler in [h for h in logger.handlers if isinstance(h, StderrHandler | logging.NullHandler)]:
        logger.removeHandler(handler)
    handler = StderrHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    logger.addHandler(logging.NullHandler())
    logger.addHandler(handler)
    logger.setLevel(_LEVELS[verbose])
    logger.propagate = False  # otherwise an application with a root handler would see each line twice
    return logger


def quiet_libraries() -> QuietLibraries:
    """Silence what TensorFlow, absl, gRPC, py4j and pyspark log below errors.

    Call it before they are loaded: TensorFlow reads its variable when it is imported. Variables that are set already
    are left alone, so a user who wants those lines gets them; child processes inherit the rest. Called plainly it
    lasts; as a context manager (`with quiet_libraries():`) it puts everything back on the way out.
    """
    return QuietLibraries()


class QuietLibraries:
    """What `quiet_libraries` returns: silent from the moment it is made."""

    def __init__(self) -> None:
        self._added = [name for name in _ENVIRONMENT if name not in os.environ]
        os.environ.update({name: _ENVIRONMENT[name] for name in self._added})
        # absl replaces the class of its logger when it is loaded, so it has to be loaded before its level is set.
        if importlib.util.find_spec("absl") is not None:
            importlib.import_module("absl.logging")
        self._levels = {name: logging.getLogger(name).level for name in _LOGGERS}
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)

    def __enter__(self) -> QuietLibraries:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._added:
            os.environ.pop(name, None)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)


def load_tensorflow() -> None:
    """Load TensorFlow, if it is installed, without the banner that it writes while it is loaded.

    Its C++ side writes before it reads any setting, and the one variable that silences the banner turns oneDNN off.
    So standard error is turned away for that time; lines that are not of the banner come out afterwards.
    """
    if "tensorflow" in sys.modules or importlib.util.find_spec("tensorflow") is None:
        return
    try:
        before = os.dup(2)
    except OSError:  # no standard error at all, as in some services
        importlib.import_module("tensorflow")
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        finally:
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            for line in kept:
                if not any(part in line for part in _BANNER):
                    os.write(2, line)
