"""Which columns feed which inputs and heads, and what is done with their values."""

from __future__ import annotations

from typing import Any

import autokeras as ak
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space import InputInfo
from cerebro_nas.search_space import Layout
from cerebro_nas.search_space import NamedColumns
from cerebro_nas.search_space import SearchSpace
from cerebro_nas.search_space import named_columns
from cerebro_nas.search_space._class_weights import with_class_weights
from cerebro_nas.worker import ColumnSpec

KINDS = {"town": "string", "age": "number", "text": "string", "image": "vector", "paid": "boolean"}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("x", NamedColumns(("x",))),
        (["x", "y"], NamedColumns(("x", "y"))),
        ([["x", "y"], "z"], NamedColumns(("x", "y", "z"), (("x", "y"), ("z",)))),
        ([["x", "y"], ["x"]], NamedColumns(("x", "y"), (("x", "y"), ("x",)))),
        ({"a": "x", "b": ["y", "z"]}, NamedColumns(("x", "y", "z"), (("x",), ("y", "z")), ("a", "b"))),
    ],
)
def test_columns_can_be_named_in_four_ways(given: Any, found: NamedColumns) -> None:
    assert named_columns("feature_columns", given) == found


@pytest.mark.case(32)
@pytest.mark.parametrize("given", [[], {}, "", 3, None, [""], [["x"], []], {"a": []}, {1: "x"}, [["x", 3]]])
def test_other_things_are_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="`feature_columns` must be a list of column names"):
        named_columns("feature_columns", given)


def _space() -> SearchSpace:
    text, table = ak.TextInput(name="review"), ak.StructuredDataInput(name="facts")
    merged = ak.Merge()([ak.Flatten()(ak.Embedding()(text)), ak.DenseBlock()(table)])
    return SearchSpace(
        [text, table], [ak.ClassificationHead(name="kind")(merged), ak.RegressionHead(name="price")(merged)]
    )


def _layout(features: Any, labels: Any = ("k", "p"), space: SearchSpace | None = None) -> Layout:
    named = named_columns("feature_columns", features), named_columns("label_columns", labels)
    return (space or _space()).layout(*named, KINDS.get)


def test_inputs_and_heads_find_their_columns_by_order_and_by_name() -> None:
    found = _layout([["text"], ["town", "age", "paid"]])
    assert found == _layout({"facts": ["town", "age", "paid"], "review": "text"}, {"price": "p", "kind": "k"})
    assert found.features == (("text",), ("town", "age", "paid"))
    assert found.labels == ("k", "p")
    assert found.uses == {"text": "text", "town": "category"}
    assert found.feature_columns == ("text", "town", "age", "paid")
    assert _layout(["text", "age"]).features == (("text",), ("age",))


def test_structured_inputs_take_the_columns_that_they_name() -> None:
    image, table = ak.ImageInput(), ak.StructuredDataInput(["age", "town"], {"age": "categorical"})
    merged = ak.Merge()([ak.Flatten()(image), ak.DenseBlock()(table)])
    space = SearchSpace([image, table], ak.ClassificationHead()(merged))
    found = _layout(["town", "image", "age"], ["k"], space)
    assert found.features == (("image",), ("age", "town"))
    assert found.uses == {"age": "category", "town": "category"}
    assert space.inputs == (
        InputInfo("image_input_1", "image"),
        InputInfo("structured_data_input_1", "structured", ("age", "town"), ("age",)),
    )


@pytest.mark.parametrize(
    ("kind", "uses"),
    [
        *((kind, {"n": "text"}) for kind in ("string", "number", "boolean", "date", "image", "other")),
        *((kind, {}) for kind in ("vector", "array", "binary", None)),
    ],
)
def test_texts_are_strings_or_arrays_of_token_numbers(kind: str | None, uses: dict[str, str]) -> None:
    """What a text cannot be is refused with all else that is wrong with the data (`check_arguments`)."""
    space = SearchSpace(ak.TextInput(), ak.ClassificationHead())
    names = named_columns("feature_columns", "n"), named_columns("label_columns", "k")
    assert space.layout(*names, {"n": kind, "k": "number"}.get).uses == uses


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (["text", "town", "age"], ("k", "p"), "which columns feed each of the 2 inputs"),
        ([["text"], ["town"], ["age"]], ("k", "p"), "which columns feed each of the 2 inputs"),
        ({"review": "text", "fact": "town"}, ("k", "p"), "names of the inputs for keys: 'review', 'facts'"),
        ([["text"], ["text"]], ("k", "p"), "one kind of input. Received: column 'text' as text and as category"),
        (["text", "age"], ("k",), "one column for each of the 2 heads"),
        (["text", "age"], {"kind": "k", "prize": "p"}, "names of the heads for keys: 'kind', 'price'"),
    ],
)
def test_what_does_not_fit_is_told(features: Any, labels: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _layout(features, labels)


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("kind", "message"),
    [("numerical", "must call a column of strings 'categorical'"), ("number", "must map columns to")],
)
def test_column_types_must_fit_the_columns(kind: str, message: str) -> None:
    space = SearchSpace(ak.StructuredDataInput(["town"], {"town": kind}), ak.ClassificationHead())
    with pytest.raises(ConfigError, match=message):
        _layout("town", "k", space)


TARGET: dict[str, Any] = {"kind": "classes", "classes": ["a", "b", "c"], "as": "onehot"}


@pytest.mark.parametrize("given", [{"b": 2.0}, {1: 2.0}])
def test_class_weights_by_label_or_by_position(given: dict[Any, float]) -> None:
    (found,) = with_class_weights([TARGET], given, [["a", "b", "c"]])
    assert found == {**TARGET, "weights": [1.0, 2.0, 1.0]}


def test_labels_that_are_numbers_come_before_positions() -> None:
    (found,) = with_class_weights([TARGET], {1: 5.0}, [[1, 2, 3]])
    assert found["weights"] == [5.0, 1.0, 1.0]


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("classes", "message"),
    [([["a"], ["b"]], "with 2 head"), ([[]], "single `ClassificationHead`"), ([["a", "b"]], r"Received: \['z'\]")],
)
def test_class_weights_need_classes(classes: list[list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_class_weights([TARGET] * len(classes), {"z": 1.0}, classes)


def test_what_a_data_set_says_of_columns_is_forgotten_with_the_next_one(prepare: Any) -> None:
    space = SearchSpace(ak.StructuredDataInput(name="t"), ak.ClassificationHead())
    town = ColumnSpec("c", (), "int32", "scalar", {"kind": "categories", "values": ["a", "b"]})
    space.configure(prepare(features=(town,)), batch_size=32, epochs=1)
    found = space.layout(
        named_columns("feature_columns", "c"), named_columns("label_columns", "k"), lambda name: "number"
    )
    assert found.uses == {}
    assert space.inputs == (InputInfo("t", "structured"),)


@pytest.mark.case(32)
def test_column_types_of_columns_that_are_not_there_are_refused() -> None:
    space = SearchSpace(ak.StructuredDataInput(column_types={"twon": "categorical"}), ak.ClassificationHead())
    with pytest.raises(
        ConfigError, match="`column_types` must name columns of the input, 'town', 'age'. Received: 'twon'"
    ):
        _layout(["town", "age"], "k", space)


def test_number_labels_are_those_of_heads_without_classes() -> None:
    assert _layout(["text", "age"]).number_labels == ("p",)


def test_classes_of_a_vector_of_one_number_are_two(prepare: Any) -> None:
    space = SearchSpace(ak.Input(), ak.ClassificationHead())
    data = prepare(shape=(4,), classes=(), label_shape=(1,))
    space.configure(data, batch_size=32, epochs=1, class_weight={0: 1.0, 1: 5.0})
    assert space.targets[0]["weights"] == [1.0, 5.0]


@pytest.mark.case(30)
def test_labels_that_are_no_classes_are_told_as_such(prepare: Any) -> None:
    space = SearchSpace(ak.Input(), ak.ClassificationHead())
    with pytest.raises(ConfigError, match="with fractions or more values. Use a `RegressionHead`"):
        space.configure(prepare(shape=(4,), classes=()), batch_size=32, epochs=1)
