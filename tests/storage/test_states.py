"""States on disk: names that are never used twice, reads that are right or refused, and removal by the driver alone."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import StoreError
from cerebro_nas.storage import Best
from cerebro_nas.storage import StateFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "my states"


@pytest.fixture
def states(root: Path) -> StateFiles:
    states = StateFiles(f"file://{root}")
    for trial in ("t", "u"):
        states.write_spec(trial, "{}")
    return states


def _files(root: Path, trial: str = "t") -> list[str]:
    return sorted(os.listdir(root / trial))


def _paths(root: Path, name: str) -> list[Path]:
    return [root / "t" / f"state-{name}.{suffix}" for suffix in ("safetensors", "json")]


# --- writing and reading ----------------------------------------------------------------------------------------------


def test_states_come_back_under_their_names(states: StateFiles) -> None:
    names = [states.write("t", generation, b"%d" % generation) for generation in (2, 10, 1)]
    assert [states.read("t", name) for name in names] == [b"2", b"10", b"1"]
    assert states.names("t") == [names[2], names[0], names[1]]
    assert names[1].startswith("000010-")


def test_generations_beyond_six_digits_are_in_order(states: StateFiles) -> None:
    names = [states.write("t", generation, b"") for generation in (1_000_000, 999_999)]
    assert states.names("t") == names[::-1]


@pytest.mark.case(2, 3)
def test_writing_a_generation_again_is_another_state(states: StateFiles) -> None:
    """A worker that was given up may write late: what the search counts on stays as it is."""
    first = states.write("t", 1, b"counted on")
    second = states.write("t", 1, b"written by a zombie")
    assert first != second
    assert states.read("t", first) == b"counted on"
    assert states.names("t") == sorted([first, second])


def test_trials_are_apart(states: StateFiles) -> None:
    name = states.write("t", 1, b"one")
    with pytest.raises(StoreError):
        states.read("u", name)
    assert (states.names("u"), states.best("u"), states.names("never seen")) == ([], None, [])
    assert states.trials() == ["t", "u"]


def test_a_store_that_is_empty_has_no_trials(tmp_path: Path) -> None:
    assert StateFiles(str(tmp_path / "nowhere")).trials() == []


def test_files_of_others_are_no_states(states: StateFiles, root: Path) -> None:
    name = states.write("t", 1, b"")
    for other in ("state-1.json", "state-000001-xyz.json", "state-000001-0123456.json", "notes.txt", "state-.json"):
        (root / "t" / other).write_text("{}")
    assert states.names("t") == [name]
    states.keep_only("t", [])
    assert len(_files(root)) == 6


def test_a_state_needs_both_files(states: StateFiles, root: Path) -> None:
    for position in range(2):
        name = states.write("t", 1, b"payload")
        _paths(root, name)[position].unlink()
        assert states.names("t") == []
        with pytest.raises(StoreError) as caught:
            states.read("t", name)
        assert not isinstance(caught.value, CorruptStateError)


@pytest.mark.parametrize("name", ["", "../u/000001-01234567", "000001-01234567\n", "000001-0123456/", "1", "best"])
def test_names_cannot_lead_elsewhere(states: StateFiles, name: str) -> None:
    for use in (lambda: states.read("t", name), lambda: states.remove("t", [name])):
        with pytest.raises(StoreError, match="No state is called"):
            use()
    with pytest.raises(ConfigError):
        states.write("../x", 1, b"")


def test_a_directory_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    """Its search was deleted; a worker that has not heard of it must not bring a part of it back."""
    states = StateFiles(str(tmp_path / "gone"))
    with pytest.raises(StoreError, match="could not be written") as caught:
        states.write("t", 1, b"")
    assert caught.value.errno == errno.ENOENT
    assert not (tmp_path / "gone").exists()


def test_spec(states: StateFiles, root: Path) -> None:
    states.write_spec("new", '{"ü": 1}')
    assert states.read_spec("new") == '{"ü": 1}'
    with pytest.raises(StoreError):
        states.read_spec("other")
    (root / "t" / "spec.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CorruptStateError):
        states.read_spec("t")


# --- damage -----------------------------------------------------------------------------------------------------------


@st.composite
def _damage(draw: st.DrawFn) -> tuple[str, int, int]:
    return draw(st.sampled_from(["cut", "flip"])), draw(st.integers(0, 2**16)), draw(st.integers(1, 255))


def _damaged(data: bytes, damage: tuple[str, int, int]) -> bytes:
    kind, where, bits = damage
    if not data:
        return b"x"
    place = where % len(data)
    if kind == "cut":
        return data[:place]
    return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]


@contextlib.contextmanager
def _a_state(payload: bytes = b"payload") -> Iterator[tuple[StateFiles, str, Path]]:
    """Marked best; on a disk that need not outlast a power failure, as there are hundreds of them."""
    with tempfile.TemporaryDirectory() as folder, mock.patch("os.fsync"):
        states = StateFiles(folder)
        name = states.write("t", 7, payload)
        states.mark_best("t", name, 7, 3)
        yield states, name, Path(folder, "t")


@pytest.mark.case(12)
@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=300), file=st.sampled_from(["state", "manifest", "mark"]), damage=_damage())
def test_damage_is_found_and_wrong_bytes_are_never_given(
    payload: bytes, file: str, damage: tuple[str, int, int]
) -> None:
    with _a_state(payload) as (states, name, folder):
        path = {
            "state": folder / f"state-{name}.safetensors",
            "manifest": folder / f"state-{name}.json",
            "mark": folder / "best.json",
        }[file]
        path.write_bytes(_damaged(path.read_bytes(), damage))
        try:
            found = states.best("t"), states.read_best("t")
        except CorruptStateError as error:
            assert f"{path} is damaged" in str(error)
        else:
            # A flipped bit in the layout of a JSON file may leave it with the same meaning; nothing else may pass.
            assert (damage[0], file == "state") == ("flip", False)
            assert found == (Best(name, 7, 3), payload)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "generation", "size", "sha256", "epoch", "crc32"]), inner, max_size=6
        )
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


@pytest.mark.case(12)
@settings(max_examples=300, deadline=None)
@given(text=st.binary(max_size=200) | _JSON)
def test_anything_else_in_a_manifest_or_a_mark_is_refused(text: bytes) -> None:
    with _a_state() as (states, name, folder):
        (folder / f"state-{name}.json").write_bytes(text)
        (folder / "best.json").write_bytes(text)
        for use in (lambda: states.read("t", name), lambda: states.best("t"), lambda: states.read_best("t")):
            with pytest.raises(CorruptStateError):
                use()


@pytest.mark.case(12)
@pytest.mark.parametrize("text", [b"[" * 4000, b'{"a":' * 800, b"1" * 4090, b" " * 10_000, b'{"crc32":' + b"9" * 5000])
def test_manifests_that_would_exhaust_the_reader(states: StateFiles, root: Path, text: bytes) -> None:
    name = states.write("t", 1, b"payload")
    _paths(root, name)[1].write_bytes(text)
    with pytest.raises(CorruptStateError, match="is damaged"):
        states.read("t", name)


@pytest.mark.case(12)
@pytest.mark.parametrize(
    "change",
    [{"size": True}, {"size": -1}, {"size": 7.0}, {"size": 2**70}, {"sha256": 5}, {"generation": 2}, {"name": "x"}],
)
def test_a_manifest_that_is_sealed_but_odd(states: StateFiles, root: Path, change: dict[str, Any]) -> None:
    from cerebro_nas.storage._sealed import seal

    name = states.write("t", 1, b"payload")
    path = _paths(root, name)[1]
    fields = json.loads(path.read_bytes())
    del fields["crc32"]
    path.write_bytes(seal({**fields, **change}))
    with pytest.raises(CorruptStateError):
        states.read("t", name)


@pytest.mark.case(12)
def test_the_manifest_of_another_state_does_not_do(states: StateFiles, root: Path) -> None:
    one, two = states.write("t", 1, b"same"), states.write("t", 1, b"same")
    _paths(root, one)[1].write_bytes(_paths(root, two)[1].read_bytes())
    with pytest.raises(CorruptStateError, match="has the manifest of state"):
        states.read("t", one)


# --- the best one -----------------------------------------------------------------------------------------------------


def test_the_best_is_marked_and_read(states: StateFiles, root: Path) -> None:
    with pytest.raises(StoreError, match="has no state marked best"):
        states.read_best("t")
    first, second = states.write("t", 2, b"first"), states.write("t", 4, b"second")
    for name, generation, epoch in ((first, 2, 0), (second, 4, 1)):
        states.mark_best("t", name, generation, epoch)
        assert states.best("t") == Best(name, generation, epoch)
    assert states.read_best("t") == b"second"
    states.remove("t", [second])
    with pytest.raises(StoreError, match="could not be read"):
        states.read_best("t")
    with pytest.raises(ConfigError, match="`generation` must be that of the state"):
        states.mark_best("t", first, 3, 0)
    assert "best.json" in _files(root)


# --- removal ----------------------------------------------------------------------------------------------------------


def test_what_is_removed_is_gone_and_the_rest_is_not(states: StateFiles, root: Path) -> None:
    one, two, three = (states.write("t", generation, b"x") for generation in (1, 2, 3))
    states.remove("t", [one, "000009-00000000", three])
    assert states.names("t") == [two]
    assert len(_files(root)) == 3
    states.remove("never seen", [two])


@pytest.mark.case(2, 13)
def test_leftovers_are_removed_and_what_is_written_just_now_is_not(states: StateFiles, root: Path) -> None:
    from cerebro_nas.storage._files import own_temporary

    kept, other = states.write("t", 1, b"x"), states.write("t", 2, b"y")
    states.mark_best("t", kept, 1, 0)
    orphan = states.write("t", 3, b"z")
    _paths(root, orphan)[1].unlink()
    (root / "t" / ".tmp-01234567-of-a-worker-that-died").write_bytes(b"x")
    (root / "t" / f"{own_temporary()}mine").write_bytes(b"x")
    states.keep_only("t", [kept])
    # A worker may be writing it.
    assert (root / "t" / ".tmp-01234567-of-a-worker-that-died").exists()
    states.keep_only("t", [kept], sweep=True)
    assert states.names("t") == [kept]
    assert other not in states.names("t")
    assert _files(root) == sorted(
        [f"{own_temporary()}mine", "best.json", "spec.json", *(path.name for path in _paths(root, kept))]
    )


# --- faults while writing ---------------------------------------------------------------------------------------------


@pytest.mark.case(13)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_says_what_it_needs_and_leaves_nothing(
    states: StateFiles, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    before = _files(root)

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr({"fsync": os, "replace": Path}[call], call, fail)
    with pytest.raises(StoreError, match=rf"needs 3 MiB free on {root}/t: .*Free space") as caught:
        states.write("t", 1, b"x" * (2**21 + 1))
    assert caught.value.errno == number
    assert _files(root) == before


@pytest.mark.case(13)
def test_a_disk_that_is_full_at_the_manifest_leaves_nothing(
    states: StateFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, replace = _files(root), Path.replace

    def fail_at_the_manifest(path: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail_at_the_manifest)
    with pytest.raises(StoreError, match="needs 1 MiB free"):
        states.write("t", 1, b"x")
    assert _files(root) == before


_LIMITED = """
import resource, signal, sys
from cerebro_nas.errors import StoreError
from cerebro_nas.storage import StateFiles
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
states = StateFiles(sys.argv[1])
states.write("t", 1, b"small")
try:
    states.write("t", 2, b"x" * 3_000_000)
except StoreError as error:
    print(error)
states.write("t", 3, b"small again")
"""


@pytest.mark.case(13)
def test_a_real_limit_in_a_process_of_its_own(states: StateFiles, root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _LIMITED, str(root)], capture_output=True, text=True, check=True)
    assert f"needs 3 MiB free on {root}/t" in done.stdout
    assert [states.read("t", name) for name in states.names("t")] == [b"small", b"small again"]
    assert len(_files(root)) == 5


@pytest.mark.case(14)
def test_a_store_that_fails_for_a_moment(states: StateFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, fsync = [errno.EIO, errno.ESTALE], os.fsync

    def stumble(handle: int) -> None:
        if failures:
            raise OSError(failures.pop(), "for a moment")
        fsync(handle)

    monkeypatch.setattr("cerebro_nas.storage._retry._PAUSES", (0.0, 0.0))
    monkeypatch.setattr(os, "fsync", stumble)
    assert states.read("t", states.write("t", 1, b"payload")) == b"payload"
    assert not failures


@pytest.mark.case(14)
def test_missing_rights_are_told_at_once(states: StateFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def refuse(path: Path, **_: object) -> None:
        calls.append(path)
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match="Permission denied.*Check permissions") as caught:
        states.write("t", 1, b"")
    assert (caught.value.errno, len(calls)) == (errno.EACCES, 1)


_DIES = """
import os, sys
from pathlib import Path
from cerebro_nas.storage import StateFiles
replace = Path.replace
def die_before(path, target):
    if target.suffix == sys.argv[2]:
        os._exit(9)
    return replace(path, target)
Path.replace = die_before
StateFiles(sys.argv[1]).write("t", 1, b"payload")
"""


@pytest.mark.case(2)
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_worker_that_dies_in_the_middle_of_a_write(states: StateFiles, root: Path, suffix: str) -> None:
    kept = states.write("t", 1, b"kept")
    done = subprocess.run([sys.executable, "-c", _DIES, str(root), suffix], check=False)
    assert done.returncode == 9
    assert states.names("t") == [kept]
    assert len(_files(root)) == 5
    states.keep_only("t", [kept], sweep=True)
    assert len(_files(root)) == 3
    assert states.read("t", kept) == b"kept"


def _write_many(url: str) -> None:
    states = StateFiles(url)
    for generation in range(1, 61):
        states.write("t", generation, b"%d" % generation * 1000)


@pytest.mark.case(2)
def test_a_worker_writes_while_the_driver_reads_and_removes(tmp_path: Path) -> None:
    states = StateFiles(str(tmp_path))
    process = multiprocessing.get_context("spawn").Process(target=_write_many, args=(str(tmp_path),))
    process.start()
    try:
        while process.is_alive():
            names = states.names("t")
            for name in names:
                assert states.read("t", name) == b"%d" % int(name[:6]) * 1000
            states.remove("t", names[:-2])
    finally:
        process.join()
    assert process.exitcode == 0
    states.remove("t", states.names("t")[:-2])
    assert [int(name[:6]) for name in states.names("t")] == [59, 60]
