"""Arrays and pandas frames as rows: what their columns are called and hold, and what is refused."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cerebro_nas.errors import DataError
from cerebro_nas.hypermodel._arrays import rows_of_arrays
from cerebro_nas.search_space import InputInfo
from cerebro_nas.worker import category_text

IMAGE, TEXT, TABLE = InputInfo("image", "image"), InputInfo("text", "text"), InputInfo("table", "structured")
N = 6
Y = np.arange(N) % 2


def _kinds(found: Any) -> dict[str, str]:
    return {name: found.rows.kind(name) for name in found.rows.columns}


def test_a_tensor_is_a_column_named_as_its_input() -> None:
    found = rows_of_arrays(np.zeros((N, 4, 3), np.uint8), Y, [IMAGE], ["head"])
    assert _kinds(found) == {"image": "array", "head": "number"}
    assert (found.features, found.labels, found.shapes) == ((("image",),), ("head",), {"image": (4, 3)})
    assert (found.validation, found.weight) == (None, None)


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
def test_texts_may_have_an_axis_of_one(shape: tuple[int, ...]) -> None:
    found = rows_of_arrays(np.array(["a b"] * N).reshape(shape), Y.reshape(shape), [TEXT], ["head"])
    assert _kinds(found) == {"text": "string", "head": "number"}


def test_a_table_of_mixed_types_is_taken_apart() -> None:
    table = np.array([["a", 1, True, "2.5"]] * N, dtype=object)
    found = rows_of_arrays(table, np.array(["x", "y"] * 3), [TABLE], ["head"])
    assert found.features == (("table_0", "table_1", "table_2", "table_3"),)
    assert list(_kinds(found).values()) == ["string", "number", "boolean", "number", "string"]
    named = InputInfo("table", "structured", ("p", "q", "r", "s"))
    assert rows_of_arrays(table, Y, [named], ["head"]).features == (("p", "q", "r", "s"),)


def test_a_frame_keeps_the_names_of_its_columns() -> None:
    frame = pd.DataFrame({"town": ["a"] * N, "age": range(N)})
    found = rows_of_arrays([np.zeros((N, 2)), frame], pd.Series(Y), [IMAGE, TABLE], ["head"])
    assert found.features == (("image",), ("town", "age"))
    assert _kinds(found) == {"image": "array", "town": "string", "age": "number", "head": "number"}


def test_inputs_and_heads_by_name() -> None:
    x = {"text": np.array(["t"] * N), "image": np.zeros((N, 2))}
    found = rows_of_arrays(x, {"b": Y, "a": np.ones((N, 3))}, [IMAGE, TEXT], ["a", "b"])
    assert (found.features, found.labels) == ((("image",), ("text",)), ("a", "b"))
    assert _kinds(found) == {"image": "array", "text": "string", "a": "array", "b": "number"}


def test_validation_rows_come_last_and_are_marked() -> None:
    found = rows_of_arrays(
        np.zeros((N, 2)), Y, [IMAGE], ["head"], (np.ones((2, 2)), Y[:2]), sample_weight=np.full(N, 3.0)
    )
    assert found.validation is not None
    assert found.weight is not None
    table: Any = found.rows
    assert table._table[found.validation].to_pylist() == [False] * N + [True] * 2
    assert table._table[found.weight].to_pylist() == [3.0] * N + [1.0] * 2


def test_validation_frames_are_joined() -> None:
    frame = pd.DataFrame({"age": range(N)})
    found = rows_of_arrays(frame, Y, [TABLE], ["head"], (frame[:2], Y[:2]))
    table: Any = found.rows
    assert table._table["age"].to_pylist() == [0, 1, 2, 3, 4, 5, 0, 1]


@pytest.mark.case(28, 29)
@pytest.mark.parametrize(
    ("x", "y", "extra", "message"),
    [
        (np.zeros((N, 2)), Y[:3], {}, "same number of rows. Received: image: 6, head: 3"),
        ([np.zeros((N, 2))] * 2, Y, {}, "rows of one shape|same number of rows"),
        ({"picture": np.zeros((N, 2))}, Y, {}, "must have the keys 'image'. Received: 'picture'"),
        (3, Y, {}, "must be arrays. Received: int for 'image'"),
        (np.zeros((N, 2)), Y, {"validation_data": np.zeros(3)}, "tuple \\(x_val, y_val\\)"),
        (np.zeros((N, 2)), Y, {"validation_data": (Y, Y, Y)}, "Received: validation_data, a tuple of 3"),
        (np.zeros((N, 2)), Y, {"validation_data": (np.zeros((2, 3)), Y[:2])}, "shape of the training rows"),
        (np.zeros((N, 2)), Y, {"sample_weight": [1.0]}, "one number for each of the 6 rows"),
        (
            np.zeros((N, 2)),
            Y,
            {"sample_weight": ["a"] * N},
            "must have one number for each of the 6 rows .* float: 'a'",
        ),
        (
            np.zeros((N, 2)),
            Y,
            {"sample_weight": [1, -1, 1, np.nan, 1, 1]},
            "Received: 2 others, the first in row 1: -1",
        ),
        (np.zeros((N, 2)), Y, {"sample_weight": np.zeros(N)}, "one above 0. Received: only zeros"),
        (pd.DataFrame({"a": Y}), Y, {"validation_data": (np.zeros((2, 1)), Y[:2])}, "must have the columns .* ndarray"),
        (pd.DataFrame({"a": Y}), Y, {"validation_data": (pd.DataFrame({"b": Y}), Y)}, "Received: \\['b'\\]"),
        (pd.DataFrame(np.zeros((N, 2)), columns=["a", "a"]), Y, {}, "columns of different names"),
        (np.array([{"a": 1}] * N, dtype=object).reshape(N, 1), Y, {}, "numbers, booleans or strings"),
    ],
)
def test_bad_arrays_get_one_clear_error(x: Any, y: Any, extra: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of_arrays(x, y, [IMAGE], ["head"], **extra)


@pytest.mark.case(29)
def test_names_must_be_as_many_as_columns() -> None:
    with pytest.raises(DataError, match="`column_names` must name each of the 3 columns"):
        rows_of_arrays(np.zeros((N, 3)), Y, [InputInfo("table", "structured", ("p",))], ["head"])


NAMED = InputInfo("table", "structured", ("p", "q"), ("p",))


def test_a_frame_has_the_names_that_were_given_to_its_columns() -> None:
    frame = pd.DataFrame({"a": ["01"] * N, "b": range(N)})
    found = rows_of_arrays(frame, Y, [NAMED], ["head"], (frame.rename(columns={"a": "p", "b": "q"})[:2], Y[:2]))
    assert found.features == (("p", "q"),)
    assert _values(found, "p") == ["01"] * (N + 2)
    # By name where it has them.
    turned = rows_of_arrays(pd.DataFrame({"q": range(N), "p": ["x"] * N}), Y, [NAMED], ["head"])
    assert _values(turned, "p") == ["x"] * N


@pytest.mark.parametrize("columns", ["abc", "a", "pqr"])
def test_names_must_be_as_many_as_columns_of_a_frame(columns: str) -> None:
    with pytest.raises(DataError, match=rf"`column_names` must name each of the {len(columns)} columns of 'table'"):
        rows_of_arrays(pd.DataFrame(np.zeros((N, len(columns))), columns=[*columns]), Y, [NAMED], ["head"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Y.reshape(-1, 1), Y[:2]),
        (Y, Y[:2].reshape(-1, 1)),
        (pd.DataFrame({"y": Y}), pd.Series(Y[:2])),
        (pd.Series(Y), [[0], [1]]),
    ],
)
def test_labels_to_validate_on_may_have_an_axis_of_one(first: Any, second: Any) -> None:
    found = rows_of_arrays(np.zeros((N, 2)), first, [IMAGE], ["head"], (np.zeros((2, 2)), second))
    assert _kinds(found)["head"] == "number"
    assert _values(found, "head") == [*Y.tolist(), 0, 1]


@pytest.mark.parametrize("info", [TEXT, TABLE])
def test_so_may_texts_and_tables(info: InputInfo) -> None:
    words = np.array(["a b"] * N)
    found = rows_of_arrays(words, Y, [info], ["head"], (words[:2].reshape(-1, 1), Y[:2]))
    assert _values(found, found.features[0][0]) == ["a b"] * (N + 2)


def _values(found: Any, name: str) -> list[Any]:
    return list(found.rows._table[name].to_pylist())


def test_numbers_written_as_text_stay_text_where_they_are_categories() -> None:
    table = np.array([["01", "1.5"], ["02", "2"], ["03", "3"]] * 2)
    info = InputInfo("table", "structured", ("zip", "size"), ("zip",))
    found = rows_of_arrays(table, Y, [info], ["head"])
    # What is predicted on later has "01" too, which would not be found among "1", "2", "3".
    assert _values(found, "zip") == ["01", "02", "03"] * 2
    assert _values(found, "size") == [1.5, 2.0, 3.0] * 2


def test_mixtures_have_the_texts_that_prediction_looks_up() -> None:
    mixed = ["a", 3.0, True, b"x", 2, None]
    found = rows_of_arrays(pd.DataFrame({"town": mixed}), Y, [TABLE], ["head"])
    assert _values(found, "town") == [category_text(value) for value in mixed] == ["a", "3", "True", "x", "2", None]


@pytest.mark.parametrize(("values", "dtype"), [([True, None] * 3, "boolean"), (["a", None] * 3, "string")])
def test_missing_values_of_pandas_are_nulls(values: list[Any], dtype: Any) -> None:
    frame = pd.DataFrame({"column": pd.Series(values, dtype=dtype)})
    assert _values(rows_of_arrays(frame, Y, [TABLE], ["head"]), "column") == values


def test_a_series_and_an_array_can_be_joined() -> None:
    found = rows_of_arrays(np.zeros((N, 2)), pd.Series(Y), [IMAGE], ["head"], (np.ones((2, 2)), Y[:2]))
    assert _values(found, "head") == [*Y.tolist(), 0, 1]


def test_a_list_of_texts_takes_no_more_memory_than_they_have() -> None:
    texts = ["a"] * 1_000 + ["b" * 100_000]
    tracemalloc.start()
    try:
        found = rows_of_arrays(texts, np.arange(1_001) % 2, [TEXT], ["head"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(_values(found, "text")[-1]) == 100_000
    assert peak < 10 << 20


def test_encoded_pictures_stay_files_to_the_last_zero() -> None:
    files = [b"\x89PNG" + bytes([n, 0, 0]) for n in range(N)]
    found = rows_of_arrays(files, Y, [IMAGE], ["head"], (files[:2], Y[:2]))
    assert _kinds(found)["image"] == "binary"
    table: Any = found.rows
    assert table._table["image"].to_pylist() == [*files, *files[:2]]
    objects = np.array(files, dtype=object)
    assert _kinds(rows_of_arrays(objects, Y, [IMAGE], ["head"]))["image"] == "binary"
