"""The safetensors format, written and read with one copy at most.

Eight bytes with the length of the header, the header as JSON, then the arrays' bytes one after another. The library of
that name copies every array three times on the way out and once on the way in, which is most of a hop's time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

_LENGTH_BYTES = 8
_ALIGNMENT = 8
# Room for some 50,000 arrays. As JSON a header takes twenty times its size in memory.
_HEADER_LIMIT = 8 << 20
_METADATA = "__metadata__"
_TYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(bool),
    "U8": np.dtype("<u1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
    "I8": np.dtype("<i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


def pack(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Give the arrays as safetensors bytes.

    Raises:
        ValueError: an array is of a type that the format does not know, or there are too many of them.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    parts, offset = [], 0
    # Wide types first, as the library has it: every array is then aligned.
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        if array.dtype not in _NAMES:
            raise ValueError(f"safetensors holds no {array.dtype}. Received: {name}.")
        parts.append(raw_bytes(array))
        end = offset + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > _HEADER_LIMIT:
        raise ValueError(f"A header of {len(text):,} bytes is too long. Received: {len(arrays):,} arrays.")
    return b"".join([len(text).to_bytes(_LENGTH_BYTES, "little"), text, *parts])


def unpack(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Give the arrays of `pack`, which are views of `data`, and the metadata.

    Raises:
        ValueError: these are no safetensors, or damaged ones.
    """
    try:
        return _unpack(data)
    except (TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"the header is none of safetensors: {error!r}") from error


def raw_bytes(array: NDArray[Any]) -> memoryview:
    """The bytes of an array, without a copy where they are in order already."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _unpack(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    begin = _LENGTH_BYTES + length
    if not 0 < length <= _HEADER_LIMIT or begin > len(data):
        raise ValueError(f"{len(data)} bytes, with a header of {length}")
    header = json.loads(data[_LENGTH_BYTES:begin])
    metadata = header.pop(_METADATA, {})
    arrays = dict(_views(header, np.frombuffer(data, np.uint8, offset=begin)))
    return arrays, {str(key): str(value) for key, value in metadata.items()}


def _views(header: dict[str, Any], body: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[Any]]]:
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        begin, stop = entry["data_offsets"]
        dtype, shape = _TYPES[entry["dtype"]], tuple(entry["shape"])
        # Without gaps and without overlap, as the format demands.
        if begin != end or stop > len(body):
            raise ValueError(f"{name} is at {begin} to {stop} of {len(body)} bytes, after one that ends at {end}")
        array = body[begin:stop].view(dtype).reshape(shape)
        # NumPy makes up a size that is negative.
        if array.shape != shape:
            raise ValueError(f"{name} has the shape {shape}")
        yield name, array
        end = stop
    if end != len(body):
        raise ValueError(f"{len(body) - end} bytes belong to no array")
