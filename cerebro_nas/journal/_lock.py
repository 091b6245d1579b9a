"""A lock on a directory against a second driver, on this machine or on another that shares the file system.

Two things hold it. The operating system's lock of the file (`flock`) ends with its holder, whatever kills that; but not
every shared file system carries it from machine to machine. The file's content names the holder, and its time of
change is the holder's heartbeat. The file is never removed: whoever had it open would hold a lock that nobody sees.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import tempfile
import time
import uuid
from dataclasses import asdict
from dataclasses import dataclass
from datetime import datetime
from datetime import timezone
from pathlib import Path
from types import TracebackType

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import FencedError
from cerebro_nas.errors import LockedError
from cerebro_nas.errors import StoreError

_LOGGER = logging.getLogger(__name__)
_BEAT_SECONDS = 5.0
_MAX_CONTENT = 4096
_ATTEMPTS = 5
_CHILD_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Holder:
    host: str
    pid: int
    since: str
    token: str

    def __str__(self) -> str:
        # They come from a file that others can write: shown in quotes.
        return f"process {self.pid} on host {self.host!r} since {self.since!r}"


class DirectoryLock:
    """Keeps a second driver away from a directory. Not for several threads at once.

    The holder calls `beat` from its loop. A process that is forked without starting another program shares the lock:
    it stays held until that process has ended too.

    Args:
        path: the lock file; its directory must be there. It is never removed.
        stale_seconds: a holder on another host that has not called `beat` for so long counts as dead. The same on all
            hosts.

    Raises:
        ConfigError: `stale_seconds` is not positive.
    """

    def __init__(self, path: Path, *, stale_seconds: float = 30.0) -> None:
        if not stale_seconds > 0:
            raise ConfigError(
                f"`stale_seconds` must be positive. Received: stale_seconds={stale_seconds!r}. Leave it at 30."
            )
        self._path = path
        self._stale_seconds = stale_seconds
        self._beat_seconds = min(_BEAT_SECONDS, stale_seconds / 3)
        self._handle: int | None = None
        self._token = ""
        self._next_beat = 0.0

    def acquire(self) -> None:
        """Take the lock, or fail at once; a dead holder's lock is taken over with a warning. Again: does nothing.

        Raises:
            LockedError: somebody else has it.
            StoreError: the file cannot be used.
        """
        if self._handle is not None:
            return
        try:
            handle = self._open_locked()
        except LockedError:
            raise
        except OSError as error:
            raise StoreError(
                f"{self._path} could not be locked: {error}. Check permissions, and that its file system has locks."
            ) from error
        try:
            self._take_over(handle)
            self._sign(handle)
        except BaseException as error:
            os.close(handle)
            if isinstance(error, OSError) and not isinstance(error, StoreError):
                raise StoreError(
                    f"{self._path} could not be written: {error}. Check permissions and free space."
                ) from error
            raise
        self._handle = handle
        self._next_beat = time.monotonic() + self._beat_seconds

    def beat(self) -> None:
        """Say that the holder lives; cheap, as it does something once in five seconds only.

        Raises:
            FencedError: the lock was taken over.
            StoreError: the file cannot be written.
        """
        if time.monotonic() < self._next_beat:
            return
        self.check()
        if self._handle is not None:
            try:
                os.utime(self._handle)
            except OSError as error:
                raise StoreError(f"{self._path} could not be written: {error}. Check permissions.") from error
        self._next_beat = time.monotonic() + self._beat_seconds

    def check(self) -> None:
        """Make sure that the lock is still ours.

        Raises:
            FencedError: it was taken over, removed or released.
        """
        try:
            holder = self._read()
        except OSError as error:
            raise StoreError(f"{self._path} could not be read: {error}. Check the file system.") from error
        if self._handle is None or holder is None or holder.token != self._token:
            raise FencedError(
                f"{self._path} is not held by this process any more; it is held by {holder or 'nobody'}. "
                "This process must stop: another one may have taken over its search."
            )

    def release(self) -> None:
        """Give the lock back, unless it was taken over; releasing again does nothing."""
        if self._handle is None:
            return
        try:
            holder = self._read()
            if holder is not None and holder.token == self._token:
                os.ftruncate(self._handle, 0)
        except OSError as error:
            _LOGGER.warning("%s could not be emptied: %s. The next search takes it over.", self._path, error)
        finally:
            handle, self._handle = self._handle, None
            os.close(handle)

    def __enter__(self) -> DirectoryLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _open_locked(self) -> int:
        deadline = time.monotonic() + _CHILD_SECONDS
        while True:
            try:
                return self._try_to_open()
            except LockedError:
                # What it was about to start, when it was killed, has its files until it is another program.
                if not _has_died(self._read()) or time.monotonic() > deadline:
                    raise
                time.sleep(_CHILD_SECONDS / 100)

    def _try_to_open(self) -> int:
        for _ in range(_ATTEMPTS):
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # If somebody replaced the file in between, this lock is on one that nobody else will see.
                if os.path.samestat(os.fstat(handle), self._path.stat()):
                    return handle
            except BlockingIOError:
                os.close(handle)
                raise self._locked(self._read()) from None
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
        raise StoreError(f"{self._path} is removed again and again by another process. Find out by which.")

    def _take_over(self, handle: int) -> None:
        """Check what the former holder left; return if the lock may be taken."""
        found = os.fstat(handle)
        if found.st_size == 0:
            return
        holder = self._read()
        if holder is None:
            _LOGGER.warning(
                "The lock file %s is damaged; its holder counts as dead, and the lock is taken.", self._path
            )
            return
        age = _now_at(self._path.parent) - found.st_mtime
        if holder.host != socket.gethostname() and age < self._stale_seconds:
            raise self._locked(holder, f" Its last sign of life is {max(age, 0):.0f} s old.")
        _LOGGER.warning(
            "%s was held by %s, which has ended without giving it back (last sign of life %.0f s ago). It is taken.",
            *(self._path, holder, age),
        )

    def _sign(self, handle: int) -> None:
        token = uuid.uuid4().hex
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        holder = _Holder(socket.gethostname(), os.getpid(), since, token)
        # Written over all of the old content at once: there is no moment in which nobody, or half a holder, is named.
        content = json.dumps(asdict(holder)).encode().ljust(min(os.fstat(handle).st_size, _MAX_CONTENT))
        os.pwrite(handle, content, 0)
        os.ftruncate(handle, len(content))
        os.fsync(handle)
        self._token = token

    def _read(self) -> _Holder | None:
        """Who holds the lock according to the file; None if it does not tell or is gone."""
        try:
            with self._path.open("rb") as stream:
                content = stream.read(_MAX_CONTENT)
        except FileNotFoundError:
            return None
        try:
            found = json.loads(content.decode("utf-8"))
            holder = _Holder(found["host"], found["pid"], found["since"], found["token"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        texts = (holder.host, holder.since, holder.token)
        return holder if type(holder.pid) is int and all(isinstance(text, str) for text in texts) else None

    def _locked(self, holder: _Holder | None, hint: str = "") -> LockedError:
        return LockedError(
            f"{self._path} is held by {holder or 'another process'}: a search runs there already.{hint} "
            "Wait for it, stop it, or choose another project_name."
        )


def _has_died(holder: _Holder | None) -> bool:
    """Whether the holder was a process of this machine, and is gone."""
    if holder is None or holder.host != socket.gethostname():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _now_at(directory: Path) -> float:
    """The time by the clock of the file system, which need not be ours."""
    with tempfile.TemporaryFile(dir=directory) as probe:
        probe.write(b"x")
        probe.flush()
        return os.fstat(probe.fileno()).st_mtime
