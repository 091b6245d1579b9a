"""Arrow columns as Spark hands them over, turned into tensors; what is wrong with rows is counted, not raised."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cerebro_nas.data._faults import Faults
from cerebro_nas.data._faults import usable
from cerebro_nas.worker import category_text
from cerebro_nas.worker import decode_image
from cerebro_nas.worker import image_shape


@dataclass(frozen=True)
class Extracted:
    """A column of a batch: rows that are good (a mask), and their values, shape (n_good, ...)."""

    good: NDArray[np.bool_]
    values: NDArray[Any]
    images: bool = False


def extract(
    column: pa.Array, shape: tuple[int, ...] | None, start: int, faults: Faults, *, label: bool, given: bool = False
) -> Extracted:
    """Turn a column of a batch into an array.

    Args:
        column: numbers, booleans, strings, (nested) lists of numbers, binary tensors (NumPy's format, which Petastorm's
            NdarrayCodec and CompressedNdarrayCodec use; PNG and JPEG are decoded; other bytes are rows of uint8), or
            Spark's structs of pictures.
        shape: shape that each row must have; None takes the first row's.
        start: position of the batch's first row in its partition.
        faults: where bad rows are counted.
        label: whether it is a label: scalars then keep their range as float64.
        given: whether the user gave the shape: pictures are then made to fit, and lists need have its size only.
    """
    positions = np.arange(start, start + len(column))
    column = _without_decimals(column)
    good = _there(column, positions, faults)
    kind = column.type
    if _is_list(kind) and _is_list(kind.value_type):
        return _nested(column, good, shape, given, positions, faults)
    if _is_list(kind):
        return _lists(column, good, math.prod(shape) if shape else None, positions, faults)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_struct(kind):
        return _tensors(column, good, shape, given, positions, faults)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = np.asarray(column.to_pylist(), dtype=object)
        return Extracted(good, texts[good])
    values = np.asarray(column.drop_null().to_numpy(zero_copy_only=False))
    return _finite(Extracted(good, values), positions, faults, wide=label)


def extract_texts(column: pa.Array, start: int, faults: Faults) -> Extracted:
    """Turn a column of categories or texts into an array of strings; numbers become the text that stands for them."""
    good = _there(column, np.arange(start, start + len(column)), faults)
    values = column.drop_null()
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        # Each distinct value is put into words once.
        coded = values.dictionary_encode()
        texts = np.asarray([category_text(value) for value in coded.dictionary.to_pylist()], dtype=object)
        found = texts[coded.indices.to_numpy(zero_copy_only=False)]
        missing = np.asarray([text is None for text in found], dtype=bool)
        rows = np.flatnonzero(good)[missing]
        faults.add("NaN or infinite", rows + start)
        good[rows] = False
        return Extracted(good, found[~missing])
    found = np.empty(len(values), dtype=object)
    found[:] = values.to_pylist()
    return Extracted(good, found)


def extract_weights(column: pa.Array, start: int, faults: Faults) -> Extracted:
    """Turn a column of sample weights into an array; weights below 0 are faults."""
    found = extract(column, (), start, faults, label=True)
    negative = found.values < 0
    rows = np.flatnonzero(found.good)[negative]
    faults.add("a weight below 0", rows + start)
    good = found.good.copy()
    good[rows] = False
    return Extracted(good, found.values[~negative])


def of_one_type(found: Extracted, dtype: str, staged: str, start: int, faults: Faults) -> Extracted:
    """No rows, if they are staged as another type than the batches before.

    Args:
        found: rows of a batch.
        dtype: the type that the batches before were staged as; empty if there were none.
        staged: the type that these would be staged as.
        start: position of the batch's first row in its partition.
        faults: where bad rows are counted.
    """
    if not len(found.values) or dtype in ("", staged):
        return found
    faults.add(f"a tensor that is not {dtype}", np.flatnonzero(found.good) + start)
    return Extracted(np.zeros_like(found.good), found.values[:0], found.images)


def _without_decimals(column: Any) -> Any:
    """Decimals, also those in lists, as double precision numbers."""
    kind = _doubles(column.type)
    return column if kind == column.type else column.cast(kind)


def _doubles(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal(kind):
        return pa.float64()
    if not _is_list(kind):
        return kind
    inner = _doubles(kind.value_type)
    return kind if inner == kind.value_type else pa.list_(inner)


def _there(column: Any, positions: NDArray[Any], faults: Faults) -> NDArray[np.bool_]:
    good = ~np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=bool)
    faults.add("null", positions[~good])
    return good


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _lists(
    column: Any, good: NDArray[np.bool_], size: int | None, positions: NDArray[Any], faults: Faults
) -> Extracted:
    lengths = np.zeros(len(column), dtype=np.int64)
    lengths[good] = np.asarray(column.drop_null().value_lengths().to_numpy(zero_copy_only=False))
    empty = good & (lengths == 0)
    faults.add("no numbers", positions[empty])
    good = good & ~empty
    if size is None:
        size = int(lengths[good][0]) if good.any() else 1
    wrong = good & (lengths != size)
    faults.add(f"size is not {size}", positions[wrong])
    good = good & ~wrong
    flat = column.filter(pa.array(good)).flatten()
    if flat.null_count:
        holes = np.asarray(flat.is_null().to_numpy(zero_copy_only=False)).reshape(-1, size).any(axis=1)
        rows = np.flatnonzero(good)
        faults.add("null", positions[rows[holes]])
        good = good.copy()
        good[rows[holes]] = False
        flat = column.filter(pa.array(good)).flatten()
    values = np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(int(good.sum()), size)
    return _finite(Extracted(good, values), positions, faults)


def _nested(
    column: Any,
    good: NDArray[np.bool_],
    shape: tuple[int, ...] | None,
    given: bool,
    positions: NDArray[Any],
    faults: Faults,
) -> Extracted:
    """Lists of lists: all rows of the shape of the first, every part of a row as long as its neighbours."""
    good = good.copy()
    rows: list[NDArray[Any]] = []
    for row in np.flatnonzero(good):
        found = _rectangle(column[int(row)].as_py())
        problem = ""
        if found is None:
            problem = "nested lists of differing length, or with nulls"
        elif given:
            problem, found = _made_to_fit(found, shape)
        elif shape is not None and found.shape != shape:
            problem = f"shape is not {shape}"
        if problem or found is None:
            faults.add(problem, positions[row : row + 1])
            good[row] = False
        else:
            shape = found.shape
            rows.append(found)
    values = np.stack(rows) if rows else np.empty((0, 1), dtype=np.uint8)
    return _finite(Extracted(good, values), positions, faults)


def _made_to_fit(tensor: NDArray[Any], shape: tuple[int, ...] | None) -> tuple[str, NDArray[Any] | None]:
    """A tensor in the shape that the user gave, or what is wrong with it."""
    size = math.prod(shape or ())
    return ("", tensor.reshape(shape or ())) if tensor.size == size else (f"size is not {size}", None)


def _rectangle(value: Any) -> NDArray[Any] | None:
    try:
        found = np.asarray(value)
    except ValueError:
        return None
    return found if found.size and found.dtype.kind in "biuf" else None


def _tensors(
    column: Any,
    good: NDArray[np.bool_],
    shape: tuple[int, ...] | None,
    given: bool,
    positions: NDArray[Any],
    faults: Faults,
) -> Extracted:
    found: list[NDArray[Any]] = []
    good = good.copy()
    images = False
    for row in np.flatnonzero(good):
        value = column[int(row)].as_py()
        problem, tensor = "unknown bytes; decode them to numbers first", None
        if is_image(value):
            images = True
            problem, tensor = _picture(value, shape if given else None)
        else:
            tensor = _tensor(value)
            if tensor is not None and given:
                problem, tensor = _made_to_fit(tensor, shape)
        if tensor is None or not tensor.size or tensor.dtype.kind not in "biuf":
            faults.add(problem, positions[row : row + 1])
            good[row] = False
        elif shape is not None and tensor.shape != shape:
            faults.add(f"a tensor that is not of shape {shape}{_hint(images)}", positions[row : row + 1])
            good[row] = False
        elif found and (tensor.shape, tensor.dtype) != (found[0].shape, found[0].dtype):
            expected = f"{found[0].dtype} of shape {found[0].shape}"
            faults.add(f"a tensor that is not {expected}{_hint(images)}", positions[row : row + 1])
            good[row] = False
        else:
            found.append(tensor)
    values = np.stack(found) if found else np.empty((0, 1), dtype=np.uint8)
    extracted = _finite(Extracted(good, values), positions, faults)
    return Extracted(extracted.good, extracted.values, images)


def _hint(images: bool) -> str:
    return "; pass `input_shape` to have pictures made to fit" if images else ""


def is_image(value: Any) -> bool:
    """Whether it is an encoded picture (PNG, JPEG, GIF, WebP, BMP), or Spark's struct of one."""
    if isinstance(value, dict) or value.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")):
        return True
    if value[:4] == b"RIFF" and value[8:12] == b"WEBP":
        return True
    # Two letters are too few to tell a file from pixels; the file's size stands behind them.
    return bool(value[:2] == b"BM" and int.from_bytes(value[2:6], "little") == len(value))


def _picture(value: Any, shape: tuple[int, ...] | None) -> tuple[str, NDArray[Any] | None]:
    try:
        if shape is None:
            shape = image_shape(value)
        return "", decode_image(value, shape if len(shape) == 3 else (*shape, 1)).reshape(shape)
    except ValueError as error:
        return f"a picture that cannot be read ({str(error).splitlines()[0][:120]})", None


def _tensor(data: bytes) -> NDArray[Any] | None:
    try:
        if data[:6] == b"\x93NUMPY":
            return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
        if data[:4] == b"PK\x03\x04":
            with np.load(io.BytesIO(data), allow_pickle=False) as members:
                return np.asarray(members[members.files[0]])
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error, KeyError, IndexError):
        return None
    return np.frombuffer(data, dtype=np.uint8)


def _finite(found: Extracted, positions: NDArray[Any], faults: Faults, *, wide: bool = False) -> Extracted:
    values = found.values
    if values.dtype.kind != "f" or not len(values):
        return found
    table = values.reshape(len(values), -1)
    fine = usable(table, wide=wide).all(axis=1)
    if fine.all():
        return found
    good = found.good.copy()
    rows = np.flatnonzero(good)
    faults.add("NaN or infinite", positions[rows[~fine]])
    good[rows[~fine]] = False
    return Extracted(good, values[fine])
