"""Our safetensors against those of the library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from safetensors.numpy import load
from safetensors.numpy import save

from cerebro_nas.worker._safetensors import pack
from cerebro_nas.worker._safetensors import unpack

Arrays = dict[str, NDArray[Any]]
TYPES = ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
ARRAYS = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "__metadata__"),
    st.sampled_from(TYPES).flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0))),
    max_size=5,
)


def _same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(
        (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()) for a, b in ((one[n], other[n]) for n in one)
    )


@given(ARRAYS)
def test_the_library_reads_what_we_write(arrays: Arrays) -> None:
    assert _same(load(pack(arrays, {"key": "value"})), arrays)


@given(ARRAYS)
def test_we_read_what_the_library_writes(arrays: Arrays) -> None:
    found, metadata = unpack(bytes(save(arrays, {"key": "value"})))
    assert _same(found, arrays)
    assert metadata == {"key": "value"}


def test_arrays_in_another_order_are_packed_by_rows() -> None:
    array = np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3))
    assert _same(unpack(pack({"a": array}, {}))[0], {"a": np.ascontiguousarray(array)})


def test_arrays_are_aligned_and_no_copies() -> None:
    data = pack({"a": np.arange(3, dtype="u1"), "b": np.arange(3, dtype="f8"), "c": np.arange(3, dtype="f4")}, {})
    found, _ = unpack(data)
    assert all(array.base is not None and not array.flags.writeable for array in found.values())
    assert [data.index(found[name].tobytes()) % found[name].itemsize for name in "bca"] == [0, 0, 0]


@given(ARRAYS.filter(bool), st.data())
def test_bytes_cut_short_or_drawn_out_are_refused(arrays: Arrays, data: st.DataObject) -> None:
    whole = pack(arrays, {})
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match="."):
        unpack(whole[:cut])
    with pytest.raises(ValueError, match="."):
        unpack(whole + b"\0")


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{}x",
        b'{"a":1}',
        b'{"a":{}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}',
        b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":"x","data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":["0","4"]}}',
        b'{"__metadata__":3,"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    ],
)
def test_damaged_headers_are_value_errors(header: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        unpack(len(header).to_bytes(8, "little") + header + bytes(4))


@given(st.binary(max_size=60))
def test_anything_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        unpack(data)


def test_a_type_that_the_format_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="no complex64"):
        pack({"a": np.zeros(2, "complex64")}, {})
