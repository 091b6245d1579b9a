"""The start of the embedded Spark: its JVM's options, and what happens meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cerebro_nas.backend.spark import _session
from cerebro_nas.backend.spark._java import JavaRuntime
from cerebro_nas.errors import BackendError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, str]]:
    """Settings of the sessions asked for; none starts."""
    found: list[dict[str, str]] = []

    def start(runtime: JavaRuntime, settings: dict[str, str], meanwhile: Callable[[], object] | None) -> None:
        found.append(dict(settings))

    monkeypatch.setattr(_session, "_start", start)
    monkeypatch.setattr(_session, "_running_master", lambda: None)
    monkeypatch.setattr(_session, "find_java", lambda: JavaRuntime(tmp_path, 17))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


def test_settings_of_the_user_win_and_their_java_options_come_last(started: list[dict[str, str]]) -> None:
    config = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=4", "spark.ui.enabled": "true"}
    _session.local_spark_session(2, config=config, class_cache=False)
    (settings,) = started
    assert settings["spark.driver.extraJavaOptions"] == "-XX:TieredStopAtLevel=4"
    # Spark puts the defaults before the extra ones, and of two values the JVM takes the last.
    assert '"-XX:TieredStopAtLevel=1"' in settings["spark.driver.defaultJavaOptions"]
    assert "quiet-log4j2.properties" in settings["spark.driver.defaultJavaOptions"]
    assert (settings["spark.ui.enabled"], settings["spark.master"]) == ("true", "local[2]")


@pytest.mark.parametrize("switch", ["argument", "variable"])
def test_the_archive_can_be_switched_off(
    switch: str, started: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if switch == "variable":
        monkeypatch.setenv("CEREBRO_NAS_CLASS_CACHE", "0")
    _session.local_spark_session(1, class_cache=switch == "variable")
    assert "-Xshare" not in started[0]["spark.driver.defaultJavaOptions"]
    assert not (tmp_path / "cache").exists()


def test_a_start_that_fails_leaves_no_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    abandoned: list[bool] = []

    class Cache:
        options = ("-Xshare:auto",)

        def abandon(self) -> None:
            abandoned.append(True)

    def start(*arguments: Any) -> None:
        raise BackendError("no")

    monkeypatch.setattr(_session, "_running_master", lambda: None)
    monkeypatch.setattr(_session, "find_java", lambda: JavaRuntime(tmp_path, 17))
    monkeypatch.setattr(_session, "_class_cache", lambda runtime, config: Cache())
    monkeypatch.setattr(_session, "_start", start)
    with pytest.raises(BackendError):
        _session.local_spark_session(1)
    assert abandoned == [True]


@pytest.mark.parametrize(
    ("option", "word"), [("-Da=b c", '"-Da=b c"'), ('-Da="', '"-Da=\\""'), ("-Da=\\", '"-Da=\\\\"')]
)
def test_an_option_is_one_word_for_the_launcher(option: str, word: str) -> None:
    assert _session._quoted(option) == word


_JOB = """
import os, sys, threading
from cerebro_nas.backend import local_spark_session

first, second = [], []

def other():
    first.append(threading.current_thread() is threading.main_thread())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    raise LookupError("not there")

before = os.dup(2)
try:
    local_spark_session(1, memory="512m", meanwhile=other)
except LookupError as error:
    print(error, first)
os.dup2(before, 2)
spark = local_spark_session(1, meanwhile=lambda: second.append(threading.current_thread() is threading.main_thread()))
system = spark.sparkContext._jvm.java.lang.System
print(spark.range(5).count(), second)
system.err.println("said by the JVM")
spark.stop()
local_spark_session(1, meanwhile=lambda: print("third")).stop()
"""


@pytest.mark.spark
def test_something_else_is_done_while_spark_starts(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "CEREBRO_NAS_CLASS_CACHE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _JOB], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.stdout.splitlines() == ["not there [False]", "5 [True]", "third"]
    # What the task did to the standard error of the process did not reach that of the JVM.
    assert (done.stderr, done.returncode) == ("said by the JVM\n", 0)
