"""The script that makes an archive out of the list of classes that a JVM has left behind."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from cerebro_nas.backend.spark import _class_recorder
from cerebro_nas.backend.spark._class_recorder import RecordingJob
from cerebro_nas.backend.spark._class_recorder import record

_CLASSES = "java/lang/Object\norg/apache/spark/sql/execution/python/MapInArrowExec\n"
_NOBODY = 2**22 + 1  # above the highest process id there can be


def _java(folder: Path, dump: str = 'echo archive > "$file"', verify: str = "exit 0") -> Path:
    """A `java` that writes down what it was asked, and makes or checks an archive as told."""
    java = folder / "java"
    java.write_text(
        textwrap.dedent(f"""\
            #!/bin/sh
            echo "$@" >> {folder}/asked
            for argument; do
                case $argument in
                    -XX:SharedArchiveFile=*) file=${{argument#*=}} ;;
                    -Xshare:*) mode=$argument ;;
                esac
            done
            if [ "$mode" = -Xshare:dump ]; then
                {dump}
            else
                {verify}
            fi
        """)
    )
    java.chmod(0o755)
    return java


def _recording(cache: Path, java: Path, *, pid: int = _NOBODY, classes: str | None = _CLASSES) -> Path:
    folder = cache / "recording-x"
    folder.mkdir(parents=True)
    if classes is not None:
        (folder / _class_recorder.CLASS_LIST).write_text(classes)
    job = RecordingJob(str(java), pid, "a.jar:b.jar", str(cache / "classes-1.jsa"), str(cache / "classes-1.failed"))
    job.save(folder)
    return folder


def test_an_archive_is_dumped_checked_and_put_in_its_place(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = _recording(cache, _java(tmp_path))
    assert record(folder)
    assert (cache / "classes-1.jsa").read_text() == "archive\n"
    assert sorted(path.name for path in cache.iterdir()) == ["classes-1.jsa", "classes.lock"]
    dump, check = (tmp_path / "asked").read_text().splitlines()
    assert f"-XX:SharedClassListFile={folder}/classes.lst" in dump
    assert "-Xshare:on" in check
    assert "-cp a.jar:b.jar" in dump and "-cp a.jar:b.jar" in check


@pytest.mark.parametrize(
    "trouble",
    [{"dump": "echo no room; exit 1"}, {"verify": "echo no good; exit 1"}, {"dump": "true", "verify": "exit 1"}],
)
def test_a_failure_is_noted_and_leaves_no_archive(trouble: dict[str, str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert not record(_recording(cache, _java(tmp_path, **trouble)))
    assert sorted(path.name for path in cache.iterdir()) == ["classes-1.failed", "classes.lock"]
    assert "exit code 1" in (cache / "classes-1.failed").read_text()


def test_a_java_that_has_gone_is_a_failure(tmp_path: Path) -> None:
    assert not record(_recording(tmp_path / "cache", tmp_path / "gone"))
    assert "FileNotFoundError" in (tmp_path / "cache" / "classes-1.failed").read_text()


@pytest.mark.parametrize("classes", [None, "", "java/lang/Object\norg/apache/spark/SparkContext\n"])
def test_a_session_that_did_no_work_makes_no_archive(classes: str | None, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert not record(_recording(cache, _java(tmp_path), classes=classes))
    assert [path.name for path in cache.iterdir()] == ["classes.lock"]
    assert not (tmp_path / "asked").exists()


def test_a_full_disk_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_class_recorder, "_BYTES_NEEDED", 1 << 62)
    assert not record(_recording(tmp_path / "cache", _java(tmp_path)))
    assert not (tmp_path / "asked").exists()


def test_of_two_recorders_one_gives_up(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = _recording(cache, _java(tmp_path))
    with (cache / "classes.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not record(folder)
    assert [path.name for path in cache.iterdir()] == ["classes.lock"]


def test_an_archive_that_is_there_already_stays(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = _recording(cache, _java(tmp_path))
    (cache / "classes-1.jsa").write_text("first")
    assert record(folder)
    assert (cache / "classes-1.jsa").read_text() == "first"
    assert not folder.exists()


def test_a_job_that_cannot_be_read_is_removed(tmp_path: Path) -> None:
    folder = _recording(tmp_path / "cache", _java(tmp_path))
    (folder / _class_recorder.JOB_FILE).write_text("{")
    assert not record(folder)
    assert not folder.exists()


def test_archives_used_last_stay(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = _recording(cache, _java(tmp_path))
    for age, name in enumerate(["classes-new.jsa", "classes-old.jsa", "classes-older.jsa"]):
        (cache / name).write_text("")
        os.utime(cache / name, (time.time() - 100 * age - 100,) * 2)
    assert record(folder)
    assert sorted(path.name for path in cache.glob("*.jsa")) == ["classes-1.jsa", "classes-new.jsa"]


def test_the_list_is_read_when_its_writer_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_class_recorder, "_JVM_SECONDS", 0.2)
    alive = subprocess.Popen(["sleep", "30"])
    try:
        assert not record(_recording(tmp_path / "cache", _java(tmp_path), pid=alive.pid))
    finally:
        alive.kill()
    # Not collected yet, as an orphan in a container whose first process collects none.
    assert record(_recording(tmp_path / "cache", _java(tmp_path), pid=alive.pid))
    alive.wait()


def test_only_stale_remains_are_removed(tmp_path: Path) -> None:
    for name in ("recording-old", "recording-new"):
        (tmp_path / name).mkdir()
    for name in ("classes-1.failed", "classes-2.failed", "classes-1.jsa"):
        (tmp_path / name).write_text("")
    for name, days in (("recording-old", 2), ("classes-1.failed", 31), ("classes-2.failed", 29), ("classes-1.jsa", 99)):
        os.utime(tmp_path / name, (time.time() - days * 24 * 3600,) * 2)
    _class_recorder.remove_stale(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes-1.jsa", "classes-2.failed", "recording-new"]


def test_the_script_goes_on_by_itself(tmp_path: Path) -> None:
    """Whoever starts it gets neither to wait for it nor to hear from it."""
    cache = tmp_path / "cache"
    release = tmp_path / "release"
    java = _java(tmp_path, dump=f'while [ ! -e {release} ]; do sleep 0.05; done; echo archive > "$file"')
    script = [sys.executable, "-I", "-S", _class_recorder.__file__, str(_recording(cache, java))]
    assert subprocess.run(script, timeout=20, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    assert not (cache / "classes-1.jsa").exists()
    release.touch()
    deadline = time.monotonic() + 20
    while (cache / "recording-x").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (cache / "classes-1.jsa").read_text() == "archive\n"
