"""Writing files so that they are there whole or not at all, and removing only what is ours."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from cerebro_nas.errors import StoreError
from cerebro_nas.storage._retry import retry

MARKER = ".cerebro_nas"

TEMPORARY = ".tmp-"
"""How the name of a file begins that is being written."""

_TOKEN = uuid.uuid4().hex[:8]

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MIB = 2**20


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`; see `write_together`. The directory is made if need be.

    Raises:
        StoreError: the file system refused; nothing is left behind.
    """
    try:
        retry(lambda: make_directory(path.parent))
    except OSError as error:
        raise write_error(path, len(data), error) from error
    write_together(path.parent, {path.name: data})


def own_temporary() -> str:
    """How it begins where this process is the one that writes; one that was forked is another."""
    return f"{TEMPORARY}{_TOKEN}-{os.getpid()}-"


def write_together(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a directory that is there, the last of which says that the others are.

    All go to temporary files first, are flushed to disk and then renamed, in order. Only when this returns will they
    outlast a power failure.

    Raises:
        StoreError: the file system refused, also when asked again; temporary files are removed.
    """
    try:
        retry(lambda: _write_together(directory, files))
    except OSError as error:
        raise write_error(directory / next(iter(files)), sum(map(len, files.values())), error) from error


def _write_together(directory: Path, files: Mapping[str, bytes]) -> None:
    temporaries = {name: directory / f"{own_temporary()}{uuid.uuid4().hex}" for name in files}
    try:
        for name, data in files.items():
            with temporaries[name].open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        for name, temporary in temporaries.items():
            temporary.replace(directory / name)
        sync_directory(directory)
    except OSError:
        for temporary in temporaries.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        raise


def make_directory(path: Path) -> None:
    """Make a directory and those above it, each flushed to disk: a file in one that is not may be lost with it."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def write_error(path: Path, size: int, error: OSError) -> StoreError:
    """What to raise when `size` bytes could not be written to `path`; it keeps the number of `error`."""
    if error.errno in _NO_SPACE:
        need = f"needs {-(-size // _MIB)} MiB free on {path.parent}"
        text = f"{path} could not be written, as it {need}: {error.strerror}. Free space there, or raise the quota."
    else:
        text = f"{path} could not be written: {error}. Check permissions and free space."
    return store_error(text, error)


def store_error(text: str, error: OSError) -> StoreError:
    """A `StoreError` with the number of the error that it is about."""
    found = StoreError(text)
    found.errno = error.errno
    return found


def sync_directory(path: Path) -> None:
    """Flush the names in a directory to disk: a rename that is not may be undone by a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_file(path: Path, limit: int | None = None) -> bytes:
    """Read a whole file, or no more than `limit` bytes of it.

    Raises:
        StoreError: it is not there, or cannot be read, also when asked again.
    """

    def read() -> bytes:
        with path.open("rb") as stream:
            return stream.read(-1 if limit is None else limit)

    try:
        return retry(read)
    except OSError as error:
        raise store_error(f"{path} could not be read: {error}.", error) from error


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
