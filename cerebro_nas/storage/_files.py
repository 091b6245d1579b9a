"""Writing files so that they are there whole or not at all, and removing only what is ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from pathlib import Path

from cerebro_nas.errors import StoreError

MARKER = ".cerebro_nas"


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`: to a temporary file beside it, flushed to disk, then renamed over it.

    Raises:
        StoreError: the file system refused; nothing is left behind.
    """
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StoreError(f"{path} could not be written: {error}. Check permissions and free space.") from error


def sync_directory(path: Path) -> None:
    """Flush the names in a directory to disk: a rename that is not may be undone by a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_file(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        StoreError: it is not there, or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} could not be read: {error}.") from error


def create_owned(path: Path, kind: str) -> None:
    """Make a directory that says that it is ours.

    Raises:
        StoreError: it holds files that are not ours, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path} could not be made: {error}. Check permissions.") from error
    if not (path / MARKER).exists() and any(path.iterdir()):
        raise StoreError(
            f"{path} holds files that cerebro_nas did not write, so it is not used for a {kind}. Choose another name."
        )
    write_atomic(path / MARKER, f"{kind}\n".encode())


def delete_owned(path: Path) -> None:
    """Remove a directory that `create_owned` made; links inside are removed, never followed.

    Raises:
        StoreError: the directory does not carry our mark, or is a link.
    """
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not (path / MARKER).is_file():
        raise StoreError(
            f"{path} is not removed: it does not carry the mark of cerebro_nas ({MARKER}). "
            "Choose another project_name, or remove the directory yourself."
        )
    try:
        # Files go before directories, as they may say that the rest is complete; the mark goes last, so that a removal
        # that was interrupted can be repeated. Links are unlinked: neither call follows them.
        entries = [entry for entry in os.scandir(path) if entry.name != MARKER]
        for entry in sorted(entries, key=lambda entry: entry.is_dir(follow_symlinks=False)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        (path / MARKER).unlink()
        path.rmdir()
    except OSError as error:
        raise StoreError(f"{path} could not be removed: {error}. Check permissions.") from error
