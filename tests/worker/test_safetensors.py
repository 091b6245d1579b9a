"""Our safetensors against those of the library."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
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


@pytest.mark.case(24)
@pytest.mark.parametrize(
    "header",
    [
        b"[" * 200_000,
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1' + b"0" * 30 + b'],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,NaN]}}',
        b'{"a":{"dtype":"F32","shape":[1073741824,1073741824],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,-4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[-4,4]}}',
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1000000000000]}}',
        b'{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}',
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


@pytest.mark.case(24)
def test_a_header_of_great_length_is_refused_unread() -> None:
    header = b'{"__metadata__":{"x":"' + b"x" * (9 << 20) + b'"}}'
    tracemalloc.start()
    try:
        for length in (len(header), 2**63, 2**64 - 1, 0):
            with pytest.raises(ValueError, match="with a header of"):
                unpack(length.to_bytes(8, "little") + header)
        # Each call joins the bytes anew; no part of them is parsed.
        assert tracemalloc.get_traced_memory()[1] < 3 * len(header)
    finally:
        tracemalloc.stop()


def test_what_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(ValueError, match="too long. Received: 9 arrays"):
        pack({str(number) * (1 << 20): np.zeros(0) for number in range(9)}, {})


_ENTRY_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.integers(),
    st.floats(),
    st.sampled_from(["F32", "U8", "BOOL", "x"]),
)
_ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "U8", "I64", "BF16", "X"]) | _ENTRY_VALUES,
        "shape": st.lists(st.integers(-1, 4) | _ENTRY_VALUES, max_size=3) | _ENTRY_VALUES,
        "data_offsets": st.lists(st.integers(-1, 12) | _ENTRY_VALUES, min_size=1, max_size=3) | _ENTRY_VALUES,
    },
)


@pytest.mark.case(24)
@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), _ENTRIES | _ENTRY_VALUES), st.binary(max_size=12))
def test_any_header_gives_arrays_of_its_bytes_or_a_value_error(header: dict[str, Any], body: bytes) -> None:
    text = json.dumps(header).encode()
    try:
        arrays, _ = unpack(len(text).to_bytes(8, "little") + text + body)
    except ValueError:
        return
    assert sum(array.nbytes for array in arrays.values()) == len(body)


@pytest.mark.case(24)
@given(ARRAYS.filter(bool), st.data())
def test_any_damage_gives_arrays_or_a_value_error(arrays: Arrays, data: st.DataObject) -> None:
    damaged = bytearray(pack(arrays, {"k": "v"}))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(bytes(damaged))
    except ValueError:
        return


@pytest.mark.case(24)
@given(st.binary(max_size=60))
def test_anything_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        unpack(data)


def test_a_type_that_the_format_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="no complex64"):
        pack({"a": np.zeros(2, "complex64")}, {})
