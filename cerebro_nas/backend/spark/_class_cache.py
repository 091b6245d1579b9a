"""Classes of the embedded Spark, read and checked once and kept on disk in the form in which the JVM uses them.

More than half of what Spark's start costs is reading 16,000 classes from 285 jars. A JVM can map them from an archive
instead ("class data sharing"). The first session that does real work writes down which classes it loads, which costs
nothing that can be measured; when its process exits, a process of its own makes the archive, at idle priority. To let
the JVM itself dump at its end is simpler and worse: it would run on for ten seconds with its parent's terminal and
pipes in its hands, so that `python job.py | tee log` would hang for that long.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cerebro_nas.backend.spark import _class_recorder
from cerebro_nas.backend.spark._java import JavaRuntime
from cerebro_nas.backend.spark._java import _check_private
from cerebro_nas.backend.spark._java import _user_cache

SWITCH = "CEREBRO_NAS_CLASS_CACHE"
# What Spark's launcher makes the class path of, apart from its own jars.
_CLASS_PATH_VARIABLES = ("HADOOP_CONF_DIR", "SPARK_CONF_DIR", "SPARK_DIST_CLASSPATH", "YARN_CONF_DIR")
_START_SECONDS = 10.0
# Since this version Java refuses every archive of a class path that names a jar twice, as that of Spark 4.0 and 4.1.
_NO_JAR_TWICE = 21


class ClassCache:
    """The archive for one Java and one set of jars: used if it is there, else recorded.

    Trouble of any kind means a session without an archive, never one that fails or says something.

    Args:
        runtime: the Java that will run.
        jars: folder of Spark's jars.
        settings: what else decides on the class path.

    Attributes:
        options: for the JVM about to start.
    """

    def __init__(self, runtime: JavaRuntime, jars: Path, settings: Iterable[str] = ()) -> None:
        self.options: list[str] = []
        self._runtime = runtime
        self._recording: Path | None = None
        with contextlib.suppress(OSError):
            self._look(_user_cache(), jars, settings)

    @property
    def is_recording(self) -> bool:
        """Whether the JVM writes down which classes it loads."""
        return self._recording is not None

    def record_at_exit(self, pid: int, class_path: str) -> None:
        """Have the classes that the JVM `pid` loads made an archive, if this session is to record them."""
        folder = self._recording
        if folder is None:
            return
        job = _class_recorder.RecordingJob(
            java=str(self._runtime.home / "bin" / "java"),
            pid=pid,
            class_path=class_path,
            archive=str(self._archive),
            failed=str(self._failed),
        )
        entries = class_path.split(os.pathsep)
        fits = self._runtime.major < _NO_JAR_TWICE or len(set(entries)) == len(entries)
        try:
            if fits:
                job.save(folder)
                atexit.register(_start_recorder, folder, os.getpid())
                return
            self._failed.write_text("a jar is on the class path twice", encoding="utf-8")
        except OSError:
            pass  # the next session tries again
        self.abandon()

    def abandon(self) -> None:
        """Forget the recording: the JVM did not come up."""
        if self._recording is not None:
            shutil.rmtree(self._recording, ignore_errors=True)
            self._recording = None

    def _look(self, folder: Path, jars: Path, settings: Iterable[str]) -> None:
        # A colon separates two archives in the option, and only HotSpot takes these options.
        if os.pathsep in str(folder) or not _is_hotspot(self._runtime):
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(folder)
        key = _key(self._runtime, jars, settings)
        self._archive = folder / f"classes-{key}.jsa"
        self._failed = folder / f"classes-{key}.failed"
        # Else an archive that does not fit after all is a warning on the terminal.
        quiet = ["-Xshare:auto", "-Xlog:cds*=off"]
        if self._archive.is_file():
            with contextlib.suppress(OSError):  # a cache may be baked into an image that is read-only
                os.utime(self._archive)
            self.options = [*quiet, f"-XX:SharedArchiveFile={self._archive}"]
            return
        _class_recorder.remove_stale(folder)
        if _may_record() and not self._failed.exists():
            self._recording = Path(tempfile.mkdtemp(dir=folder, prefix="recording-"))
            self.options = [*quiet, f"-XX:DumpLoadedClassList={self._recording / _class_recorder.CLASS_LIST}"]


def is_switched_off() -> bool:
    """Whether the environment forbids the archive."""
    return os.environ.get(SWITCH) == "0"


def _may_record() -> bool:
    # A build machine is thrown away after the run, and is busy until then.
    return os.environ.get("CI", "").lower() in ("", "0", "false") and bool(sys.executable)


def _is_hotspot(runtime: JavaRuntime) -> bool:
    release = (runtime.home / "release").read_text(encoding="utf-8", errors="replace")
    return "openj9" not in release.lower()


def _key(runtime: JavaRuntime, jars: Path, settings: Iterable[str]) -> str:
    """A name that changes with everything that the JVM checks an archive against."""
    parts = [str(runtime.home), (runtime.home / "release").read_text(encoding="utf-8", errors="replace"), str(jars)]
    with os.scandir(jars) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            status = entry.stat()
            parts.append(f"{entry.name} {status.st_size} {status.st_mtime_ns}")
    parts += [os.environ.get(name, "") for name in _CLASS_PATH_VARIABLES]
    parts += settings
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:16]


def _start_recorder(folder: Path, owner: int) -> None:
    # A fork of the process that started the session leaves by the same door.
    if os.getpid() != owner:
        return
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        # It returns at once: the script goes on in a process of its own.
        subprocess.run(
            [sys.executable, "-I", "-S", _class_recorder.__file__, str(folder)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=_START_SECONDS,
        )
