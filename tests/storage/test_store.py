from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest

from cerebro_nas.errors import StoreError
from cerebro_nas.storage import LocalStore
from cerebro_nas.storage import open_store


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_places(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, train_path=tmp_path / "t", runs_path=f"file://{tmp_path}/r")
    assert store.data_url("x") == str(tmp_path / "t" / "x")
    assert store.runs_url("x") == str(tmp_path / "r" / "x")


def test_bytes_come_back(store: LocalStore) -> None:
    url = f"{store.runs_url('p')}/deep/file.bin"
    assert not store.exists(url)
    store.write_bytes(url, b"one")
    store.write_bytes(url, b"two")
    assert store.read_bytes(url) == open_store(url).read_bytes(url) == b"two"
    assert store.listdir(f"{store.runs_url('p')}/deep") == ["file.bin"]
    assert store.listdir(store.runs_url("nothing")) == []


def test_missing_file(store: LocalStore) -> None:
    with pytest.raises(StoreError, match="could not be read"):
        store.read_bytes(f"{store.runs_url('p')}/none")


def test_store_travels_to_executors(store: LocalStore) -> None:
    assert pickle.loads(pickle.dumps(store)).data_url("x") == store.data_url("x")  # noqa: S301


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    url = f"{store.runs_url('p')}/file"
    store.write_bytes(url, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr({"fsync": os, "replace": Path}[call], call, fail)
    with pytest.raises(StoreError, match="No space left"):
        store.write_bytes(url, b"new")
    monkeypatch.undo()
    assert store.read_bytes(url) == b"old"
    assert os.listdir(store.runs_url("p")) == ["file"]


def test_a_file_where_a_directory_must_be(store: LocalStore) -> None:
    store.write_bytes(store.runs_url("p"), b"")
    with pytest.raises(StoreError, match="could not be written"):
        store.write_bytes(f"{store.runs_url('p')}/file", b"")


def test_readers_never_see_a_part(store: LocalStore) -> None:
    url = f"{store.runs_url('p')}/file"
    contents = [bytes([number]) * 300_000 for number in range(2)]
    store.write_bytes(url, contents[0])
    done = threading.Event()

    def write() -> None:
        for number in range(60):
            store.write_bytes(url, contents[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(store.read_bytes(url))
    writer.join()
    assert seen <= set(contents)


@pytest.mark.case(26)
def test_owned_directory_is_deleted_and_links_are_not_followed(store: LocalStore, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "kept.txt").write_text("kept")
    url = store.runs_url("p")
    store.create_owned(url, "search")
    store.create_owned(url, "search")
    store.write_bytes(f"{url}/deep/file", b"x")
    Path(url, "link").symlink_to(foreign)
    Path(url, "deep", "link").symlink_to(foreign)
    store.delete_owned(url)
    assert not Path(url).exists()
    assert (foreign / "kept.txt").read_text() == "kept"
    store.delete_owned(url)


@pytest.mark.case(26)
def test_a_foreign_directory_is_neither_taken_nor_deleted(store: LocalStore) -> None:
    mine = Path(store.runs_url("p"), "mine.txt")
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(StoreError, match="did not write"):
        store.create_owned(str(mine.parent), "search")
    with pytest.raises(StoreError, match="not removed"):
        store.delete_owned(str(mine.parent))
    assert os.listdir(mine.parent) == ["mine.txt"]


@pytest.mark.case(26)
def test_a_link_to_an_owned_directory_is_not_deleted(store: LocalStore) -> None:
    store.create_owned(store.runs_url("p"), "search")
    Path(store.runs_url("link")).symlink_to(store.runs_url("p"))
    with pytest.raises(StoreError, match="not removed"):
        store.delete_owned(store.runs_url("link"))
    assert store.exists(store.runs_url("p"))


def test_an_interrupted_deletion_can_be_repeated(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    url = store.runs_url("p")
    store.create_owned(url, "search")
    store.write_bytes(f"{url}/statistics.json", b"{}")
    store.write_bytes(f"{url}/train/part", b"x")

    def fail(*_: object) -> None:
        raise OSError("interrupted")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="interrupted"):
        patch.setattr("shutil.rmtree", fail)
        store.delete_owned(url)
    # What says "complete" is gone first.
    assert not store.exists(f"{url}/statistics.json")
    store.delete_owned(url)
    assert not store.exists(url)


def test_spark_takes_the_path_literally(store: LocalStore) -> None:
    assert store.spark_url("/a b/[x]{1,2}*?%20") == "file:/a b/\\[x\\]\\{1,2\\}\\*\\?%20"
