"""The directory for temporary files of a driver's workers, of which nothing is left for long."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

_PREFIX = "cerebro-nas-"
_NEW = f"{_PREFIX}new-"
_OWNER = "owner"


class Scratch:
    """A new directory among the temporary files of this machine, locked as long as this process lives.

    Workers whose driver was killed remove it. Where it was killed before it had any, the next one on the same machine
    does that: it finds the directory without a lock.
    """

    def __init__(self) -> None:
        _sweep(Path(tempfile.gettempdir()))
        new = Path(tempfile.mkdtemp(prefix=_NEW))
        # Locked before it has the name that others look for.
        self._owner = (new / _OWNER).open("wb")
        fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = new.rename(new.with_name(new.name.replace(_NEW, _PREFIX)))

    def remove(self) -> None:
        """Remove it with what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._owner.close()


def _sweep(parent: Path) -> None:
    for owner in parent.glob(f"{_PREFIX}*/{_OWNER}"):
        # Somebody else's, or gone meanwhile: no business of ours.
        with contextlib.suppress(OSError):
            if not _is_ours(owner.parent.lstat(), stat.S_ISDIR) or not _is_ours(owner.lstat(), stat.S_ISREG):
                continue
            with owner.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(owner.parent, ignore_errors=True)


def _is_ours(found: os.stat_result, kind: Callable[[int], bool]) -> bool:
    # No links: anybody may make one among the temporary files.
    return found.st_uid == os.getuid() and kind(found.st_mode)
