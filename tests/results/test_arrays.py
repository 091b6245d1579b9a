"""Arrays and frames to predict on: as they were in training, or with one clear error."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import DataError
from cerebro_nas.results._arrays import model_inputs
from cerebro_nas.results._bundle import ModelSource
from cerebro_nas.worker import ColumnSpec

TOWNS = ColumnSpec("town", (), "int32", "scalar", {"kind": "categories", "values": ["a", "b"]})
WORDS = ColumnSpec("text", (2,), "int32", "list", {"kind": "tokens", "vocabulary": ["x"], "length": 2})


def _number(name: str, dtype: str = "float32") -> ColumnSpec:
    return ColumnSpec(name, (), dtype, "scalar")


def _source(*groups: tuple[ColumnSpec, ...]) -> ModelSource:
    return ModelSource("states", groups, (), (), 1)


def test_columns_without_names_have_their_numbers_for_names() -> None:
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]])
    (found,) = model_inputs(frame, _source((_number("0"), _number("1"))))
    assert found.tolist() == frame.to_numpy().tolist()


def test_frames_of_several_inputs_may_share_names() -> None:
    # In training, columns of the second that are in the first go by the name of their input as well.
    source = _source((_number("age"),), (_number("other.age"), TOWNS))
    first, second = pd.DataFrame({"age": [1, 2]}), pd.DataFrame({"age": [3, 4], "town": ["b", "?"]})
    found = model_inputs([first, second], source)
    assert [part.tolist() for part in found] == [[[1.0], [2.0]], [[3.0, 1.0], [4.0, 2.0]]]


def test_a_column_with_a_dot_is_not_another_one() -> None:
    with pytest.raises(ConfigError, match="without 'user.age'"):
        model_inputs(pd.DataFrame({"age": [1]}), _source((_number("user.age"),)))


@pytest.mark.parametrize("dtype", ["object", "<U3"])
def test_numbers_as_objects_or_texts_are_numbers(dtype: str) -> None:
    table = np.array([["1.5", "2"], ["3", "4"]], dtype=dtype)
    (found,) = model_inputs(table, _source((_number("a"), _number("b"))))
    assert found.dtype == np.float32
    assert found.tolist() == [[1.5, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("group", [(_number("a"),), (_number("a"), TOWNS)])
def test_texts_that_are_no_numbers_are_told(group: tuple[ColumnSpec, ...]) -> None:
    table = np.array([["n/a", "b"][: len(group)]], dtype=object)
    with pytest.raises(ConfigError, match="`x` must hold numbers where training had them.*'n/a'"):
        model_inputs(table, _source(group))


@pytest.mark.parametrize("spec", [_number("a"), TOWNS], ids=["number", "category"])
def test_missing_values_are_told_as_such(spec: ColumnSpec) -> None:
    with pytest.raises(DataError, match=f"^Column '{spec.name}' must hold .* 1 missing"):
        model_inputs(pd.DataFrame({spec.name: ["1", None]}), _source((spec,)))


@pytest.mark.parametrize("x", [pd.DataFrame({"town": ["b"]}), pd.Series(["b"]), np.array(["b"])])
def test_a_list_of_one_is_the_one(x: Any) -> None:
    assert [part.tolist() for part in model_inputs([x], _source((TOWNS,)))] == [[[1.0]]]


def test_a_list_of_texts_takes_no_more_memory_than_they_have() -> None:
    texts = ["x"] * 1_000 + ["x" * 100_000]
    tracemalloc.start()
    try:
        (found,) = model_inputs(texts, _source((WORDS,)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found[0].tolist() == [2, 0]
    assert peak < 10 << 20
