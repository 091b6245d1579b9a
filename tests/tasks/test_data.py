"""What `AutoModel` is given: arrays in any structure, checked and split as AutoKeras does."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from autokeras.utils.data_utils import split_dataset

from cerebro_nas.errors import ConfigError
from cerebro_nas.tasks._data import as_numbers
from cerebro_nas.tasks._data import check_lengths
from cerebro_nas.tasks._data import checked
from cerebro_nas.tasks._data import is_spark
from cerebro_nas.tasks._data import split

ONE, TWO = np.zeros((6, 2)), np.ones((6, 3))


@pytest.mark.parametrize(
    "given",
    [[ONE, TWO], (ONE, TWO), ((ONE, TWO),), {"a": ONE, "b": TWO}],
    ids=["list", "tuple", "nested", "dict"],
)
def test_one_array_for_each_node(given: Any) -> None:
    found = checked(given, ["a", "b"], "x")
    assert found[0] is ONE
    assert found[1] is TWO


def test_a_dict_by_name_may_have_another_order() -> None:
    found = checked({"second": TWO, "first": ONE}, ["second", "first"], "x")
    assert found[0] is TWO


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (("a_in", "c_in"), "Received: 'a_in', 'c_in'. Did you mean 'b_in' for 'c_in'?"),
        (("a_in", "b_inn"), "Received: 'a_in', 'b_inn'. Did you mean 'b_in' for 'b_inn'?"),
        (("a_inn", "b_inn"), "Received: 'a_inn', 'b_inn'. Did you mean 'a_in' for 'a_inn', 'b_in' for 'b_inn'?"),
        (("pic", "tab"), "Received: 'pic', 'tab'. Use these names, or pass a list in this order."),
        (("a_in",), "Received: 'a_in'. Use these names"),
        (("a_in", "b_in", 3), "Received: 'a_in', 'b_in', 3. Use these names"),
        ((), "Received: no keys. Use these names"),
    ],
)
@pytest.mark.parametrize(("argument", "where"), [("x", ""), ("y", " in validation_data")])
def test_a_dict_by_other_names_is_refused(keys: tuple[Any, ...], told: str, argument: str, where: str) -> None:
    text = f"Argument `{argument}`{where} should be a dict with the keys 'b_in', 'a_in'. {told}"
    with pytest.raises(ConfigError, match=re.escape(text)):
        checked(dict.fromkeys(keys, ONE), ["b_in", "a_in"], argument, where)


def test_a_dict_goes_by_order_where_nothing_has_a_name() -> None:
    names = ["image_input_1", "structured_data_input_1"]
    assert checked({"pic": ONE, "tab": TWO}, names, "x")[1] is TWO
    assert checked({"labels": ONE}, ["classification_head_1"], "y")[0] is ONE
    with pytest.raises(ConfigError, match="Did you mean 'image_input_1' for 'image_input_2'"):
        checked({"image_input_2": ONE, "structured_data_input_1": TWO}, names, "x")


def test_frames_and_series_are_tables_too() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert checked(frame, ["a"], "x")[0] is frame
    assert checked(frame["a"], ["a"], "y")[0] is frame["a"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1, 2], [3, 4]], "Expected x in validation_data to be a numpy array.*Received: x of int"),
        ("train.csv", "Expected x in validation_data to be a numpy array.*Received: x of str.*read_csv"),
        (None, "Expected x.*Received: x of NoneType"),
        (np.float32(1), "Expected x.*Received: x of float32"),
        ((ONE, TWO), "to have 1 arrays, but got 2"),
    ],
)
def test_anything_else_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(given, ["a"], "x", " in validation_data")


def test_arrays_have_equally_many_rows() -> None:
    with pytest.raises(ConfigError, match=r"equally many rows. Received: 6, 5 rows"):
        checked((ONE, TWO[:5]), ["a", "b"], "x")


def test_there_is_a_label_for_each_row() -> None:
    check_lengths([ONE], [ONE])
    with pytest.raises(ConfigError, match="x and y in validation_data .* Received: 6 rows of x and 5 of y"):
        check_lengths([ONE], [TWO[:5]], " in validation_data")


@pytest.mark.parametrize("rows", [2, 3, 5, 10, 101])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_rows_are_split_as_autokeras_splits_them(rows: int, fraction: float) -> None:
    array = np.arange(rows)
    train, held = split([array, pd.DataFrame({"a": array})], fraction)
    expected_train, expected_held = split_dataset(array, fraction)
    np.testing.assert_array_equal(train[0], expected_train)
    np.testing.assert_array_equal(held[0], expected_held)
    np.testing.assert_array_equal(train[1]["a"], expected_train)
    np.testing.assert_array_equal(held[1]["a"], expected_held)


def test_a_row_alone_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match="at least 2 rows"):
        split([np.zeros(1)], 0.2)


def test_numbers_that_are_written_as_text_are_numbers() -> None:
    node = SimpleNamespace(column_types={"a": "numerical", "b": "numerical"})
    found = as_numbers(node, np.array([["1", "2.5"]]))
    np.testing.assert_array_equal(found, np.array([[1, 2.5]], np.float32))
    assert as_numbers(node, np.array([[1, 2.5]], dtype=object)).dtype == np.float32
    mixed = SimpleNamespace(column_types={"a": "numerical", "b": "categorical"})
    for other in (mixed, SimpleNamespace(column_types=None), SimpleNamespace()):
        table = np.array([["1", "2"]])
        assert as_numbers(other, table) is table


def test_arrays_are_not_spark() -> None:
    assert not is_spark(ONE)
    assert not is_spark(pd.DataFrame())
