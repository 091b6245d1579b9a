"""Executors whose environment differs: one error with the rows that differ, before anything runs on them."""

from __future__ import annotations

import logging
import platform
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import pytest

from cerebro_nas import __version__
from cerebro_nas.backend import local_spark_session
from cerebro_nas.backend.spark import _environment
from cerebro_nas.backend.spark._environment import Environment
from cerebro_nas.backend.spark._environment import check_environment
from cerebro_nas.backend.spark._environment import compare
from cerebro_nas.errors import BackendError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.case(34),
    # Py4J leaves the socket of a thread that ended to the garbage collector, which says so.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

VERSIONS = {"cerebro_nas": "0.1.0", "tensorflow": "2.21.0", "keras": "3.15.1", "numpy": "2.4.1", "pyarrow": "26.0"}
DRIVER = Environment("driver", "3.11.9", VERSIONS, "", 1000.0)
SAME = replace(DRIVER, host="node1", clock=1002.0)


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """One of its own: modules of this folder stop the process' Spark, and with it the one that all tests share."""
    session = local_spark_session(2)
    yield session
    session.stop()


def _with(**versions: str) -> Environment:
    return replace(SAME, versions={**VERSIONS, **versions})


def _compare(*rows: Environment) -> list[tuple[str, str, str, bool]]:
    return [(d.host, d.what, d.there, d.fatal) for d in compare(DRIVER, rows, 1000.0, 1003.0)]


def test_what_is_the_same_is_not_told() -> None:
    assert _compare(SAME, SAME, replace(SAME, host="node2", python="3.11.2"), _with(keras="3.15.0")) == []


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (replace(SAME, python="3.10.9"), ("python", "3.10.9", True)),
        (replace(SAME, python="3.1.1"), ("python", "3.1.1", True)),
        (_with(tensorflow="missing"), ("tensorflow", "missing", True)),
        (_with(keras="missing"), ("keras", "missing", True)),
        (_with(keras="3.12.0"), ("keras", "3.12.0", True)),
        (_with(keras="2.15.1"), ("keras", "2.15.1", True)),
        (_with(cerebro_nas="missing"), ("cerebro_nas", "missing", True)),
        (_with(cerebro_nas="0.1.1"), ("cerebro_nas", "0.1.1", True)),
        (replace(SAME, temporary="No space left"), ("temporary files", "No space left", True)),
        (_with(tensorflow="2.18.0"), ("tensorflow", "2.18.0", False)),
        (_with(numpy="1.26.4"), ("numpy", "1.26.4", False)),
        (_with(pyarrow="missing"), ("pyarrow", "missing", False)),
        (replace(SAME, clock=1003.0 + 61), ("the clock", "61 s ahead", False)),
        (replace(SAME, clock=1000.0 - 3600), ("the clock", "3600 s behind", False)),
    ],
)
def test_each_difference(row: Environment, told: tuple[str, str, bool]) -> None:
    assert _compare(row) == [("node1", *told)]


@pytest.mark.parametrize("clock", [1000.0 - 59, 1001.0, 1003.0 + 59])
def test_a_clock_that_is_nearly_right(clock: float) -> None:
    assert _compare(replace(SAME, clock=clock)) == []


def test_a_host_is_told_once_and_hosts_are_in_order() -> None:
    bad = _with(keras="missing")
    found = _compare(replace(bad, host="node9"), replace(bad, host="node2"), replace(bad, host="node9"))
    assert [host for host, *_ in found] == ["node2", "node9"]


def _answer(monkeypatch: pytest.MonkeyPatch, *rows: Environment) -> None:
    here: Callable[[], dict[str, Any]] = lambda: dict(DRIVER.__dict__)  # noqa: E731
    monkeypatch.setattr(_environment, "_probe_function", lambda packages: here)
    monkeypatch.setattr(_environment, "_ask", lambda spark, tasks, probe: list(rows))
    monkeypatch.setattr("time.time", lambda: 1001.0)


def test_one_error_with_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(monkeypatch, _with(keras="3.12.0", tensorflow="missing"), replace(SAME, host="n2", python="3.10.1"))
    unused: Any = None
    with pytest.raises(BackendError) as caught:
        check_environment(unused, 2)
    lines = str(caught.value).splitlines()
    assert "Received: 2 host(s) that differ:" in lines[0]
    assert [line.split() for line in lines[1:5]] == [
        ["host", "what", "there", "here"],
        ["n2", "python", "3.10.1", "3.11.9"],
        ["node1", "tensorflow", "missing", "2.21.0"],
        ["node1", "keras", "3.12.0", "3.15.1"],
    ]
    assert lines[-1].startswith("Install the same packages there")


def test_a_large_cluster_gets_a_short_table(monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(monkeypatch, *(replace(SAME, host=f"n{number:03d}", python="3.9.1") for number in range(500)))
    unused: Any = None
    with pytest.raises(BackendError, match=r"500 host\(s\) that differ(.|\n)*\.\.\. and 480 more") as caught:
        check_environment(unused, 500)
    assert len(str(caught.value).splitlines()) < 30


def test_what_does_no_harm_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    _answer(monkeypatch, replace(SAME, clock=5000.0))
    unused: Any = None
    with caplog.at_level(logging.WARNING, "cerebro_nas"):
        check_environment(unused, 1)
    (record,) = caplog.records
    assert "On node1, the clock is 3999 s ahead" in record.message


class _Failing:
    """A session whose job fails as Spark's do."""

    def __init__(self, text: str) -> None:
        self.text = text

    def range(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError(self.text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Job aborted: Traceback\n  File x\npyspark.errors.PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] Python in "
            "worker has different version: 3.10 than that in driver: 3.11\n\tat org.apache.spark.x",
            "PYTHON_VERSION_MISMATCH",
        ),
        ("Traceback\nModuleNotFoundError: No module named 'pyarrow'\n\tat java", "No module named 'pyarrow'"),
        ("something", "something"),
    ],
)
def test_executors_that_cannot_run_the_probe(text: str, told: str) -> None:
    failing: Any = _Failing(text)
    with pytest.raises(BackendError) as caught:
        check_environment(failing, 1)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Set PYSPARK_PYTHON" in str(caught.value)


def test_the_probe_tells_of_this_process_and_loads_nothing() -> None:
    code = (
        "import sys; from cerebro_nas.backend.spark._environment import _PACKAGES, _probe_function;"
        "found = _probe_function(_PACKAGES)(); print(found['versions']['cerebro_nas'], found['versions']['keras'],"
        "found['python'], repr(found['temporary']), {'tensorflow', 'keras', 'pyspark'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    import keras

    assert ran.stdout.split(maxsplit=3) == [__version__, keras.__version__, platform.python_version(), "'' set()\n"]


def test_a_temporary_directory_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def refuse() -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert "Read-only" in _environment._probe_function(())()["temporary"]


@pytest.mark.spark
def test_a_spark_of_the_same_environment(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Environment] = []

    def keep(driver: Environment, found: list[Environment], *bounds: float) -> list[Any]:
        rows.extend(found)
        return compare(driver, found, *bounds)

    monkeypatch.setattr(_environment, "compare", keep)
    check_environment(spark, 3)
    assert len(rows) == 3
    assert {row.versions["cerebro_nas"] for row in rows} == {__version__}


def test_the_probe_needs_nothing_of_this_package_on_the_other_side() -> None:
    from pyspark import cloudpickle  # type: ignore[attr-defined, unused-ignore]

    dumps: Callable[[Any], bytes] = cloudpickle.dumps
    shipped = dumps(_environment._task_function(_environment._probe_function(("json",))))
    code = (
        "import sys; sys.modules['cerebro_nas'] = None\n"
        "from pyspark import cloudpickle\n"
        "run = cloudpickle.loads(sys.stdin.buffer.read())\n"
        "print(next(iter(run([]))).to_pylist()[0]['row'])"
    )
    ran = subprocess.run([sys.executable, "-c", code], input=shipped, capture_output=True, timeout=60)
    assert b'"json": "unknown"' in ran.stdout, ran.stderr.decode()
