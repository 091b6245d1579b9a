from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from cerebro_nas.data._unischema import PetastormField
from cerebro_nas.data._unischema import dump_fields
from cerebro_nas.data._unischema import load_fields
from cerebro_nas.data._unischema import petastorm_metadata
from cerebro_nas.data._unischema import read_petastorm_schema
from cerebro_nas.errors import DataError
from cerebro_nas.worker import ColumnSpec

COLUMNS = (
    ColumnSpec("image", (8, 300, 1), "uint8", "npy"),
    ColumnSpec("länge", (5,), "float32", "list"),
    ColumnSpec("fields", (), "int64", "scalar"),
    ColumnSpec("text", (), "str", "scalar"),
)
FIELDS = (
    PetastormField("image", "uint8", (8, 300, 1), "NdarrayCodec", False),
    PetastormField("länge", "float32", (5,), None, False),
    PetastormField("fields", "int64", (), None, False),
    PetastormField("text", "str", (), None, False),
)


def test_what_is_written_is_read() -> None:
    assert load_fields(dump_fields(COLUMNS)) == FIELDS


def test_metadata_file_is_a_petastorm_data_set(tmp_path: Path) -> None:
    schema = pa.schema([("image", pa.binary())])
    (tmp_path / "_common_metadata").write_bytes(petastorm_metadata(schema, COLUMNS, {"part-00000.parquet": 4}))
    assert read_petastorm_schema(str(tmp_path)) == FIELDS


def test_directory_without_a_schema(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="_common_metadata"):
        read_petastorm_schema(str(tmp_path))


@pytest.mark.case(24)
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy", "load"),
        ("petastorm.unischema", "sys"),
        ("pyspark.sql.types", "pickle"),
        ("pyspark.sql.types", "os.systemType"),
        ("collections", "namedtuple"),
    ],
)
def test_nothing_of_the_data_set_runs(tmp_path: Path, module: str, name: str) -> None:
    canary = tmp_path / "canary"
    argument = f"touch {canary}".encode()
    stream = (
        b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(X" + len(argument).to_bytes(4, "little") + argument + b"tR."
    )
    with pytest.raises(DataError, match="without running code"):
        load_fields(stream)
    assert not canary.exists()


def test_stand_ins_do_nothing_when_called(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    text = f"touch {canary}".encode()
    # A restored named tuple is the one call that a schema may hold: its arguments stay what they are.
    stream = b"\x80\x02cpyspark.serializers\n_restore\n(X" + len(text).to_bytes(4, "little") + text + b"]]tR."
    with pytest.raises(DataError):
        load_fields(stream)
    assert not canary.exists()


@pytest.mark.parametrize("stream", [b"", b"\x80\x02", b"garbage", dump_fields(COLUMNS)[:-40], pickle.dumps([1, 2])])
def test_damaged_schema(stream: bytes) -> None:
    with pytest.raises(DataError, match="Unischema"):
        load_fields(stream)
