"""Small JSON files that are read back as they were written, or refused."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.storage._files import read_file

_CHECK = "crc32"
_LIMIT = 4096


def seal(fields: Mapping[str, int | str]) -> bytes:
    """Give the fields as JSON, with a checksum."""
    return json.dumps({**fields, _CHECK: _checksum(fields)}, sort_keys=True).encode()


def read_sealed(path: Path, fields: Mapping[str, type[int] | type[str]]) -> dict[str, int | str]:
    """Read a file that `seal` made.

    Args:
        path: the file.
        fields: the names that it must have, no more and no less, with the types of their values.

    Raises:
        StoreError: it is not there, or cannot be read.
        CorruptStateError: it holds anything else.
    """
    data = read_file(path, _LIMIT + 1)
    try:
        return _unseal(data, fields)
    except (ValueError, RecursionError) as error:
        raise CorruptStateError(f"{path} is damaged: {error}. What it describes is not used.") from error


def _unseal(data: bytes, fields: Mapping[str, type[int] | type[str]]) -> dict[str, int | str]:
    if len(data) > _LIMIT:
        raise ValueError(f"it is longer than {_LIMIT} bytes")
    found = json.loads(data.decode())
    if not isinstance(found, dict) or set(found) != {*fields, _CHECK}:
        raise ValueError(f"it should hold {', '.join(sorted(fields))} and a checksum")
    check = found.pop(_CHECK)
    for name, kind in fields.items():
        # Not isinstance: True is no number here.
        if type(found[name]) is not kind or (kind is int and found[name] < 0):
            raise ValueError(f"{name!r} should be {'a whole number' if kind is int else 'a text'}")
    if check != _checksum(found):
        raise ValueError("its checksum does not match")
    return found


def _checksum(fields: Mapping[str, int | str]) -> int:
    return zlib.crc32(json.dumps(dict(fields), sort_keys=True).encode())
