"""Reading a journal: the good records, and what kind of damage follows them, if any."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.journal._line import MAX_LINE
from cerebro_nas.journal._line import OPENING
from cerebro_nas.journal._line import Record
from cerebro_nas.journal._line import decode
from cerebro_nas.journal._line import holds_record
from cerebro_nas.journal._line import verify

FIRST = "journal"


class DamagedJournalError(CorruptStateError):
    """A journal is damaged before its end, or is none.

    Attributes:
        offset: where the first bad line begins, in bytes; what stands before it is good.
        line: number of that line, from 1.
        reason: what is wrong with it.
    """

    def __init__(self, message: str, offset: int, line: int, reason: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a journal holds.

    Attributes:
        records: the good records, without the journal's own first line.
        good_bytes: length of the good lines; 0 where not even the first line is good.
        torn: whether something follows them that was written in part only.
        schema: the version that the first line names; None without a good first line.
        checksum: that of the last good line.
    """

    records: tuple[Record, ...]
    good_bytes: int
    torn: bool
    schema: int | None
    checksum: int


def parse(data: bytes) -> Parsed:
    """Read the bytes of a journal.

    Raises:
        DamagedJournalError: a bad line is followed by a record, is too long, or these are no bytes of a journal.
    """
    return read(io.BytesIO(data))


def read(stream: BinaryIO) -> Parsed:
    """Read a journal line by line, as `parse` does."""
    records: list[Record] = []
    schema: int | None = None
    good_bytes = checksum = 0
    lines = _lines(stream)
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE:
            raise _damage(good_bytes, number, f"it is longer than {MAX_LINE} bytes")
        found = verify(line, checksum)
        if found is None:
            _refuse_unless_torn(line, lines, good_bytes, number)
            return Parsed(tuple(records), good_bytes, True, schema, checksum)
        try:
            record = decode(line)
            if record.seq != number - 1:
                raise ValueError(f"its number is {record.seq}, and {number - 1} is next")
            if number == 1:
                schema = _schema(record)
            else:
                records.append(record)
        except ValueError as error:
            # A right checksum over something else than a record is nothing that a crash could have left.
            raise _damage(good_bytes, number, str(error)) from error
        checksum = found
        good_bytes += len(line)
    return Parsed(tuple(records), good_bytes, False, schema, checksum)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(MAX_LINE + 1):
        yield line


def _schema(record: Record) -> int:
    schema = record.data.get("schema")
    if record.kind != FIRST or type(schema) is not int:
        raise ValueError(f"a journal begins with a record of kind {FIRST!r} that names its schema")
    return schema


def _refuse_unless_torn(line: bytes, later: Iterator[bytes], offset: int, number: int) -> None:
    """Return if a crash can have left `line`: it is the last one, or only rubbish follows it.

    A record behind the bad line, even on the same line, was written after it, so the damage is not that of a crash.
    """
    if number == 1:
        # Without one good line nothing says that the file is ours, so only the beginning of a first line is taken as
        # such.
        if not OPENING.startswith(line[: len(OPENING)]) or holds_record(line, 1) or next(later, b""):
            raise _damage(offset, number, "it does not begin as a journal does")
        return
    if holds_record(line, 1):
        raise _damage(offset, number, "its checksum does not match, and another record is glued to it")
    for other in later:
        if len(other) > MAX_LINE or holds_record(other, 0):
            raise _damage(offset, number, "its checksum does not match, and records follow it")


def _damage(offset: int, number: int, reason: str) -> DamagedJournalError:
    return DamagedJournalError(
        f"The journal is damaged at byte {offset} (line {number}): {reason}.", offset, number, reason
    )
