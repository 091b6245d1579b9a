"""Looking into a `.keras` archive of unknown origin without trusting what it says: names, sizes, links."""

from __future__ import annotations

import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import BinaryIO

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.worker import parse_json

CONFIG = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"

_MAX_MEMBERS = 10_000
_MAX_NAME = 512
_MAX_BYTES = {METADATA: 1 << 20, CONFIG: 64 << 20}
# Keras stores without compression; a file that was packed again may be smaller, but not by orders of magnitude.
_MAX_RATIO = 10
_SMALL = 16 << 20
_PIECE = 1 << 20
_LOCAL_HEADER = 30
_ENCRYPTED = 0x1
_PLAIN = re.compile(r"assets(/[^/\\:\x00-\x1f]+)*/?")


def repack_checked(source: BinaryIO, size: int, clean: Path, weights: Path) -> dict[str, Any]:
    """Check an archive and write what it holds into a new one.

    The new one is what Keras reads: it trusts the sizes in an archive, and the table of contents of a crafted one need
    not tell every reader the same.

    Args:
        source: the archive.
        size: its bytes.
        clean: where the new archive is written.
        weights: where the file of weights is written, to be looked at.

    Returns:
        The configuration of the model.

    Raises:
        UnsafeModelError: the archive is made to do harm.
        CorruptStateError: it is damaged, or no archive of a model.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            check_members(members, size)
            with zipfile.ZipFile(clean, "w", zipfile.ZIP_STORED) as copy, weights.open("wb") as sink:
                for member in members:
                    _copy(archive, member, copy, sink if member.filename == WEIGHTS else None)
        with zipfile.ZipFile(clean) as copy:
            _object(copy, METADATA)
            return _object(copy, CONFIG)
    except UnsafeModelError:
        raise
    # A crafted archive takes zipfile to many ends: EOFError, struct's and codecs' ValueError, NotImplementedError, ...
    except (
        *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, ValueError, EOFError, KeyError, IndexError, RuntimeError),
        *(OSError, struct.error),
    ) as error:
        raise CorruptStateError(f"The file is no model that can be read: {error}. It was not loaded.") from error


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, copy: zipfile.ZipFile, sink: BinaryIO | None) -> None:
    if member.is_dir():
        return
    # Piece by piece: asked for everything, zipfile unpacks all there is, whatever size the member claims.
    with archive.open(member) as stream, copy.open(member.filename, "w", force_zip64=True) as target:
        while piece := stream.read(_PIECE):
            target.write(piece)
            if sink is not None:
                sink.write(piece)


def check_members(members: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Refuse an archive by its table of contents.

    Args:
        members: what the table lists.
        size: bytes of the whole file.

    Raises:
        UnsafeModelError: names lead elsewhere, sizes cannot be true, or members are no plain files.
        CorruptStateError: parts of a model are missing.
    """
    if len(members) > _MAX_MEMBERS:
        raise _refused(f"{len(members):,} members, where {_MAX_MEMBERS:,} are plenty")
    for member in members:
        _check_member(member)
    names = [member.filename.rstrip("/") for member in members]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise _refused(f"several members named {twice[0]!r}, of which each reader may take another")
    _check_sizes(members, size)
    missing = [name for name in (METADATA, CONFIG, WEIGHTS) if name not in names]
    if missing:
        raise CorruptStateError(f"The file is no model saved by Keras 3: it lacks {', '.join(missing)}.")


def _check_member(member: zipfile.ZipInfo) -> None:
    # `filename` is what was read up to a NUL, with this system's separators; the table's own words count.
    name = member.orig_filename
    if name not in (METADATA, CONFIG, WEIGHTS) and not _is_asset(name):
        raise _refused(f"a member named {name[:80]!r}")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(f"the member {name[:80]!r}, which is a link or a device")
    if member.flag_bits & _ENCRYPTED:
        raise _refused(f"the member {name[:80]!r}, which is encrypted")
    limit = _MAX_BYTES.get(name)
    if limit is not None and member.file_size > limit:
        raise _refused(f"{member.file_size:,} bytes of {name}, where {limit:,} are plenty")


def _is_asset(name: str) -> bool:
    parts = name.split("/")
    return (
        len(name) <= _MAX_NAME
        and _PLAIN.fullmatch(name) is not None
        and not {"", ".", ".."} & set(parts[:-1])
        and parts[-1] not in (".", "..")
    )


def _check_sizes(members: Sequence[zipfile.ZipInfo], size: int) -> None:
    total = sum(member.file_size for member in members)
    if total > max(_SMALL, _MAX_RATIO * size):
        raise _refused(f"members of {total:,} bytes in a file of {size:,} bytes")
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        # Members that share their bytes would unpack to many times the size of the file.
        if member.header_offset < end or member.header_offset + _LOCAL_HEADER + member.compress_size > size:
            raise _refused(f"the member {member.filename[:80]!r}, whose bytes belong to another one or to none")
        end = member.header_offset + _LOCAL_HEADER + member.compress_size


def _object(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    with archive.open(name) as stream:
        found = parse_json(stream.read())
    if not isinstance(found, dict):
        raise CorruptStateError(f"The file is no model that can be read: {name} holds no object. It was not loaded.")
    return found


def _refused(what: str) -> UnsafeModelError:
    return UnsafeModelError(
        "A model file must hold the members that Keras writes (metadata.json, config.json, model.weights.h5 and plain "
        f"files below assets/), with sizes that are true. Received: {what}. It was not loaded; do not trust the file."
    )
