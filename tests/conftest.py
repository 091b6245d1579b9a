"""What all tests share: a Spark session, leak checks, hypothesis' settings."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING
from typing import Any

# TensorFlow reads it when it is imported, so before anything else.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Running the tests shall not leave an archive of 190 MB in somebody's cache; tests of that archive say so themselves.
os.environ.setdefault("CEREBRO_NAS_CLASS_CACHE", "0")

import psutil
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

_GRACE_SECONDS = 5.0


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One embedded Spark for the whole run; `local[2]`, as small as a user's may be."""
    from cerebro_nas.backend.spark._session import local_spark_session

    session = local_spark_session(2, app_name="tests", memory="1g")
    yield session
    session.stop()


@pytest.fixture
def import_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Any]]:
    """Imports a module of the user's, given its name and text; forgets it, and what it registered, in the end."""
    import keras

    monkeypatch.syspath_prepend(str(tmp_path))
    registered, imported = set(keras.saving.get_custom_objects()), []

    def load(name: str, text: str) -> Any:
        (tmp_path / f"{name}.py").write_text(text)
        imported.append(name)
        return importlib.import_module(name)

    yield load
    for name in imported:
        del sys.modules[name]
    for name in set(keras.saving.get_custom_objects()) - registered:
        del keras.saving.get_custom_objects()[name]


@pytest.fixture(autouse=True)
def _fresh_logger() -> Iterator[None]:
    """Undo what `configure_logging` does, so that tests that read log records do not depend on those before them."""
    logger = logging.getLogger("cerebro_nas")
    logger.handlers, logger.level, logger.propagate = [], logging.NOTSET, True
    yield


@pytest.fixture
def no_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail when the test leaves a child process, a thread, a listening socket or a temporary file behind.

    For the length of the test temporary files go to a folder of its own. What outlives a search by design does not
    count: the JVM and Spark's pool of Python workers.
    """
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    processes, threads, sockets = _processes(), _threads(), _listening()
    yield
    left = _wait_empty(
        lambda: [
            *(f"process {pid}: {name}" for pid, name in _processes().items() if pid not in processes),
            *(f"thread {name}" for ident, name in _threads().items() if ident not in threads),
            *(f"socket listening on port {port}" for port in sorted(_listening() - sockets)),
            *(f"temporary file {path}" for path in scratch.rglob("*") if not path.is_dir() or not any(path.iterdir())),
        ]
    )
    if left:
        pytest.fail("left behind:\n" + "\n".join(left))


def _wait_empty(look: Callable[[], list[str]]) -> list[str]:
    """What is still there after a short while: an end that was asked for takes a moment."""
    deadline = time.monotonic() + _GRACE_SECONDS
    left = look()
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = look()
    return left


def _processes() -> dict[int, str]:
    found: dict[int, str] = {}
    for child in psutil.Process().children(recursive=True):
        try:
            command = " ".join(child.cmdline())
            alive = child.status() != psutil.STATUS_ZOMBIE or child.ppid() == os.getpid()
        except psutil.NoSuchProcess:
            continue
        kept = any(part in command for part in ("pyspark.daemon", "resource_tracker", "org.apache.spark"))
        if alive and not kept:
            found[child.pid] = command or child.name()
    return found


def _threads() -> dict[int, str]:
    # py4j keeps a thread of its own for each connection to the JVM.
    return {
        thread.ident: thread.name
        for thread in threading.enumerate()
        if thread.ident is not None and not type(thread).__module__.startswith("py4j")
    }


def _listening() -> set[int]:
    connections = psutil.Process().net_connections(kind="inet")
    return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}
