"""Raw values become the numbers that Keras' own layers make of them."""

from __future__ import annotations

import datetime
import decimal
import random
from collections import Counter
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import build_vocabulary
from cerebro_nas.worker import category_text
from cerebro_nas.worker import encode_column
from cerebro_nas.worker import tokenize


def _categories(values: list[str], dtype: str = "int32") -> ColumnSpec:
    return ColumnSpec("c", (), dtype, "scalar", {"kind": "categories", "values": values})


def _tokens(vocabulary: list[str], length: int) -> ColumnSpec:
    encoder = {"kind": "tokens", "vocabulary": vocabulary, "length": length}
    return ColumnSpec("t", (length,), "int32", "list", encoder)


# --- categories -------------------------------------------------------------------------------------------------------

_KNOWN = ["1", "2.5", "False", "True", "a", "b"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "b", "z", None, ""], [4, 5, 6, 6, 6]),
        (np.array(["a", "longer"]), [4, 6]),
        (np.array([["a"], ["b"]], dtype=object), [4, 5]),
        (np.array([b"a", b"q"]), [4, 6]),
        (pd.Series(["b", None]), [5, 6]),
        (pd.Series(["b", "a"], dtype="category"), [5, 4]),
        (pa.array(["a", None], pa.large_string()), [4, 6]),
        (pa.chunked_array([["a"], ["b"]]), [4, 5]),
        (pa.array(["b", None, "a"]).dictionary_encode(), [5, 6, 4]),
        ([True, False, None], [3, 2, 6]),
        (np.array([True, False]), [3, 2]),
        (np.array([1, 2]), [0, 6]),
        (np.array([1.0, 2.5, np.nan, np.inf]), [0, 1, 6, 6]),
        (pd.Series([1, None]), [0, 6]),
        (pa.array([1.0, None, float("nan")]), [0, 6, 6]),
        ([decimal.Decimal("1.00"), decimal.Decimal("2.5")], [0, 1]),
        ([1, "a", b"b", True], [0, 4, 5, 3]),
        ([10**30, 1], [6, 0]),
        (["half a pair \ud800", "a"], [6, 4]),
        ([None, None], [6, 6]),
        ([], []),
    ],
    ids=str,
)
def test_categories_of_every_kind(values: Any, expected: list[int]) -> None:
    found = encode_column(values, _categories(_KNOWN))
    assert found.dtype == np.int32
    assert found.shape == (len(expected),)
    assert found.tolist() == expected


def test_the_stored_type_is_the_columns() -> None:
    assert encode_column(["a"], _categories(["a"], "float32")).dtype == np.float32
    assert encode_column([True], _categories(["True"], "uint8")).dtype == np.uint8


@pytest.mark.parametrize("value", [[1], {"a": 1}, datetime.date(2020, 1, 1), object()])
def test_what_is_no_category_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must be text, a boolean or a number. Received: "):
        encode_column([value], _categories(["a"]))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(("", ""), (None, None), (float("nan"), None), (False, "False"), (np.bool_(True), "True")),
        *((3, "3"), (np.int64(-3), "-3"), (3.0, "3"), (-0.0, "0"), (np.float32(0.5), "0.5"), (1e300, "1e+300")),
    ],
)
def test_the_text_of_a_category(value: Any, text: str | None) -> None:
    assert category_text(value) == text


@settings(max_examples=40)
@given(
    st.lists(st.text(), min_size=1, unique=True, max_size=20),
    st.lists(st.text(), max_size=20),
    st.randoms(use_true_random=False),
)
@example(["[UNK]", "a", ""], ["[UNK]", "", "A"], random.Random(0))
def test_categories_are_those_of_string_lookup(known: list[str], others: list[str], order: random.Random) -> None:
    # NumPy, through which Keras takes a vocabulary, drops NULs at the end.
    known = sorted({text.rstrip("\0") for text in known})
    values = [*known, *others]
    order.shuffle(values)
    outside = max(known) + "x"
    layer = keras.layers.StringLookup(vocabulary=known, num_oov_indices=1, oov_token=outside)
    # Keras puts what is unknown first, before the values.
    keras_index = np.asarray(layer(np.array(values, dtype=object)))
    expected = np.where(keras_index == 0, len(known), keras_index - 1)
    assert encode_column(values, _categories(known)).tolist() == expected.tolist()
    assert encode_column(pa.array(values), _categories(known)).tolist() == expected.tolist()


# --- texts ------------------------------------------------------------------------------------------------------------

_SPACES = " \t\n\r\x0b\x0c\x00\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u202f\u3000\ufeff"
_TEXTS = st.text() | st.text(alphabet=f"aBZé\u0130ßΣ{_SPACES}!\"#$%&()*+,-./:;<=>?@[\\]^_`{{|}}~'’§", max_size=60)
_EDGES = [
    *("", " ", "...", "The cat, THE CAT!", "don't", "a\tb\nc\rd\x0be\x0cf", "a\xa0b\u3000c\u2028d\x85e\x1cf"),
    *("É é İ ı ß ẞ Σ ς ǅ K", "\ufeffword", "a\0b \0 c\0", "naïve—dash…’", "x" * 5000, "w " * 5000),
]


def _keras_words(texts: list[str]) -> list[list[str]]:
    layer = keras.layers.TextVectorization(vocabulary=["a"], output_mode="int")
    ragged = layer._preprocess(np.array(texts, dtype=object))
    return [[word.decode() for word in row] for row in ragged.to_list()]


@settings(max_examples=40)
@given(st.lists(_TEXTS, min_size=1, max_size=8))
@example(_EDGES)
def test_words_are_those_of_text_vectorization(texts: list[str]) -> None:
    assert [tokenize(text) for text in texts] == _keras_words(texts)


@settings(max_examples=40)
@given(st.lists(_TEXTS, min_size=1, max_size=8), st.integers(1, 12), st.data())
@example(_EDGES, 3, None)
def test_tokens_are_those_of_text_vectorization(texts: list[str], length: int, data: st.DataObject | None) -> None:
    words = sorted({word for text in texts for word in tokenize(text) if not word.endswith("\0")}) or ["a"]
    vocabulary = words[::2] if data is None else data.draw(st.lists(st.sampled_from(words), min_size=1, unique=True))
    layer = keras.layers.TextVectorization(vocabulary=vocabulary, output_sequence_length=length)
    expected = np.asarray(layer(np.array(texts, dtype=object)))
    found = encode_column(texts, _tokens(vocabulary, length))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=40)
@given(st.lists(st.text(alphabet="abZé .", min_size=1, max_size=30), min_size=1, max_size=20), st.integers(3, 20))
def test_the_vocabulary_is_the_one_that_keras_adapts(texts: list[str], size: int) -> None:
    counts = Counter(word for text in texts for word in tokenize(text))
    layer = keras.layers.TextVectorization(max_tokens=size)
    layer.adapt(np.array(texts, dtype=object))
    assert build_vocabulary(list(counts.items()), size - 2) == layer.get_vocabulary(include_special_tokens=False)


@pytest.mark.parametrize(
    "texts",
    [
        ["the cat", "cat dog the dog"],
        np.array(["the cat", "cat dog the dog"]),
        np.array([["the cat"], ["cat dog the dog"]], dtype=object),
        np.array([b"the cat", b"cat dog the dog"]),
        pd.Series(["the cat", "cat dog the dog"]),
        pa.array(["the cat", "cat dog the dog"]),
        pa.chunked_array([["the cat"], ["cat dog the dog"]]),
    ],
    ids=lambda values: type(values).__name__,
)
def test_texts_of_every_kind(texts: Any) -> None:
    assert encode_column(texts, _tokens(["the", "cat"], 3)).tolist() == [[2, 3, 0], [3, 1, 2]]


def test_no_texts() -> None:
    assert encode_column([], _tokens(["the"], 3)).shape == (0, 3)


def test_half_a_pair_of_surrogates_ends_no_encoding() -> None:
    assert encode_column(["the \ud800 cat"], _tokens(["the", "cat"], 3)).tolist() == [[2, 3, 0]]


@pytest.mark.parametrize("text", [None, 3, float("nan"), ["a"]])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="must be a string. Received: "):
        encode_column(["a", text], _tokens(["the"], 3))


# --- the others -------------------------------------------------------------------------------------------------------


def test_numbers_stay_as_they_are() -> None:
    found = encode_column([[1, 2], [3, 4]], ColumnSpec("x", (2, 1), "float32", "list"))
    assert found.dtype == np.float32
    assert found.tolist() == [[[1], [2]], [[3], [4]]]


def test_pictures_are_stacked() -> None:
    struct = {"height": 1, "width": 2, "nChannels": 1, "data": b"\x01\x02"}
    found = encode_column([struct, struct], ColumnSpec("i", (1, 2, 1), "uint8", "list", {"kind": "image"}))
    assert found.dtype == np.uint8
    assert found.tolist() == [[[[1], [2]]]] * 2


def test_greys_may_lack_the_axis_of_channels() -> None:
    struct = {"height": 1, "width": 2, "nChannels": 1, "data": b"\x01\x02"}
    found = encode_column([struct], ColumnSpec("i", (1, 2), "uint8", "list", {"kind": "image"}))
    assert found.tolist() == [[[1, 2]]]
