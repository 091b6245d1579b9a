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

from cerebro_nas.backend.spark._class_cache import ClassCache
from cerebro_nas.backend.spark._class_cache import is_switched_off
from cerebro_nas.backend.spark._java import JavaRuntime
from cerebro_nas.backend.spark._java import find_java
from cerebro_nas.backend.spark._java import launcher_home
from cerebro_nas.backend.spark._meanwhile import Meanwhile
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Mapping

    from pyspark.sql import SparkSession

_LOG_SETTINGS = Path(__file__).with_name("quiet-log4j2.properties")
# The quick compiler alone. The optimising one is most of the processor time of a short job, and the workers of a small
# machine need it: preparing Fashion-MNIST takes 11 s instead of 19 s. It has not paid after a minute of sorting and
# aggregating a million rows of 40 columns either (48 s instead of 62 s); a longer job may ask for it with
# `-XX:TieredStopAtLevel=4`. Collectors other than Java's own choice made a tenth of difference at most.
_JAVA_OPTIONS = (f"-Dlog4j2.configurationFile={_LOG_SETTINGS}", "-XX:TieredStopAtLevel=1")
# For the JVM that only works out the command line.
_LAUNCHER_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def local_spark_session(
    cores: int | str = "*",
    *,
    app_name: str = "cerebro_nas",
    memory: str = "2g",
    config: Mapping[str, str] | None = None,
    meanwhile: Callable[[], object] | None = None,
    class_cache: bool = True,
) -> SparkSession:
    """Start an embedded Spark on this machine, or return the one that is running if it has the same number of cores.

    It is quiet: no banner, no progress bar, no web page, errors only. It listens on the loopback address alone, its
    workers run on this interpreter, and its temporary files are gone when the process ends. Java is found by
    `ensure_java`'s rules; `JAVA_HOME` of this process stays as it is.

    Half of what the start costs is saved by an archive of Spark's classes in `$XDG_CACHE_HOME/cerebro_nas` or
    `~/.cache/cerebro_nas` (190 MB). The first session that prepares data or runs a search records what goes into it;
    when its process has exited, one in the background makes it, at idle priority and within a minute or so. With the
    environment variable `CEREBRO_NAS_CLASS_CACHE=0` there is none of this; with `CI` set an archive is used, not made.

    Args:
        cores: tasks that run at once, or `"*"` for one a core.
        app_name: name of the application.
        memory: heap of the JVM, as Spark writes sizes: `"2g"`, `"512m"`.
        config: more Spark settings; they win over the ones made here. `spark.driver.extraJavaOptions` comes after the
            options made here, so that of two values for one option the one in `config` counts.
        meanwhile: called in a thread of its own while the JVM starts, which leaves a core idle much of the time:
            `load_tensorflow` of `cerebro_nas.tracking`, or a function with imports in it. It is over when this
            function returns; what it raises is raised here, with Spark up. If Spark runs already it is just called.
        class_cache: whether to use, and make, the archive of Spark's classes.

    Raises:
        ConfigError: `cores` is neither a positive number nor `"*"`.
        BackendError: no Java fits, the JVM does not start, or a Spark with another master is running in this process.

    Example:
        ```python
        spark = local_spark_session(2, meanwhile=load_tensorflow)
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
        if meanwhile is not None:
            meanwhile()
        return SparkSession.builder.getOrCreate()
    runtime = find_java()
    cache = _class_cache(runtime, config or {}) if class_cache else None
    java_options = [*_JAVA_OPTIONS, *(cache.options if cache is not None else ())]
    settings = {"spark.master": master, "spark.app.name": app_name, **_settings(cores, memory, java_options)}
    try:
        return _start(runtime, {**settings, **(config or {})}, meanwhile)
    finally:
        # Also when only `meanwhile` failed.
        if cache is not None:
            _settle(cache)


def _start(runtime: JavaRuntime, settings: Mapping[str, str], meanwhile: Callable[[], object] | None) -> SparkSession:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    for key, value in settings.items():
        builder = builder.config(key, value)
    # The JVM of a session that was stopped is there still, and gets the next one.
    other = Meanwhile(meanwhile, now=SparkContext._gateway is not None)
    with _launch_environment(runtime), other:
        try:
            return builder.getOrCreate()
        except Exception as error:  # noqa: BLE001 (py4j and pyspark raise a dozen classes when a JVM does not come up)
            raise BackendError(
                f"The embedded Spark does not start. Received: master={settings['spark.master']!r}, "
                f"memory={settings['spark.driver.memory']!r}, JAVA_HOME={os.environ.get('JAVA_HOME')!r}: {error}. "
                "Check `memory` and the settings in `config`."
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


def _class_cache(runtime: JavaRuntime, config: Mapping[str, str]) -> ClassCache | None:
    from pyspark import SparkContext
    from pyspark.find_spark_home import _find_spark_home

    # The JVM of a session that was stopped is there still, and what it loads is settled.
    if is_switched_off() or SparkContext._gateway is not None:
        return None
    home = Path(_find_spark_home())  # type: ignore[no-untyped-call]
    # Settings with which the JVM has another class path.
    settings = [f"{key}={value}" for key, value in sorted(config.items()) if key.endswith(".extraClassPath")]
    return ClassCache(runtime, home / "jars", settings)


def _settle(cache: ClassCache) -> None:
    """Now that the JVM is up, or is not: have its classes recorded, or forget about it."""
    from pyspark import SparkContext

    process = getattr(SparkContext._gateway, "proc", None)
    if _running_master() is None or process is None or SparkContext._jvm is None:
        cache.abandon()
    elif cache.is_recording:
        cache.record_at_exit(process.pid, SparkContext._jvm.java.lang.System.getProperty("java.class.path"))


def _settings(cores: int | str, memory: str, java_options: Iterable[str]) -> dict[str, str]:
    scratch = _scratch_folder()
    partitions = cores if isinstance(cores, int) else os.cpu_count() or 1
    return {
        "spark.driver.bindAddress": "127.0.0.1",
        # Spark puts them before `spark.driver.extraJavaOptions`, which is left to the user.
        "spark.driver.defaultJavaOptions": " ".join(_quoted(option) for option in java_options),
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


def _quoted(option: str) -> str:
    """`option` as one word for Spark's launcher, which splits at spaces."""
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _scratch_folder() -> Path:
    """A folder that lives as long as this process: the JVM does, also after `spark.stop()`."""
    folder = Path(tempfile.mkdtemp(prefix="cerebro_nas-spark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextlib.contextmanager
def _launch_environment(runtime: JavaRuntime) -> Iterator[None]:
    """Environment in which the JVM is launched; the process has its own back afterwards."""
    wanted = {
        # Always through the launcher: a Java that has the incubating module prints a warning about it on stderr.
        "JAVA_HOME": str(launcher_home(runtime)),
        # Else Spark runs whichever `python3` is first on the PATH.
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LAUNCHER_OPTS": f"{_LAUNCHER_OPTIONS} {os.environ.get('SPARK_LAUNCHER_OPTS', '')}".strip(),
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
