"""From the raw values of a column (categories, texts, pictures) to the numbers that models take.

The same functions encode when Spark prepares a data set and when a model predicts, so that both give the same numbers.
They follow Keras' `StringLookup` and `TextVectorization` layers, which exported models use in their place.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from cerebro_nas.worker._images import decode_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cerebro_nas.worker._spec import ColumnSpec

_PUNCTUATION = b"!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
_LOWER = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
_FIRST_WORD = 2
_UNKNOWN_WORD = 1
# Whole numbers beyond it have neighbours that float64 cannot tell from them.
_EXACT = 2**53


def encode_column(values: Any, spec: ColumnSpec) -> NDArray[Any]:
    """Turn the raw values of a column into an array of shape (n, *spec.shape) and of type `spec.dtype`.

    Args:
        values: n values: a sequence, a NumPy or Arrow array, or a pandas Series.
        spec: says what is made of them; see its `encoder`.

    Raises:
        ValueError: a value is of another kind than the column. A null is an unknown category, and is refused elsewhere.
    """
    encoder = spec.encoder or {"kind": "numbers"}
    if encoder["kind"] == "categories":
        return _categories(values, tuple(encoder["values"])).astype(spec.dtype)
    rows = _listed(values)
    if encoder["kind"] == "tokens":
        return _tokens(rows, tuple(encoder["vocabulary"]), encoder["length"]).astype(spec.dtype, copy=False)
    if encoder["kind"] == "image":
        return _images(rows, spec)
    return np.asarray(rows, dtype=spec.dtype).reshape(len(rows), *spec.shape)


def tokenize(text: str) -> list[str]:
    """Split a text into words, as `keras.layers.TextVectorization` does by default.

    ASCII letters become small ones, ASCII punctuation is left out, and words end at ASCII white space.
    """
    return [word.decode("utf-8", "replace") for word in _words(text, -1)]


def build_vocabulary(counts: Sequence[tuple[str, int]], size: int) -> list[str]:
    """Choose the most frequent words, in the order that `keras.layers.TextVectorization.adapt` gives them.

    Args:
        counts: words and how often each occurs.
        size: at most so many are kept.
    """
    # Words that occur equally often stand in descending order, by their bytes.
    return [word for word, _ in sorted(counts, key=lambda item: (item[1], item[0].encode()), reverse=True)[:size]]


def category_text(value: Any) -> str | None:
    """Give the text that stands for a value of a categorical column; None for a null.

    A whole number has the same text whether it comes as an integer or, from a column with nulls, as a float.

    Raises:
        ValueError: it is neither text nor boolean nor a number.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"A category must be text, a boolean or a number. Received: {value!r:.80} of type {type(value).__name__}."
        ) from None
    if number != number:
        return None
    return str(int(number)) if abs(number) < _EXACT and number == int(number) else repr(number)


# --- categories -------------------------------------------------------------------------------------------------------


def _categories(values: Any, known: tuple[str, ...]) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    unknown = len(known)
    array = _arrow(values)
    if array is None or pa.types.is_nested(array.type):
        return _by_one(_listed(values), known)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        found = pc.index_in(array, value_set=pa.array(known, type=array.type))
        return np.asarray(pc.fill_null(found, unknown).to_numpy(zero_copy_only=False))
    # Few distinct values, mostly; each is looked up once.
    coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    positions = np.append(_by_one(coded.dictionary.to_pylist(), known), unknown)
    codes = pc.fill_null(coded.indices.cast(pa.int64()), len(positions) - 1)
    return np.asarray(positions[codes.to_numpy(zero_copy_only=False)])


def _arrow(values: Any) -> Any:
    """As one Arrow array; None if Arrow has no type for the values."""
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if isinstance(values, pa.Array):
        return values
    try:
        found = pa.array(_flat(values), from_pandas=True)
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError):
        return None
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _by_one(values: Sequence[Any], known: tuple[str, ...]) -> NDArray[Any]:
    index = {text: position for position, text in enumerate(known)}
    unknown = len(known)
    texts = (category_text(value) for value in values)
    return np.fromiter((unknown if text is None else index.get(text, unknown) for text in texts), np.int64, len(values))


# --- texts ------------------------------------------------------------------------------------------------------------


def _tokens(texts: Sequence[Any], vocabulary: tuple[str, ...], length: int) -> NDArray[np.int32]:
    index = _word_index(vocabulary)
    found = np.zeros((len(texts), length), dtype=np.int32)
    for row, text in enumerate(texts):
        words = _words(text, length)
        found[row, : len(words)] = [index.get(word, _UNKNOWN_WORD) for word in words]
    return found


@functools.lru_cache(maxsize=16)
def _word_index(vocabulary: tuple[str, ...]) -> dict[bytes, int]:
    return {word.encode("utf-8", "replace"): position for position, word in enumerate(vocabulary, start=_FIRST_WORD)}


def _words(text: Any, most: int) -> list[bytes]:
    """The first words of a text; a negative number: all of them."""
    if isinstance(text, str):
        # Half a pair of surrogates is no character; it counts as a question mark, as Spark has it.
        text = text.encode("utf-8", "replace")
    if not isinstance(text, bytes):
        raise ValueError(f"A text must be a string. Received: {text!r:.80} of type {type(text).__name__}.")
    words = text.translate(_LOWER, _PUNCTUATION).split(None, most)
    # Split at most so often, it has the rest of the text as its last part.
    return words if most < 0 else words[:most]


# --- pictures ---------------------------------------------------------------------------------------------------------


def _images(rows: Sequence[Any], spec: ColumnSpec) -> NDArray[Any]:
    # Greys may be stored without an axis for channels.
    shape = spec.shape if len(spec.shape) != 2 else (*spec.shape, 1)
    found = np.empty((len(rows), *shape), dtype=spec.dtype)
    for row, value in enumerate(rows):
        found[row] = decode_image(value, shape)
    return found.reshape(len(rows), *spec.shape)


# --- what is given ----------------------------------------------------------------------------------------------------


def _flat(values: Any) -> Any:
    """Without the axis of size 1 that arrays of one column may have."""
    values = values.to_numpy() if hasattr(values, "to_numpy") and hasattr(values, "iloc") else values
    if not isinstance(values, np.ndarray):
        return values
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    # Arrow knows NumPy's fixed bytes as bytes, and its strings of any length not at all.
    return values.tolist() if values.dtype.kind in "ST" else values


def _listed(values: Any) -> Sequence[Any]:
    if hasattr(values, "to_pylist"):
        return list(values.to_pylist())
    values = _flat(values)
    # Iterating over a list is several times faster than over an array of objects.
    return values.tolist() if isinstance(values, np.ndarray) and values.ndim == 1 else list(values)
