"""Petastorm's schema of a data set, read and written without Petastorm.

Petastorm keeps a pickled `Unischema` in the Parquet metadata of a data set, and unpickles it to open one. Data must not
bring code along, so here the pickle is read by an unpickler that knows a short list of names and maps each to an inert
stand-in: it is the one file of this package that reads pickles, as there is no other way to read the format. The
pickle for Petastorm is written opcode by opcode, which needs neither Petastorm nor a pickler.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cerebro_nas.errors import DataError
from cerebro_nas.storage import open_store
from cerebro_nas.worker import ColumnSpec

_SCHEMA_KEY = b"dataset-toolkit.unischema.v1"
_ROW_GROUPS_KEY = b"dataset-toolkit.num_row_groups_per_file.v1"
_METADATA = "_common_metadata"

_NUMBERS = ("bool_", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32")
_DTYPES = {name: name.rstrip("_") for name in (*_NUMBERS, "float64", "datetime64")} | {
    "str_": "str",
    "unicode_": "str",
    "string_": "bytes",
    "bytes_": "bytes",
}
_CODECS = ("NdarrayCodec", "CompressedNdarrayCodec", "CompressedImageCodec", "ScalarCodec")


@dataclass(frozen=True)
class PetastormField:
    """One field of a Petastorm data set.

    Attributes:
        name: column in the Parquet files.
        dtype: NumPy's name of the decoded type, `"str"`, `"bytes"` or `"decimal"`.
        shape: of one row's tensor; None stands for a size that varies.
        codec: class name of Petastorm's codec, or None where the value is stored as it is.
        nullable: whether rows may hold null.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    codec: str | None
    nullable: bool


def read_petastorm_schema(url: str) -> tuple[PetastormField, ...]:
    """Read the schema of a data set that Petastorm wrote. Nothing of the data set is executed.

    Args:
        url: directory of the data set.

    Raises:
        DataError: the directory holds no Petastorm schema, or one that needs more than Petastorm's own classes.
    """
    try:
        metadata = pq.read_metadata(io.BytesIO(open_store(url).read_bytes(f"{url}/{_METADATA}"))).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"`url` must be a data set written by Petastorm, with a file {_METADATA}. Received: url={url!r} ({error}). "
            "Read a plain Parquet data set with `spark.read.parquet`."
        ) from error
    if _SCHEMA_KEY not in metadata:
        raise DataError(
            f"The file {_METADATA} in {url!r} holds no Unischema. Run petastorm-generate-metadata.py on it."
        )
    return load_fields(metadata[_SCHEMA_KEY])


def load_fields(data: bytes) -> tuple[PetastormField, ...]:
    """Read a pickled `Unischema` through the allow-list.

    Raises:
        DataError: it refers to something else, or is damaged.
    """
    try:
        schema = _Unpickler(io.BytesIO(data)).load()
        return tuple(_field(values) for values in schema.state["_fields"].values())
    except Exception as error:  # noqa: BLE001 - a crafted or damaged stream can fail in any way
        raise DataError(
            f"The Unischema cannot be read without running code of the data set: {error}. "
            "Only Petastorm's own fields and codecs, NumPy and Spark types are accepted."
        ) from error


class _Inert:
    """Takes the place of a class of the data set: keeps what the pickle says, and does nothing."""

    name = ""

    def __new__(cls, *arguments: Any) -> _Inert:
        made = super().__new__(cls)
        made.arguments = arguments
        return made

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


def _stand_in(name: str) -> type[_Inert]:
    return type(name, (_Inert,), {"name": name})


def _rebuild(kind: type[_Inert], *_: Any) -> _Inert:
    return kind()


def _restore(name: str, _: Sequence[str], values: Sequence[Any]) -> _Inert:
    # PySpark pickles named tuples of other modules as a call of a function of this name.
    return _stand_in(str(name))(*values)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("petastorm.unischema", "Unischema"): _stand_in("Unischema"),
    ("petastorm.unischema", "UnischemaField"): _stand_in("UnischemaField"),
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "UnischemaField"): _stand_in("UnischemaField"),
    ("pyspark.serializers", "_restore"): _restore,
    ("numpy", "dtype"): _stand_in("dtype"),
    ("decimal", "Decimal"): "decimal",
    **{(module, "_reconstructor"): _rebuild for module in ("copyreg", "copy_reg")},
    **{(module, "object"): object for module in ("builtins", "__builtin__")},
    **{("petastorm.codecs", name): _stand_in(name) for name in _CODECS},
    **{("numpy", name): dtype for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Resolve a name to its stand-in; nothing is ever imported."""
        if module == "pyspark.sql.types" and name.endswith("Type"):
            return _stand_in(name)
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not on the list of what a schema may hold")
        return _ALLOWED[module, name]


def _field(value: Any) -> PetastormField:
    name, dtype, shape, codec, nullable = (*value.arguments, None, False)[:5]
    if isinstance(dtype, _Inert):
        dtype = np.dtype(str(dtype.arguments[0])).name
    if not isinstance(name, str) or not isinstance(dtype, str):
        raise DataError(f"a field has the name {name!r} and the type {dtype!r}")
    shape = tuple(None if size is None else int(size) for size in shape)
    return PetastormField(name, dtype, shape, codec.name if isinstance(codec, _Inert) else None, bool(nullable))


# --- writing ---------------------------------------------------------------------------------------------------------

# Attributes of petastorm.unischema.Unischema that a column's name must not hide.
_RESERVED = {
    "as_spark_schema",
    "create_schema_view",
    "fields",
    "from_arrow_schema",
    "make_namedtuple",
    "make_namedtuple_tf",
}


def petastorm_metadata(schema: pa.Schema, columns: Sequence[ColumnSpec], row_groups: Mapping[str, int]) -> bytes:
    """Content of `_common_metadata`, which makes a directory of Parquet files a Petastorm data set.

    Args:
        schema: Arrow schema of the files.
        columns: the tensors in them.
        row_groups: by file name.
    """
    entries = {**(schema.metadata or {}), _SCHEMA_KEY: dump_fields(columns)}
    entries[_ROW_GROUPS_KEY] = json.dumps(dict(row_groups)).encode()
    sink = io.BytesIO()
    pq.write_metadata(schema.with_metadata(entries), sink)
    return sink.getvalue()


def dump_fields(columns: Sequence[ColumnSpec]) -> bytes:
    """The pickle of a `Unischema` with these columns, in protocol 2."""
    fields = [(column.name, _dump_field(column)) for column in columns]
    ordered = _global("collections", "OrderedDict") + b")R(" + b"".join(_text(n) + f for n, f in fields) + b"u"
    state = _text("_name") + _text("cerebro_nas") + _text("_fields") + ordered
    for name, field in fields:
        if name not in _RESERVED and not name.startswith("_"):
            state += _text(name) + field
    return b"\x80\x02" + _global("petastorm.unischema", "Unischema") + b")\x81}(" + state + b"ub."


def _dump_field(column: ColumnSpec) -> bytes:
    shape = b"(" + b"".join(b"J" + struct.pack("<i", size) for size in column.shape) + b"t"
    codec = _global("petastorm.codecs", "NdarrayCodec") + b")\x81" if column.encoding == "npy" else b"N"
    dtype = _global("numpy", "str_" if column.dtype == "str" else column.dtype)
    values = b"(" + _text(column.name) + dtype + shape + codec + b"\x89t"
    return _global("petastorm.unischema", "UnischemaField") + values + b"\x81"


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    return b"X" + struct.pack("<I", len(data)) + data
