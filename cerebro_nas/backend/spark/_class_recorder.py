"""Makes an archive of the classes that a JVM has loaded, once that JVM has gone.

A script: `_class_cache` starts it in a process of its own when Python exits, so nothing here may need more than the
standard library, and nothing waits for it or hears from it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path

JOB_FILE = "job.json"
CLASS_LIST = "classes.lst"
_FRESH_ARCHIVE = "fresh.jsa"
# Loaded by a session that prepared data or ran a search; the classes of one that did neither make a poor archive.
_SIGN_OF_WORK = b"org/apache/spark/sql/execution/python/MapInArrowExec"
_KEPT_ARCHIVES = 2
_BYTES_NEEDED = 1 << 30
_JVM_SECONDS = 120.0
_DUMP_SECONDS = 900.0
_STALE_SECONDS = 24 * 3600.0
# Long: a Java that cannot use an archive finds out after half a minute's work.
_FAILED_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True)
class RecordingJob:
    """What to make an archive of.

    Attributes:
        java: the `java` that ran, and will run with the archive.
        pid: process that is still writing the list of classes.
        class_path: its class path.
        archive: where the archive goes.
        failed: file that says that an archive could not be made.
    """

    java: str
    pid: int
    class_path: str
    archive: str
    failed: str

    def save(self, folder: Path) -> None:
        """Write it where `load` finds it."""
        (folder / JOB_FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> RecordingJob:
        """Read what `save` wrote."""
        return cls(**json.loads((folder / JOB_FILE).read_text(encoding="utf-8")))


def record(folder: Path) -> bool:
    """Make the archive that the job in `folder` asks for; `folder` is gone afterwards.

    Returns:
        Whether there is an archive now.
    """
    try:
        job = RecordingJob.load(folder)
        if not _wait_for_end(job.pid):
            return False
        with (folder.parent / "classes.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Path(job.archive).exists() or _make(job, folder)
    except (OSError, ValueError, TypeError):
        return (
            False  # another recorder is at it, or the disk is full: the next session finds no archive and tries again
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_stale(folder: Path) -> None:
    """Remove recordings of processes that were killed, and notes of failures that a newer system may not have."""
    for pattern, seconds in (("recording-*", _STALE_SECONDS), ("classes-*.failed", _FAILED_SECONDS)):
        for old in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if time.time() - old.stat().st_mtime < seconds:
                    continue
                if old.is_dir():
                    shutil.rmtree(old, ignore_errors=True)
                else:
                    old.unlink()


def _make(job: RecordingJob, folder: Path) -> bool:
    classes, fresh = folder / CLASS_LIST, folder / _FRESH_ARCHIVE
    if _SIGN_OF_WORK not in classes.read_bytes() or shutil.disk_usage(folder).free < _BYTES_NEEDED:
        return False
    common = [f"-XX:SharedArchiveFile={fresh}", "-XX:+IgnoreUnrecognizedVMOptions", "-XX:+VerifySharedSpaces"]
    # The first runs for half a minute beside whatever the user does next: no compiler threads, no large heap.
    dump = ["-Xshare:dump", f"-XX:SharedClassListFile={classes}", "-XX:TieredStopAtLevel=1", "-Xmx512m"]
    for arguments in (dump, ["-Xshare:on", "-version"]):
        trouble = _run([job.java, *common, *arguments[:1], "-cp", job.class_path, *arguments[1:]])
        if trouble is not None:
            Path(job.failed).write_text(trouble, encoding="utf-8")
            return False
    fresh.replace(job.archive)
    _remove_old_archives(Path(job.archive))
    return True


def _run(command: Sequence[str]) -> str | None:
    """What went wrong, in words, or None."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_DUMP_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        return repr(error)
    if done.returncode == 0:
        return None
    return f"exit code {done.returncode}: {done.stdout[-2000:].decode(errors='replace')}"


def _remove_old_archives(newest: Path) -> None:
    """Keep those used last: two environments with a Spark each may take turns."""
    ages: list[tuple[float, Path]] = []
    for archive in newest.parent.glob("classes-*.jsa"):
        with contextlib.suppress(OSError):
            ages.append((archive.stat().st_mtime, archive))
    others = sorted((age, archive) for age, archive in ages if archive != newest)
    for _, archive in others[: max(0, len(others) - _KEPT_ARCHIVES + 1)]:
        archive.unlink(missing_ok=True)


def _wait_for_end(pid: int) -> bool:
    deadline = time.monotonic() + _JVM_SECONDS
    while _runs(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        # Its parent has gone, and the first process of a container may not collect orphans.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][:1] != "Z"
    except OSError:
        return True


def _step_back() -> None:
    """Run only when nothing else wants to."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(19)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    # A process of nobody: the one that started this script goes on at once, and a closing terminal does not end it.
    if os.fork() == 0:
        os.setsid()
        _step_back()
        record(Path(sys.argv[1]))
        os._exit(0)
