"""The description beside a model is what the model is checked against."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import keras
import pytest

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.results import load_model
from cerebro_nas.results import save_verified
from cerebro_nas.results._manifest import check_sha256
from cerebro_nas.results._manifest import manifest_path

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A model as exported, and its description."""
    path = tmp_path_factory.mktemp("good") / "m.keras"
    save_verified(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), path)
    return path.read_bytes(), manifest_path(path).read_bytes()


@pytest.fixture
def path(files: tuple[bytes, bytes], tmp_path: Path) -> Path:
    path = tmp_path / "m.keras"
    path.write_bytes(files[0])
    manifest_path(path).write_bytes(files[1])
    return path


def test_where_it_is(tmp_path: Path) -> None:
    assert manifest_path(tmp_path / "a.keras") == tmp_path / "a.keras.json"
    assert manifest_path(tmp_path) == tmp_path / "export.json"


def test_a_model_as_it_was_exported_is_loaded(path: Path) -> None:
    assert load_model(path).output_shape == (None, 1)


def test_both_may_be_renamed_together(path: Path) -> None:
    other = path.with_name("other.keras")
    manifest_path(path).rename(manifest_path(other))
    assert load_model(path.rename(other)).output_shape == (None, 1)


def test_a_model_alone_is_loaded(path: Path) -> None:
    manifest_path(path).unlink()
    assert load_model(path).output_shape == (None, 1)


def test_a_model_that_was_changed_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Before anything of the archive is read.
    monkeypatch.setattr("cerebro_nas.results._import.repack_checked", None)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CorruptStateError, match="must have the sha256 that m.keras.json beside it gives, .* Received:"):
        load_model(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: [],
        lambda plain: {**plain, "format": "another"},
        lambda plain: {**plain, "files": []},
        lambda plain: {**plain, "files": plain["files"] * 2},
        lambda plain: {**plain, "files": 3},
        lambda plain: {**plain, "files": [{"path": "m.keras"}]},
        lambda plain: {**plain, "files": [{"sha256": None}]},
        lambda plain: {key: value for key, value in plain.items() if key != "files"},
    ],
)
def test_a_description_of_something_else_is_refused(path: Path, change: Any) -> None:
    plain = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps(change(plain)))
    with pytest.raises(CorruptStateError, match="must describe the model beside it"):
        check_sha256(path, io.BytesIO())


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 200_000, b"null"])
def test_a_damaged_description_is_refused(path: Path, text: bytes) -> None:
    manifest_path(path).write_bytes(text)
    with pytest.raises(CorruptStateError, match="must describe the model beside it"):
        check_sha256(path, io.BytesIO())


def test_a_description_that_cannot_be_read(path: Path) -> None:
    manifest_path(path).unlink()
    manifest_path(path).mkdir()
    with pytest.raises(CorruptStateError, match="could not be read"):
        check_sha256(path, io.BytesIO())


def test_the_stream_is_left_at_its_beginning(path: Path) -> None:
    with path.open("rb") as stream:
        check_sha256(path, stream)
        assert stream.tell() == 0
