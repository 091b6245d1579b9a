"""Whether executors can run what the driver runs: asked once, before a search, with one small Spark job.

An executor with another Python, or without TensorFlow, would otherwise fail long after, deep inside of something else.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import BackendError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOGGER = logging.getLogger(__name__)

_PACKAGES = ("cerebro_nas", "tensorflow", "keras", "numpy", "pyarrow")
_MAX_SKEW_SECONDS = 60.0
_MAX_ROWS = 20
_MISSING = "missing"
_REASON_LENGTH = 400
_ERROR_LINE = re.compile(r"[\w.]*(?:Error|Exception)\b.*")
_VERSION_MISMATCH = "PYTHON_VERSION_MISMATCH"


@dataclass(frozen=True)
class Environment:
    """What a task found.

    Attributes:
        host: name of its machine.
        python: version of Python.
        versions: of packages by name, `"missing"` where one is not installed.
        temporary: why temporary files cannot be written; empty if they can.
        clock: its time, in seconds since the epoch.
    """

    host: str
    python: str
    versions: dict[str, str]
    temporary: str
    clock: float


@dataclass(frozen=True)
class Difference:
    """One row of the table: what differs on a host, and whether a search could still run."""

    host: str
    what: str
    there: str
    here: str
    fatal: bool


def check_environment(spark: SparkSession, tasks: int) -> None:
    """Compare the executors' environments with this process'. Takes a job of `tasks` short tasks.

    On a master `local[...]` the environment is this one: there is no need to ask.

    Args:
        spark: the session.
        tasks: tasks to ask; as many as slots, so that each executor gets one.

    Raises:
        BackendError: a search could not run on an executor; the message is a table of all that differs.
    """
    probe = _probe_function(_PACKAGES)
    began = time.time()
    rows = _ask(spark, tasks, probe)
    found = compare(Environment(**probe()), rows, began, time.time())
    for difference in found:
        if not difference.fatal:
            _LOGGER.warning(
                "On %s, %s is %s, and %s here. A search can run like this, but look at it if something is odd.",
                *(difference.host, difference.what, difference.there, difference.here),
            )
    if any(difference.fatal for difference in found):
        raise BackendError(_message(found))


def compare(driver: Environment, rows: Iterable[Environment], began: float, ended: float) -> list[Difference]:
    """What differs on the hosts, each difference once, in the order of the hosts' names.

    Args:
        driver: this process' environment.
        rows: what tasks found.
        began: when the job began by this clock; `ended` likewise. A right clock reads something between the two.
        ended: when it ended.
    """
    found: dict[tuple[str, str, str], Difference] = {}
    for row in sorted(rows, key=lambda row: row.host):
        for difference in (*_differences(driver, row), *_skew(row, began, ended)):
            found.setdefault((difference.host, difference.what, difference.there), difference)
    return list(found.values())


def _differences(driver: Environment, row: Environment) -> Iterable[Difference]:
    if _minor(row.python) != _minor(driver.python):
        yield Difference(row.host, "python", row.python, driver.python, fatal=True)
    if row.temporary:
        yield Difference(row.host, "temporary files", row.temporary, "can be written", fatal=True)
    for name, here in driver.versions.items():
        there = row.versions.get(name, _MISSING)
        needed = there == _MISSING and name in ("cerebro_nas", "tensorflow", "keras")
        # States are made by one Keras and loaded by another; of our own package the protocol must be the same too.
        other = there != here if name == "cerebro_nas" else _minor(there) != _minor(here)
        if needed or other:
            yield Difference(row.host, name, there, here, fatal=needed or name in ("cerebro_nas", "keras"))


def _skew(row: Environment, began: float, ended: float) -> Iterable[Difference]:
    skew = max(row.clock - ended, began - row.clock, 0.0)
    if skew > _MAX_SKEW_SECONDS:
        way = "ahead" if row.clock > ended else "behind"
        yield Difference(row.host, "the clock", f"{skew:.0f} s {way}", "taken as right", fatal=False)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _message(found: Sequence[Difference]) -> str:
    fatal = [difference for difference in found if difference.fatal]
    lines = [("host", "what", "there", "here")]
    lines += [(d.host, d.what, d.there, d.here) for d in fatal[:_MAX_ROWS]]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    table = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    more = f"\n... and {len(fatal) - _MAX_ROWS} more" if len(fatal) > _MAX_ROWS else ""
    hosts = len({difference.host for difference in fatal})
    return (
        "The executors must have the driver's Python, cerebro_nas, Keras and TensorFlow, and a place for temporary "
        f"files. Received: {hosts} host(s) that differ:\n{table}{more}\n"
        "Install the same packages there, or ship an environment with the job (`spark.archives`, `PYSPARK_PYTHON`)."
    )


def _ask(spark: SparkSession, tasks: int, probe: Callable[[], dict[str, Any]]) -> list[Environment]:
    run = _task_function(probe)
    try:
        frame = spark.range(0, tasks, 1, numPartitions=tasks).mapInArrow(run, "row string")
        return [Environment(**json.loads(row["row"])) for row in frame.collect()]
    except Exception as error:  # noqa: BLE001 - classic Spark and Spark Connect raise unrelated classes
        text = str(error)
        # Of a remote traceback the last line that names an error is the one that says something.
        lines = [line.strip() for line in text.splitlines() if _ERROR_LINE.search(line)]
        python = [line for line in lines if _VERSION_MISMATCH in line]
        said = (python or lines or [text.strip()])[-1][:_REASON_LENGTH]
        raise BackendError(
            "The executors must be able to run Python with pyarrow and pandas, of the driver's version. "
            f"Received: {said}. Set PYSPARK_PYTHON (or `spark.pyspark.python`) to such a Python on every node."
        ) from error


def _task_function(probe: Callable[[], dict[str, Any]]) -> Callable[[Iterable[Any]], Iterable[Any]]:
    # Defined in here, and with imports inside, so that Spark ships its code: the executor may lack this very package.
    def run(batches: Iterable[Any]) -> Iterable[Any]:
        import json
        import time

        import pyarrow

        for _ in batches:
            pass
        # Long enough for the other tasks to find their slots taken, and to go to other executors.
        time.sleep(0.2)
        yield pyarrow.RecordBatch.from_pydict({"row": [json.dumps(probe())]})

    return run


def _probe_function(packages: tuple[str, ...]) -> Callable[[], dict[str, Any]]:
    def probe() -> dict[str, Any]:
        import importlib
        import importlib.metadata
        import importlib.util
        import platform
        import socket
        import tempfile
        import time

        def version(name: str) -> str:
            if importlib.util.find_spec(name) is None:
                return "missing"
            if name == "cerebro_nas":
                # It may have come as a zip of `addPyFile`, without metadata; importing it loads nothing else.
                return str(importlib.import_module(name).__version__)
            for distribution in (name, f"{name}-cpu", f"{name}-gpu", f"{name}-intel", f"{name}-macos", "tf-nightly"):
                try:
                    return importlib.metadata.version(distribution)
                except importlib.metadata.PackageNotFoundError:
                    continue
            return "unknown"

        try:
            with tempfile.TemporaryFile() as file:
                file.write(b"x")
            temporary = ""
        except OSError as error:
            temporary = str(error)
        return {
            "host": socket.gethostname(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in packages},
            "temporary": temporary,
            "clock": time.time(),
        }

    return probe
