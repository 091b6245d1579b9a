from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import FencedError
from cerebro_nas.errors import StoreError
from cerebro_nas.journal import SCHEMA
from cerebro_nas.journal import DamagedJournalError
from cerebro_nas.journal import Journal
from cerebro_nas.journal import Record
from cerebro_nas.journal import parse

_RECORDS = tuple(Record(seq, seq / 2, "event", {"trial": f"t{seq}", "loss": 1 / seq}) for seq in range(1, 5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my journal.jsonl"


def _write(path: Path, records: tuple[Record, ...] = _RECORDS) -> bytes:
    with Journal.open(path) as journal:
        for record in records:
            assert journal.append(record.kind, record.data, record.time) == record.seq
    return path.read_bytes()


def _read(path: Path) -> tuple[Record, ...]:
    with Journal.open(path) as journal:
        return journal.records


def test_what_is_written_is_read(path: Path) -> None:
    _write(path, _RECORDS[:2])
    with Journal.open(path) as journal:
        assert journal.records == _RECORDS[:2]
        assert (journal.path, journal.repaired) == (path, None)
        for record in _RECORDS[2:]:
            journal.append(record.kind, record.data, record.time)
        # It tells what was there, not what was added.
        assert journal.records == _RECORDS[:2]
        # Nothing waits in memory: a killed process loses nothing that it appended.
        assert parse(path.read_bytes()).records == _RECORDS
    assert _read(path) == _RECORDS


@pytest.mark.case(11)
@pytest.mark.parametrize("empty", [False, True])
def test_missing_and_empty_are_the_same(path: Path, empty: bool, caplog: pytest.LogCaptureFixture) -> None:
    if empty:
        path.touch()
    with Journal.open(path) as journal:
        assert (journal.records, journal.repaired) == ((), None)
    parsed = parse(path.read_bytes())
    assert (parsed.schema, parsed.good_bytes) == (SCHEMA, path.stat().st_size)
    assert not caplog.records
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.case(11)
def test_a_torn_tail_is_cut_off_and_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = _write(path)
    ends = [match.end() for match in re.finditer(b"\n", whole)]
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        caplog.clear()
        good = max((end for end in ends if end <= length), default=0)
        with Journal.open(path) as journal:
            assert journal.records == _RECORDS[: max(0, sum(end <= length for end in ends) - 1)]
            if good == length:
                assert (journal.repaired, caplog.records) == (None, [])
                continue
            assert journal.repaired is not None
            assert journal.repaired.read_bytes() == whole[good:length]
            assert re.fullmatch(re.escape(path.name) + r"\.torn-\d{8}T\d{6}\.\d{6}Z", journal.repaired.name)
            (warning,) = caplog.records
            assert warning.levelno == logging.WARNING
            assert str(journal.repaired) in warning.getMessage()
            assert journal.append("event", {"after": length}, 9.0) == len(journal.records) + 1
            journal.repaired.unlink()
        assert _read(path)[-1].data == {"after": length}


@pytest.mark.case(11)
def test_a_changed_byte_in_the_last_line_is_a_torn_tail(path: Path) -> None:
    whole = _write(path)
    begin = whole.rindex(b"\n", 0, -1) + 1
    path.write_bytes(whole[:-9] + b"X" + whole[-8:])
    with Journal.open(path) as journal:
        assert journal.records == _RECORDS[:-1]
        assert journal.repaired is not None
        assert journal.repaired.read_bytes() == whole[begin:-9] + b"X" + whole[-8:]
    assert path.read_bytes() == whole[:begin]


@pytest.mark.case(11)
@pytest.mark.parametrize("line", [1, 2, 4])
def test_damage_before_the_end_is_refused_and_nothing_changes(path: Path, line: int) -> None:
    lines = _write(path).splitlines(keepends=True)
    offset = sum(map(len, lines[: line - 1]))
    data = bytearray(b"".join(lines))
    data[offset + 30] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedJournalError, match=rf"byte {offset} \(line {line}\).*Nothing was changed") as caught:
        Journal.open(path)
    assert (caught.value.offset, caught.value.line) == (offset, line)
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == data
    # The command that the message names does what the message says.
    subprocess.run(["/bin/sh", "-c", str(caught.value).splitlines()[-1]], check=True)
    assert _read(path) == _RECORDS[: max(0, line - 2)]
    assert path.with_name(f"{path.name}.damaged").read_bytes() == data


@pytest.mark.case(11)
@pytest.mark.parametrize("edit", [lambda a, b: a[:-1] + b, lambda a, b: a + b"rubbish\n" + b], ids=["glued", "rubbish"])
def test_glued_and_foreign_lines_are_refused(path: Path, edit: Callable[[bytes, bytes], bytes]) -> None:
    *begin, last = _write(path).splitlines(keepends=True)
    path.write_bytes(edit(b"".join(begin), last))
    before = path.read_bytes()
    with pytest.raises(CorruptStateError):
        Journal.open(path)
    assert path.read_bytes() == before


def test_another_schema_is_refused(path: Path) -> None:
    with Journal.open(path, schema=7) as journal:
        journal.append("event", {}, 0.0)
    with path.open("ab") as stream:
        stream.write(b"torn")
    before = path.read_bytes()
    with pytest.raises(CorruptStateError, match="have schema 7, and this one reads schema 1"):
        Journal.open(path)
    assert path.read_bytes() == before
    with Journal.open(path, schema=7) as journal:
        assert len(journal.records) == 1


@pytest.mark.parametrize("kind", ["directory", "pipe", "no parent"])
def test_what_is_no_file_is_refused(path: Path, kind: str) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = path / "journal"
    with pytest.raises(StoreError, match=re.escape(str(path))):
        Journal.open(path)


def test_flushed_when_there_is_something_new(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []

    def fsync(handle: int, real: Callable[[int], None] = os.fsync) -> None:
        flushed.append("directory" if Path(f"/proc/self/fd/{handle}").is_dir() else "file")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    journal = Journal.open(path)
    if Path("/proc/self/fd").exists():
        assert flushed == ["file", "directory"]
    flushed.clear()
    journal.commit()
    assert not flushed
    journal.append("event", {}, 0.0)
    journal.append("event", {}, 0.0)
    assert not flushed
    journal.commit()
    journal.commit()
    assert len(flushed) == 1
    journal.append("event", {}, 0.0)
    journal.close()
    journal.close()
    assert len(flushed) == 2
    with Journal.open(path):
        pass
    assert len(flushed) == 2


def test_closed(path: Path) -> None:
    journal = Journal.open(path)
    journal.close()
    for use in (journal.commit, lambda: journal.append("event", {}, 0.0)):
        with pytest.raises(ConfigError, match="is closed"):
            use()


def test_a_refused_value_leaves_nothing(path: Path) -> None:
    with Journal.open(path) as journal:
        with pytest.raises(ConfigError):
            journal.append("event", {"a": object()}, 0.0)
        assert journal.append("event", {"a": 1}, 0.0) == 1
    assert [record.data for record in _read(path)] == [{"a": 1}]


@pytest.mark.case(27)
def test_the_old_writer_is_fenced_by_a_new_one(path: Path) -> None:
    old = Journal.open(path)
    old.append("event", {"by": "old"}, 0.0)
    with Journal.open(path) as new:
        new.append("event", {"by": "new"}, 0.0)
        before = path.read_bytes()
        for _ in range(2):
            with pytest.raises(FencedError, match="has taken over"):
                old.append("event", {"by": "old"}, 1.0)
        assert path.read_bytes() == before
        new.append("event", {"by": "new"}, 1.0)
    old.close()
    assert [record.data["by"] for record in _read(path)] == ["old", "new", "new"]


@pytest.mark.case(27)
@pytest.mark.parametrize("again", [False, True])
def test_the_writer_of_a_removed_journal_is_fenced(path: Path, again: bool) -> None:
    with Journal.open(path) as journal:
        path.unlink()
        if again:
            Journal.open(path).close()
        with pytest.raises(FencedError, match="was removed"):
            journal.append("event", {}, 0.0)


class _Disk:
    """Stands for `os.write`: takes a few bytes at once, and none beyond its room."""

    def __init__(self, room: int, at_once: int = 10**9, error: BaseException | None = None) -> None:
        self.room = room
        self._at_once = at_once
        self._error = error or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._real = os.write

    def write(self, handle: int, data: memoryview) -> int:
        taken = min(self.room, self._at_once, len(data))
        if not taken:
            raise self._error
        self.room -= taken
        return self._real(handle, data[:taken])


@pytest.mark.case(13)
@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_full_disk_leaves_a_good_journal(path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    with Journal.open(path) as journal:
        journal.append("event", {"n": 1}, 0.0)
        before = path.read_bytes()
        disk = _Disk(room, at_once=20)
        monkeypatch.setattr(os, "write", disk.write)
        for _ in range(2):
            with pytest.raises(StoreError, match=rf"needs 1 MiB free on {re.escape(str(path))}") as caught:
                journal.append("event", {"n": "x" * 100}, 0.0)
            assert caught.value.errno == errno.ENOSPC
            assert path.read_bytes() == before
        disk.room = 10**6
        assert journal.append("event", {"n": 2}, 0.0) == 2
    assert [record.data["n"] for record in _read(path)] == [1, 2]


@pytest.mark.case(13)
def test_the_need_is_said_in_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.open(path) as journal:
        monkeypatch.setattr(os, "write", _Disk(3 * 2**20).write)
        with pytest.raises(StoreError, match=r"needs 6 MiB free .* \(5\d{6} bytes\)"):
            journal.append("event", {"n": "x" * 5_500_000}, 0.0)


@pytest.mark.case(13)
def test_a_journal_that_cannot_be_begun(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _Disk(30).write)
        with pytest.raises(StoreError, match="needs 1 MiB free"):
            Journal.open(path)
    assert path.read_bytes() == b""
    _write(path)
    assert _read(path) == _RECORDS


@pytest.mark.case(13)
def test_another_error_of_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.open(path) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", _Disk(30, error=OSError(errno.EIO, "I/O error")).write)
            with pytest.raises(StoreError, match="Check the disk") as caught:
                journal.append("event", {}, 0.0)
            assert caught.value.errno == errno.EIO
        journal.append("event", {}, 0.0)
    assert len(_read(path)) == 1


@pytest.mark.case(13)
def test_a_disk_that_refuses_to_cut_closes_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, length: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    journal = Journal.open(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _Disk(30).write)
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(StoreError):
            journal.append("event", {}, 0.0)
    with pytest.raises(ConfigError, match="Open it again"):
        journal.append("event", {}, 0.0)
    with Journal.open(path) as again:
        assert again.repaired is not None
        assert again.records == ()


@pytest.mark.case(13)
def test_a_flush_that_fails_is_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal.open(path) as journal:
        journal.append("event", {}, 0.0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            for _ in range(2):
                with pytest.raises(StoreError, match="needs 1 MiB free"):
                    journal.commit()
        journal.commit()


@pytest.mark.case(13)
def test_no_room_for_the_copy_of_a_torn_tail(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torn = _write(path)[:-5]
    path.write_bytes(torn)

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StoreError, match="needs 1 MiB free"):
            Journal.open(path)
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == torn
    assert _read(path) == _RECORDS[:-1]


@pytest.mark.case(10)
@pytest.mark.parametrize("room", [0, 40])
def test_an_interrupt_leaves_nothing_of_a_record(path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    with Journal.open(path) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", _Disk(room, error=KeyboardInterrupt()).write)
            with pytest.raises(KeyboardInterrupt):
                journal.append("event", {"n": 1}, 0.0)
        assert journal.append("event", {"n": 2}, 0.0) == 1
    assert [record.data["n"] for record in _read(path)] == [2]


@pytest.mark.case(10)
def test_an_interrupt_behind_the_last_byte(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(handle: int, data: memoryview, real: Callable[[int, memoryview], int] = os.write) -> int:
        real(handle, data)
        raise KeyboardInterrupt

    with Journal.open(path) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            with pytest.raises(KeyboardInterrupt):
                journal.append("event", {"n": 1}, 0.0)
        assert journal.append("event", {"n": 2}, 0.0) == 1
    assert [record.data["n"] for record in _read(path)] == [2]


_FILL = """
import resource, sys
from pathlib import Path
from cerebro_nas.errors import StoreError
from cerebro_nas.journal import Journal

path = Path(sys.argv[1])
with Journal.open(path) as journal:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    written = 0
    try:
        while True:
            written = journal.append("event", {"text": "x" * 100}, 0.0)
            journal.commit()
    except StoreError as error:
        sys.stdout.write(f"{error}\\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    sys.stdout.write(f"{written} {journal.append('event', {}, 0.0)}\\n")
"""


@pytest.mark.case(13)
def test_a_limit_that_the_system_sets(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FILL, str(path)], capture_output=True, text=True, check=True)
    message, numbers = done.stdout.splitlines()
    assert "File too large" in message
    assert f"needs 1 MiB free on {path}" in message
    written, after = map(int, numbers.split())
    assert 3 < written == after - 1
    assert len(_read(path)) == after


_FULL = """
set -e
mount -t tmpfs -o size=64k none "$1"
exec "$2" -c '
import sys
from pathlib import Path
from cerebro_nas.errors import StoreError
from cerebro_nas.journal import Journal, parse

folder = Path(sys.argv[1])
(folder / "other").write_bytes(bytes(40_000))
with Journal.open(folder / "journal") as journal:
    try:
        while True:
            journal.append("event", {"text": "x" * 1000}, 0.0)
    except StoreError as error:
        sys.stdout.write(str(error))
    (folder / "other").unlink()
    last = journal.append("event", {}, 0.0)
assert [record.seq for record in parse((folder / "journal").read_bytes()).records] == list(range(1, last + 1))
' "$1"
"""


@pytest.mark.case(13)
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run([*command, "mount", "-t", "tmpfs", "none", str(tmp_path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets nobody mount a small file system")
    done = subprocess.run(
        [*command, "sh", "-c", _FULL, "sh", str(tmp_path), sys.executable], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in done.stdout
    assert "needs 1 MiB free on" in done.stdout


_KILLED = """
import os, sys
from pathlib import Path
from cerebro_nas.journal import Journal

real = os.write
journal = Journal.open(Path(sys.argv[1]))
journal.append("event", {"n": 1}, 0.0)
def torn(handle, data):
    real(handle, data[:25])
    os.kill(os.getpid(), 9)
os.write = torn
journal.append("event", {"n": 2}, 0.0)
"""


@pytest.mark.case(9, 11)
def test_killed_in_the_middle_of_a_line(path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", _KILLED, str(path)]).returncode == -9
    with Journal.open(path) as journal:
        assert [record.data["n"] for record in journal.records] == [1]
        assert journal.repaired is not None
        assert len(journal.repaired.read_bytes()) == 25


def test_the_file_is_not_left_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("open files cannot be counted here")

    def count() -> int:
        return len(os.listdir(folder))

    def attempt(content: bytes) -> None:
        path.write_bytes(content)
        try:
            Journal.open(path).close()
        except StoreError:
            pass

    whole = _write(path)
    before = count()
    attempt(b"foreign\n")
    attempt(whole[:-3])
    monkeypatch.setattr(os, "write", _Disk(10).write)
    attempt(b"")
    assert count() == before
