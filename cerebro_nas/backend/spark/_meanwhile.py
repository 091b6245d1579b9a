"""Something else to do while the JVM starts."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable
from types import TracebackType

_LOGGER = logging.getLogger("cerebro_nas")


class Meanwhile:
    """Calls `task` in a thread of its own, from the moment on at which the block inside starts a process.

    Not earlier: the JVM inherits the standard error of that moment for good, and a task that imports TensorFlow may
    have turned it elsewhere; and a process that has one thread can be forked safely. A block that starts none has
    the task called when it ends.

    Leaving the block waits for the task, and raises what it raised; if the block failed itself, that is logged.

    Args:
        task: what to call; None for nothing.
        now: call it at once, as the process is there already.

    Attributes:
        error: what the task raised, if it did.
    """

    def __init__(self, task: Callable[[], object] | None, *, now: bool = False) -> None:
        self._task = task
        self._now = now
        self._thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def __enter__(self) -> Meanwhile:
        if self._task is None:
            return self
        if self._now:
            self._start()
        else:
            _listen_to_forks()
            _armed.on_fork = self._start
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _armed.on_fork = None
        if self._task is None or (error is not None and not isinstance(error, Exception)):
            return  # an interrupt does not wait
        if error is None and self._thread is None:
            self._start()
        if self._thread is not None:
            self._thread.join()
        if self.error is None:
            return
        if error is None:
            raise self.error
        _LOGGER.error("`meanwhile` failed as well as the block it ran beside", exc_info=self.error)

    def _start(self) -> None:
        _armed.on_fork = None
        # A daemon: an interrupted start does not keep the interpreter from its end.
        self._thread = threading.Thread(target=self._call, name="cerebro_nas-meanwhile", daemon=True)
        self._thread.start()

    def _call(self) -> None:
        try:
            if self._task is not None:
                self._task()
        except BaseException as error:  # noqa: BLE001 (carried to the thread that waits, whatever it is)
            self.error = error


class _Armed(threading.local):
    """Of each thread: what to do after its next fork. Processes that other threads start do not count."""

    on_fork: Callable[[], None] | None = None


_armed = _Armed()


@functools.lru_cache(maxsize=1)
def _listen_to_forks() -> None:
    # Cannot be taken back, hence once for all. Of processes started by `subprocess` only those with a `preexec_fn`
    # count, and pyspark starts its JVM with one.
    os.register_at_fork(after_in_parent=_forked)


def _forked() -> None:
    if _armed.on_fork is not None:
        _armed.on_fork()
