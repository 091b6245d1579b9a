"""Arrays and frames to predict on: as they were in training, or with one clear error."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import DataError
from cerebro_nas.results._arrays import model_inputs
from cerebro_nas.results._bundle import ModelSource
from cerebro_nas.results._unusable import IN_ARRAYS
from cerebro_nas.results._unusable import Unusable
from cerebro_nas.worker import ColumnSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOWNS = ColumnSpec("town", (), "int32", "scalar", {"kind": "categories", "values": ["a", "b"]})
WORDS = ColumnSpec("text", (2,), "int32", "list", {"kind": "tokens", "vocabulary": ["x"], "length": 2})


def _number(name: str, dtype: str = "float32") -> ColumnSpec:
    return ColumnSpec(name, (), dtype, "scalar")


def _inputs(x: Any, source: ModelSource) -> list[NDArray[Any]]:
    unusable = Unusable()
    found = model_inputs(x, source, unusable)
    unusable.refuse("arrays", IN_ARRAYS)
    return found


def _source(*groups: tuple[ColumnSpec, ...]) -> ModelSource:
    return ModelSource("states", groups, (), (), 1)


def test_columns_without_names_have_their_numbers_for_names() -> None:
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]])
    (found,) = _inputs(frame, _source((_number("0"), _number("1"))))
    assert found.tolist() == frame.to_numpy().tolist()


def test_frames_of_several_inputs_may_share_names() -> None:
    # In training, columns of the second that are in the first go by the name of their input as well.
    source = _source((_number("age"),), (_number("other.age"), TOWNS))
    first, second = pd.DataFrame({"age": [1, 2]}), pd.DataFrame({"age": [3, 4], "town": ["b", "?"]})
    found = _inputs([first, second], source)
    assert [part.tolist() for part in found] == [[[1.0], [2.0]], [[3.0, 1.0], [4.0, 2.0]]]


def test_a_column_with_a_dot_is_not_another_one() -> None:
    with pytest.raises(ConfigError, match="without 'user.age'"):
        _inputs(pd.DataFrame({"age": [1]}), _source((_number("user.age"),)))


@pytest.mark.parametrize("dtype", ["object", "<U3"])
def test_numbers_as_objects_or_texts_are_numbers(dtype: str) -> None:
    table = np.array([["1.5", "2"], ["3", "4"]], dtype=dtype)
    (found,) = _inputs(table, _source((_number("a"), _number("b"))))
    assert found.dtype == np.float32
    assert found.tolist() == [[1.5, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("group", [(_number("a"),), (_number("a"), TOWNS)])
def test_texts_that_are_no_numbers_are_told(group: tuple[ColumnSpec, ...]) -> None:
    table = np.array([["n/a", "b"][: len(group)]], dtype=object)
    with pytest.raises(ConfigError, match="`x` must hold numbers where training had them.*'n/a'"):
        _inputs(table, _source(group))


@pytest.mark.parametrize("spec", [_number("a"), TOWNS], ids=["number", "category"])
def test_missing_values_are_told_as_such(spec: ColumnSpec) -> None:
    with pytest.raises(DataError, match=rf"- column '{spec.name}': null in 1 of 2 rows, for example rows \[1\]"):
        _inputs(pd.DataFrame({spec.name: ["1", None]}), _source((spec,)))


BAD = [1.0, np.nan, -np.inf, 1e39]
TABLE = np.array([BAD, [1.0] * 4]).T
PAIR = ColumnSpec("pair", (2,), "float32", "list")
PHOTO = ColumnSpec("photo", (2, 1, 1), "uint8", "list", {"kind": "image"})


@pytest.mark.parametrize(
    ("x", "groups", "name"),
    [
        (TABLE, ((_number("a"), _number("b")),), "a"),
        (TABLE.astype(object), ((_number("a"), _number("b")),), "a"),
        (pd.DataFrame(TABLE, columns=["a", "b"]), ((_number("a"), _number("b")),), "a"),
        (TABLE, ((PAIR,),), "pair"),
        (pd.DataFrame({"pair": list(TABLE)}), ((PAIR,),), "pair"),
        (TABLE.reshape(4, 2, 1, 1), ((PHOTO,),), "photo"),
        ([np.ones((4, 1)), TABLE], ((_number("n"),), (PAIR,)), "pair"),
    ],
    ids=["numbers", "objects", "frame", "vectors", "frame of vectors", "pictures", "second input"],
)
def test_numbers_that_are_none_are_told_as_in_training(x: Any, groups: Any, name: str) -> None:
    with pytest.raises(DataError) as caught:
        _inputs(x, _source(*groups))
    # Single precision has no number as large as the last.
    assert "NaN or infinite in 3 of 4 rows, for example rows [1, 2, 3]" in str(caught.value)
    assert str(caught.value).count("- column") == str(caught.value).count(f"- column '{name}': ") == 1
    assert str(caught.value).endswith("Clean or drop those rows (row numbers count from 0).")


def test_all_columns_are_told_at_once() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan], "town": [None, "b"]})
    with pytest.raises(DataError) as caught:
        _inputs(frame, _source((_number("a"), TOWNS)))
    assert str(caught.value).count("- column") == 2
    assert "- column 'town': null in 1 of 2 rows, for example rows [0]" in str(caught.value)


@pytest.mark.parametrize("value", [np.inf, "inf"])
def test_a_category_may_be_infinite(value: Any) -> None:
    """It is in training."""
    (found,) = _inputs(pd.DataFrame({"town": [value]}), _source((TOWNS,)))
    assert found.tolist() == [[2.0]]


@pytest.mark.parametrize("group", [(_number("a"), _number("b")), (_number("a"), TOWNS), (WORDS,), (PAIR,)])
def test_no_rows_are_inputs_of_no_rows(group: tuple[ColumnSpec, ...]) -> None:
    width = len(group) if not group[0].shape else 2
    frame = pd.DataFrame({spec.name: [] for spec in group})
    for x in (frame, np.empty((0, 1 if group == (WORDS,) else width))):
        (found,) = _inputs(x, _source(group))
        assert found.shape == (0, width)


@pytest.mark.parametrize("x", [pd.DataFrame({"town": ["b"]}), pd.Series(["b"]), np.array(["b"])])
def test_a_list_of_one_is_the_one(x: Any) -> None:
    assert [part.tolist() for part in _inputs([x], _source((TOWNS,)))] == [[[1.0]]]


def test_a_list_of_texts_takes_no_more_memory_than_they_have() -> None:
    texts = ["x"] * 1_000 + ["x" * 100_000]
    tracemalloc.start()
    try:
        (found,) = _inputs(texts, _source((WORDS,)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found[0].tolist() == [2, 0]
    assert peak < 10 << 20
