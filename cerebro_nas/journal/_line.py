"""One line of a journal: JSON that starts with the checksum of what follows.

`{"crc":"1a2b3c4d","seq":12,"time":3.25,"kind":"event","data":{...}}` and a newline. The checksum is the CRC-32 of
every byte after its closing quote, the newline included; it starts from the checksum of the line before.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from dataclasses import dataclass
from typing import Any

from cerebro_nas.errors import ConfigError

MAX_LINE = 64 * 2**20
OPENING = b'{"crc":"'

_CHECKSUM = slice(len(OPENING), len(OPENING) + 8)
_BODY = len(OPENING) + 8 + 1
_KEYS = ["crc", "seq", "time", "kind", "data"]
_START = re.compile(r'\{"crc":"[0-9a-f]{8}","seq":')
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Record:
    """What one line says.

    Attributes:
        seq: number of the record; the first after the journal's own line has 1, and none is missing.
        time: when, on the clock of whoever wrote it.
        kind: what it tells of.
        data: the rest, as JSON knows it: tuples have become lists and keys text; NaN and infinities stay.
    """

    seq: int
    time: float
    kind: str
    data: dict[str, Any]


def encode(record: Record, start: int) -> tuple[bytes, int]:
    """Give the line of a record, and its checksum.

    Args:
        record: what to write.
        start: checksum of the line before; 0 for the first.

    Raises:
        ConfigError: JSON cannot hold it, or it is too long.
    """
    if not math.isfinite(record.time):
        raise ConfigError(f"`time` must be finite. Received: time={record.time!r}. Pass seconds on some clock.")
    try:
        # ASCII only: any text survives, lone surrogates too. NaN and infinities are written as Python's JSON spells
        # them, which is what a metric of a diverged model needs and what other readers may refuse.
        data = json.dumps(record.data, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"`data` must be JSON: {error}. Received: kind={record.kind!r}. Pass plain values."
        ) from error
    kind = json.dumps(record.kind)
    body = f',"seq":{record.seq},"time":{float(record.time)!r},"kind":{kind},"data":{data}}}\n'.encode("ascii")
    if len(body) + _BODY > MAX_LINE:
        raise ConfigError(
            f"`data` must fit into a line of {MAX_LINE} bytes. Received: kind={record.kind!r} with {len(body)} bytes. "
            "Keep large values in files of their own, and their names in the journal."
        )
    checksum = zlib.crc32(body, start)
    return b'%s%08x"%s' % (OPENING, checksum, body), checksum


def verify(line: bytes, start: int) -> int | None:
    """Give the line's checksum if the line is whole, unchanged and follows the one with checksum `start`."""
    checksum = zlib.crc32(memoryview(line)[_BODY:], start)
    # Compared as bytes: the same number in capitals would be an edited line.
    whole = line.startswith(OPENING) and line.endswith(b"\n") and line[_BODY - 1 : _BODY] == b'"'
    return checksum if whole and line[_CHECKSUM] == b"%08x" % checksum else None


def decode(line: bytes) -> Record:
    """Read a line whose checksum was verified.

    Raises:
        ValueError: it holds no record.
    """
    try:
        return _record(json.loads(line.decode("utf-8")))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def holds_record(line: bytes, begin: int) -> bool:
    """Whether a whole record stands at the end of `line`, at `begin` or after it, whatever its checksum says.

    A record that lies inside another one's data does not count: a brace is left over behind it.
    """
    if not line.endswith(b"}\n"):
        return False
    text = line.decode("latin-1")
    match = _START.search(text, begin)
    while match is not None:
        after = match.start() + 1
        try:
            found, end = _DECODER.raw_decode(text, match.start())
            _record(found)
        except (ValueError, RecursionError):
            pass
        else:
            if end == len(text) - 1:
                return True
            after = end
        match = _START.search(text, after)
    return False


def _record(found: object) -> Record:
    if not isinstance(found, dict) or list(found) != _KEYS:
        raise ValueError("it is not an object of " + ", ".join(_KEYS))
    seq, time, kind, data = (found[key] for key in _KEYS[1:])
    if type(seq) is not int or seq < 0:
        raise ValueError("its seq is not a number of a record")
    if not isinstance(time, float) or not math.isfinite(time):
        raise ValueError("its time is not a finite number")
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise ValueError("its kind is not text, or its data no object")
    return Record(seq, time, kind, data)
