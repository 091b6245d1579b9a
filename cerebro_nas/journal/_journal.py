"""The journal as a file: opened and repaired, appended to, flushed."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shlex
import shutil
import stat
from datetime import datetime
from datetime import timezone
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import NamedTuple

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import FencedError
from cerebro_nas.errors import StoreError
from cerebro_nas.journal._line import Record
from cerebro_nas.journal._line import encode
from cerebro_nas.journal._parse import FIRST
from cerebro_nas.journal._parse import DamagedJournalError
from cerebro_nas.journal._parse import Parsed
from cerebro_nas.journal._parse import read

SCHEMA = 1

_LOGGER = logging.getLogger(__name__)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Tip(NamedTuple):
    """Where the file ends; replaced as one, so that an interrupt leaves either the old or the new one."""

    size: int
    seq: int
    checksum: int


class Journal:
    """An append-only file of records. Not for several threads at once.

    Use `Journal.open`.

    Attributes:
        path: the file.
        records: what was there when it was opened, without the journal's own first line.
        repaired: copy of a torn tail that was cut off when it was opened.
    """

    def __init__(self, path: Path, handle: int, parsed: Parsed, repaired: Path | None) -> None:
        self.path = path
        self.records = parsed.records
        self.repaired = repaired
        self._handle: int | None = handle
        self._tip = _Tip(parsed.good_bytes, len(parsed.records), parsed.checksum)
        self._flushed = parsed.good_bytes

    @classmethod
    def open(cls, path: Path, *, schema: int = SCHEMA) -> Journal:
        """Open a journal, or begin one where the file is missing or empty.

        A last line that was written in part only is cut off; its bytes are kept in a file beside the journal.

        Args:
            path: the file; its directory must be there.
            schema: version of what the records say.

        Raises:
            DamagedJournalError: it is damaged before its end. Nothing was changed.
            CorruptStateError: it has another schema. Nothing was changed.
            StoreError: it cannot be read or written.
        """
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(f"{path} could not be opened: {error}. Check that its directory is writable.") from error
        try:
            parsed = _read(path, handle, schema)
            repaired = _cut_torn_tail(path, handle, parsed) if parsed.torn else None
        except BaseException:
            os.close(handle)
            raise
        journal = cls(path, handle, parsed, repaired)
        if parsed.schema is None:
            journal._begin(schema)
        return journal

    def append(self, kind: str, data: dict[str, Any], time: float) -> int:
        """Write one record; it is safe from a crash of the machine once `commit` has returned.

        Args:
            kind: what it tells of.
            data: JSON values; NaN and infinities are kept.
            time: when, in seconds on some clock.

        Returns:
            Number of the record.

        Raises:
            FencedError: somebody else has written to the file, or removed it. Nothing was written.
            StoreError: it could not be written, for want of space for example. Nothing is left of it in the file, and
                it may be tried again.
            ConfigError: JSON cannot hold it, or the journal is closed.
        """
        seq = self._tip.seq + 1
        self._write(Record(seq, time, kind, data))
        return seq

    def forget_records(self) -> None:
        """Let go of what was there when it was opened, which may be much; the file is as it was."""
        self.records = ()

    def commit(self) -> None:
        """Flush what was appended to disk; nothing is done if nothing was.

        Raises:
            StoreError: the file system refused.
        """
        handle, size = self._open_handle(), self._tip.size
        if size == self._flushed:
            return
        try:
            os.fsync(handle)
        except OSError as error:
            raise _failure(self.path, size - self._flushed, error) from error
        self._flushed = size

    def close(self) -> None:
        """Flush and close; closing again does nothing."""
        if self._handle is None:
            return
        try:
            self.commit()
        finally:
            self._abandon()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open_handle(self) -> int:
        if self._handle is None:
            raise ConfigError(f"The journal {self.path} is closed. Open it again to go on.")
        return self._handle

    def _begin(self, schema: int) -> None:
        try:
            self._write(Record(0, 0.0, FIRST, {"schema": schema}))
            self.commit()
            _sync_directory(self.path.parent)
        except BaseException as error:
            self._abandon()
            if isinstance(error, OSError) and not isinstance(error, StoreError):
                raise _failure(self.path, self._tip.size, error) from error
            raise

    def _abandon(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _write(self, record: Record) -> None:
        handle, before = self._open_handle(), self._tip
        line, checksum = encode(record, before.checksum)
        self._check_alone(handle, before.size)
        try:
            _write_all(handle, line)
            self._tip = _Tip(before.size + len(line), record.seq, checksum)
        except BaseException as error:
            # An interrupt too may come between the write and the new tip, or in the middle of a line.
            if self._tip is before:
                self._undo(handle, before.size, len(line))
            if isinstance(error, OSError):
                raise _failure(self.path, len(line), error) from error
            raise

    def _check_alone(self, handle: int, size: int) -> None:
        found = os.fstat(handle)
        if found.st_size != size or found.st_nlink == 0:
            what = f"has {found.st_size} bytes where {size} were written" if found.st_nlink else "was removed"
            raise FencedError(
                f"{self.path} {what}: another process has taken over this search. Nothing was written. "
                "Stop this one; the other goes on."
            )

    def _undo(self, handle: int, size: int, longest: int) -> None:
        """Cut off what was written of a line, unless somebody else has written behind it."""
        try:
            if size < os.fstat(handle).st_size <= size + longest:
                os.ftruncate(handle, size)
        except OSError:
            # The torn line stays, and the next opening cuts it off; until then nothing may be written behind it.
            self._abandon()


def _read(path: Path, handle: int, schema: int) -> Parsed:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise StoreError(f"{path} is not a file. Choose another name.")
    try:
        with os.fdopen(handle, "rb", closefd=False) as stream:
            parsed = read(stream)
    except DamagedJournalError as damage:
        raise _with_repair(path, damage) from damage
    except OSError as error:
        raise StoreError(f"{path} could not be read: {error}.") from error
    if parsed.schema not in (None, schema):
        raise CorruptStateError(
            f"{path} was written by a version of cerebro_nas whose journals have schema {parsed.schema}, "
            f"and this one reads schema {schema}. Nothing was changed. Use the version that wrote it, "
            "or begin a new search under another name."
        )
    return parsed


def _with_repair(path: Path, damage: DamagedJournalError) -> DamagedJournalError:
    name, good, bad = (shlex.quote(f"{path}{suffix}") for suffix in ("", ".good", ".damaged"))
    command = f"head -c {damage.offset} {name} > {good} && mv {name} {bad} && mv {good} {name}"
    return DamagedJournalError(
        f"{path} is damaged at byte {damage.offset} (line {damage.line}): {damage.reason}. Nothing was changed. "
        f"Bring back a copy of the file, or keep what stands before the damage and lose what follows:\n  {command}",
        damage.offset,
        damage.line,
        damage.reason,
    )


def _cut_torn_tail(path: Path, handle: int, parsed: Parsed) -> Path:
    """Copy what follows the good lines to a file of its own, then cut it off."""
    now = datetime.now(timezone.utc)
    backup = path.with_name(f"{path.name}.torn-{now:%Y%m%dT%H%M%S.%fZ}")
    length = os.fstat(handle).st_size - parsed.good_bytes
    try:
        with os.fdopen(handle, "rb", closefd=False) as source, backup.open("xb") as target:
            source.seek(parsed.good_bytes)
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        _sync_directory(path.parent)
        os.ftruncate(handle, parsed.good_bytes)
        os.fsync(handle)
    except OSError as error:
        if os.fstat(handle).st_size > parsed.good_bytes:
            with contextlib.suppress(OSError):
                backup.unlink()
        raise _failure(path, length, error) from error
    _LOGGER.warning(
        "%s ended in a line that was written in part only (%d bytes after byte %d). It was cut off; a copy is %s.",
        *(path, length, parsed.good_bytes, backup),
    )
    return backup


def _write_all(handle: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        written = os.write(handle, rest)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def _failure(path: Path, needed: int, error: OSError) -> StoreError:
    if error.errno in _NO_SPACE:
        advice = f"The journal needs {-(-needed // 2**20)} MiB free on {path} ({needed} bytes). Make room and go on."
    else:
        advice = "Check the disk and permissions."
    failure = StoreError(f"{path} could not be written: {error}. {advice}")
    # Kept for those who wait for space: a StoreError of another number is not worth waiting.
    failure.errno = error.errno
    return failure


def _sync_directory(path: Path) -> None:
    """Flush the names in a directory: a file whose name is not on disk is lost with the machine."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
