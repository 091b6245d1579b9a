"""An embedded Spark for one machine, which starts without a word."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cerebro_nas.backend.spark._java import find_java
from cerebro_nas.backend.spark._java import launcher_home
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping

    from pyspark.sql import SparkSession

_LOG_SETTINGS = Path(__file__).with_name("quiet-log4j2.properties")


def local_spark_session(
    cores: int | str = "*",
    *,
    app_name: str = "cerebro_nas",
    memory: str = "2g",
    config: Mapping[str, str] | None = None,
) -> SparkSession:
    """Start an embedded Spark on this machine, or return the one that is running if it has the same number of cores.

    It is quiet: no banner, no progress bar, no web page, errors only. It listens on the loopback address alone, its
    workers run on this interpreter, and its temporary files are gone when the process ends. Java is found by
    `ensure_java`'s rules; `JAVA_HOME` of this process stays as it is.

    Args:
        cores: tasks that run at once, or `"*"` for one a core.
        app_name: name of the application.
        memory: heap of the JVM, as Spark writes sizes: `"2g"`, `"512m"`.
        config: more Spark settings; they win over the ones made here.

    Raises:
        ConfigError: `cores` is neither a positive number nor `"*"`.
        BackendError: no Java fits, the JVM does not start, or a Spark with another master is running in this process.

    Example:
        ```python
        spark = local_spark_session(2)
        df = spark.range(10)
        spark.stop()
        ```
    """
    from pyspark.sql import SparkSession

    master = _master(cores)
    running = _running_master()
    if running is not None:
        if running != master:
            raise BackendError(
                "This process has a Spark already, and there can be one at a time. "
                f"Received: cores={cores!r}, running master={running!r}. Call `spark.stop()` on it first."
            )
        return SparkSession.builder.getOrCreate()
    settings = {**_settings(cores, memory), **(config or {})}
    builder = SparkSession.builder.master(master).appName(app_name)
    for key, value in settings.items():
        builder = builder.config(key, value)
    with _launch_environment():
        try:
            return builder.getOrCreate()
        except Exception as error:  # noqa: BLE001 (py4j and pyspark raise a dozen classes when a JVM does not come up)
            raise BackendError(
                f"The embedded Spark does not start. Received: master={master!r}, memory={memory!r}, "
                f"JAVA_HOME={os.environ.get('JAVA_HOME')!r}: {error}. Check `memory` and the settings in `config`."
            ) from error


def _master(cores: int | str) -> str:
    # bool is an int, and True cores is a mistake.
    number = isinstance(cores, int) and not isinstance(cores, bool) and cores > 0
    if not number and cores != "*":
        raise ConfigError(f'`cores` must be a positive number or "*". Received: cores={cores!r}')
    return f"local[{cores}]"


def _running_master() -> str | None:
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    return None if context is None else str(context.master)


def _settings(cores: int | str, memory: str) -> dict[str, str]:
    scratch = _scratch_folder()
    partitions = cores if isinstance(cores, int) else os.cpu_count() or 1
    return {
        "spark.driver.bindAddress": "127.0.0.1",
        # A quoted value: the launcher splits it at spaces.
        "spark.driver.extraJavaOptions": f'"-Dlog4j2.configurationFile={_LOG_SETTINGS}"',
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": memory,
        "spark.local.dir": str(scratch / "local"),
        "spark.log.level": "ERROR",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.shuffle.partitions": str(partitions),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }


def _scratch_folder() -> Path:
    """A folder that lives as long as this process: the JVM does, also after `spark.stop()`."""
    folder = Path(tempfile.mkdtemp(prefix="cerebro_nas-spark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextlib.contextmanager
def _launch_environment() -> Iterator[None]:
    """Environment in which the JVM is launched; the process has its own back afterwards."""
    wanted = {
        # Always through the launcher: a Java that has the incubating module prints a warning about it on stderr.
        "JAVA_HOME": str(launcher_home(find_java())),
        # Else Spark runs whichever `python3` is first on the PATH.
        "PYSPARK_PYTHON": sys.executable,
    }
    if not _host_name_resolves():
        wanted.update(SPARK_LOCAL_IP="127.0.0.1", SPARK_LOCAL_HOSTNAME="localhost")
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _host_name_resolves() -> bool:
    try:
        socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return False
    return True
