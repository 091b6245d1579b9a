"""When a session uses an archive of classes, when it records one, and when it does neither."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cerebro_nas.backend.spark import _class_cache
from cerebro_nas.backend.spark import _class_recorder
from cerebro_nas.backend.spark._class_cache import ClassCache
from cerebro_nas.backend.spark._java import JavaRuntime


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CI", "")
    return tmp_path / "cache" / "cerebro_nas"


@pytest.fixture
def runtime(tmp_path: Path) -> JavaRuntime:
    home = tmp_path / "jdk"
    home.mkdir()
    (home / "release").write_text('JAVA_VERSION="17.0.1"\n')
    return JavaRuntime(home, 17)


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    folder = tmp_path / "jars"
    folder.mkdir()
    (folder / "spark.jar").write_text("1")
    return folder


def _archive_of(cache: ClassCache) -> Path:
    cache._archive.write_text("archive")
    return cache._archive


def test_the_first_session_records(runtime: JavaRuntime, jars: Path, cache: Path) -> None:
    found = ClassCache(runtime, jars)
    (folder,) = cache.glob("recording-*")
    assert found.is_recording
    assert found.options == ["-Xshare:auto", "-Xlog:cds*=off", f"-XX:DumpLoadedClassList={folder}/classes.lst"]
    assert cache.stat().st_mode & 0o077 == 0
    found.abandon()
    assert list(cache.iterdir()) == []


def test_the_next_uses_the_archive_and_says_so_by_its_date(runtime: JavaRuntime, jars: Path) -> None:
    first = ClassCache(runtime, jars)
    archive = _archive_of(first)
    os.utime(archive, (1, 1))
    found = ClassCache(runtime, jars)
    assert not found.is_recording
    assert found.options == ["-Xshare:auto", "-Xlog:cds*=off", f"-XX:SharedArchiveFile={archive}"]
    assert archive.stat().st_mtime > 1


def test_an_archive_that_cannot_be_touched_is_used(
    runtime: JavaRuntime, jars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = _archive_of(ClassCache(runtime, jars))

    def refuse(path: Path) -> None:
        raise OSError("read-only")

    monkeypatch.setattr(os, "utime", refuse)
    assert ClassCache(runtime, jars).options[-1] == f"-XX:SharedArchiveFile={archive}"


def _other_java(runtime: JavaRuntime, jars: Path) -> None:
    (runtime.home / "release").write_text('JAVA_VERSION="17.0.2"\n')


def _other_jar(runtime: JavaRuntime, jars: Path) -> None:
    os.utime(jars / "spark.jar", (1, 1))


def _one_jar_more(runtime: JavaRuntime, jars: Path) -> None:
    (jars / "delta.jar").write_text("1")


@pytest.mark.parametrize("change", [_other_java, _other_jar, _one_jar_more])
def test_an_archive_of_something_else_is_not_used(
    change: Callable[[JavaRuntime, Path], None], runtime: JavaRuntime, jars: Path
) -> None:
    _archive_of(ClassCache(runtime, jars))
    change(runtime, jars)
    assert ClassCache(runtime, jars).is_recording


def test_another_class_path_is_something_else(
    runtime: JavaRuntime, jars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _archive_of(ClassCache(runtime, jars))
    assert not ClassCache(runtime, jars).is_recording
    assert ClassCache(runtime, jars, ["spark.driver.extraClassPath=/x"]).is_recording
    monkeypatch.setenv("SPARK_CONF_DIR", "/y")
    assert ClassCache(runtime, jars).is_recording


def _build_machine(monkeypatch: pytest.MonkeyPatch, runtime: JavaRuntime, cache: Path) -> None:
    monkeypatch.setenv("CI", "true")


def _no_interpreter(monkeypatch: pytest.MonkeyPatch, runtime: JavaRuntime, cache: Path) -> None:
    monkeypatch.setattr(sys, "executable", "")


def _another_vm(monkeypatch: pytest.MonkeyPatch, runtime: JavaRuntime, cache: Path) -> None:
    (runtime.home / "release").write_text('JVM_VARIANT="Openj9"\n')


def _nothing_known_of_it(monkeypatch: pytest.MonkeyPatch, runtime: JavaRuntime, cache: Path) -> None:
    (runtime.home / "release").unlink()


def _file_in_the_way(monkeypatch: pytest.MonkeyPatch, runtime: JavaRuntime, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("")


def _open_to_others(monkeypatch: pytest.MonkeyPatch, runtime: JavaRuntime, cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)


def _colon_in_the_path(monkeypatch: pytest.MonkeyPatch, runtime: JavaRuntime, cache: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", f"{cache.parent}:x")


@pytest.mark.parametrize(
    "obstacle",
    [
        _build_machine,
        _no_interpreter,
        _another_vm,
        _nothing_known_of_it,
        _file_in_the_way,
        _open_to_others,
        _colon_in_the_path,
    ],
)
def test_where_it_cannot_be_recorded_the_jvm_gets_no_options(
    obstacle: Callable[[pytest.MonkeyPatch, JavaRuntime, Path], None],
    runtime: JavaRuntime,
    jars: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    obstacle(monkeypatch, runtime, cache)
    found = ClassCache(runtime, jars)
    assert (found.options, found.is_recording) == ([], False)


def test_jars_that_are_not_there_are_no_error(runtime: JavaRuntime, tmp_path: Path) -> None:
    assert ClassCache(runtime, tmp_path / "gone").options == []


def test_a_build_machine_uses_what_there_is(runtime: JavaRuntime, jars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = _archive_of(ClassCache(runtime, jars))
    monkeypatch.setenv("CI", "true")
    assert ClassCache(runtime, jars).options[-1] == f"-XX:SharedArchiveFile={archive}"


def test_after_a_failure_nothing_is_tried_for_a_while(runtime: JavaRuntime, jars: Path) -> None:
    failed = ClassCache(runtime, jars)._failed
    failed.write_text("exit code 1")
    assert ClassCache(runtime, jars).options == []
    os.utime(failed, (1, 1))
    assert ClassCache(runtime, jars).is_recording


def test_the_recorder_starts_when_python_exits(
    runtime: JavaRuntime, jars: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[tuple[object, ...]] = []
    monkeypatch.setattr(atexit, "register", lambda *call: registered.append(call))
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **settings: started.append(command))
    found = ClassCache(runtime, jars)
    (folder,) = cache.glob("recording-*")
    found.record_at_exit(4711, "a.jar")
    job = _class_recorder.RecordingJob.load(folder)
    assert (job.java, job.pid, job.class_path) == (str(runtime.home / "bin" / "java"), 4711, "a.jar")
    ((_, path, owner),) = registered
    assert (path, owner) == (folder, os.getpid())
    _class_cache._start_recorder(folder, os.getpid() + 1)
    assert started == []
    _class_cache._start_recorder(folder, os.getpid())
    assert started == [[sys.executable, "-I", "-S", _class_recorder.__file__, str(folder)]]


def test_a_recording_that_cannot_be_saved_is_dropped(runtime: JavaRuntime, jars: Path, cache: Path) -> None:
    found = ClassCache(runtime, jars)
    (folder,) = cache.glob("recording-*")
    folder.rmdir()
    found.record_at_exit(1, "a.jar")
    assert not found.is_recording


@pytest.mark.parametrize(("major", "class_path", "records"), [(17, "a:a", True), (21, "a:a", False), (21, "a:b", True)])
def test_a_class_path_that_java_will_refuse_is_not_recorded(
    major: int,
    class_path: str,
    records: bool,
    runtime: JavaRuntime,
    jars: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registered: list[object] = []
    monkeypatch.setattr(atexit, "register", lambda *call: registered.append(call))
    runtime = JavaRuntime(runtime.home, major)
    ClassCache(runtime, jars).record_at_exit(1, class_path)
    assert bool(registered) == records
    assert len(list(cache.glob("recording-*"))) == records
    assert ClassCache(runtime, jars).is_recording == records


_JOB = """
import sys
from cerebro_nas.backend import local_spark_session

spark = local_spark_session(1, memory="512m", class_cache=sys.argv[1] == "on")

def same(batches):
    yield from batches

rows = spark.range(10).mapInArrow(same, "id long").count()
from pyspark import SparkContext

mapped = open(f"/proc/{SparkContext._gateway.proc.pid}/maps").read()
print(rows, "cerebro_nas/classes-" in mapped)
"""


def _run(tmp_path: Path, switch: str = "on", **variables: str) -> str:
    switched_on = {"CEREBRO_NAS_CLASS_CACHE": "", "CI": ""}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **switched_on, **variables}
    done = subprocess.run(
        [sys.executable, "-c", _JOB, switch],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.strip()


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc to see what a process maps")
def test_the_second_spark_starts_from_what_the_first_one_loaded(tmp_path: Path, cache: Path) -> None:
    assert _run(tmp_path) == "10 False"
    deadline = time.monotonic() + 200
    while list(cache.glob("recording-*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    for refused in cache.glob("classes-*.failed"):
        # Java 21 and later, which is what there is where Java was not installed by hand: nothing is made that it
        # would refuse, and sessions go on without.
        assert refused.read_text() == "a jar is on the class path twice"
        assert not list(cache.glob("classes-*.jsa"))
        assert _run(tmp_path) == "10 False"
        pytest.skip("this Java refuses an archive of Spark's class path")
    (archive,) = cache.glob("classes-*.jsa")
    assert _run(tmp_path) == "10 True"
    assert _run(tmp_path, "off") == "10 False"
    assert _run(tmp_path, CEREBRO_NAS_CLASS_CACHE="0") == "10 False"
    # Half an archive, as no recorder leaves one: nobody notices.
    content = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(content[: len(content) // 2])
    assert _run(tmp_path).startswith("10 ")


@pytest.mark.spark
def test_a_cache_that_cannot_be_written_is_no_trouble(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "file").write_text("")
    assert _run(tmp_path, XDG_CACHE_HOME=str(tmp_path / "file")) == "10 False"
