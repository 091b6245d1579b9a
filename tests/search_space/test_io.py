from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import autokeras as ak
import keras
import pytest

from cerebro_nas.data._types import PreparedData
from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space import SearchSpace
from cerebro_nas.worker import ColumnSpec

Prepare = Callable[..., PreparedData]


def configured(node: Any, head: Any, prepared: PreparedData, **kwargs: Any) -> SearchSpace:
    space = SearchSpace(node, head(ak.DenseBlock()(node)))
    space.configure(prepared, batch_size=32, epochs=2, **kwargs)
    return space


@pytest.mark.parametrize(
    ("classes", "label_shape", "kwargs", "shape", "target", "loss"),
    [
        (("a", "b", "c"), (), {}, (3,), {"kind": "classes", "classes": ["a", "b", "c"], "as": "onehot"}, "Categorical"),
        ((1, 2), (), {}, (1,), {"kind": "classes", "classes": [1, 2], "as": "binary"}, "Binary"),
        (
            (0, 1),
            (),
            {"loss": "binary_crossentropy"},
            (1,),
            {"kind": "classes", "classes": [0, 1], "as": "binary"},
            "B",
        ),
        ((0, 1), (), {"loss": "kl_divergence"}, (2,), {"kind": "classes", "classes": [0, 1], "as": "onehot"}, "kl"),
        ((0, 1, 2), (3,), {}, (3,), {"kind": "values"}, "Categorical"),
        ((0, 1), (2,), {}, (2,), {"kind": "values"}, "Categorical"),
        ((0, 1), (2,), {"num_classes": 2}, (2,), {"kind": "values"}, "Categorical"),
        ((), (4,), {"multi_label": True}, (4,), {"kind": "values", "as": "multilabel"}, "Binary"),
        ((0, 1, 2), (3,), {"multi_label": True}, (3,), {"kind": "values", "as": "multilabel"}, "Binary"),
        ((), (1,), {}, (1,), {"kind": "values", "as": "multilabel"}, "Binary"),
        ((0, 1, 2), (), {"num_classes": 3}, (3,), {"kind": "classes", "classes": [0, 1, 2], "as": "onehot"}, "Categ"),
    ],
)
def test_classification_follows_the_labels(
    prepare: Prepare, classes: Any, label_shape: Any, kwargs: Any, shape: Any, target: Any, loss: str
) -> None:
    head = ak.ClassificationHead(**kwargs)
    space = configured(ak.ImageInput(), head, prepare(classes=classes, label_shape=label_shape))

    assert space.targets == (target,)
    assert head.shape == shape
    assert all(type(size) is int for size in head.shape)
    assert loss in (head.loss if isinstance(head.loss, str) else type(head.loss).__name__)


def test_what_the_user_set_on_the_head_is_kept(prepare: Prepare) -> None:
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    head = ak.ClassificationHead(num_classes=3, loss=loss, metrics=["accuracy", keras.metrics.AUC(name="auc")])
    space = configured(ak.ImageInput(), head, prepare())

    assert head.loss is loss
    assert space.metric_names == ("loss", "accuracy", "auc")


@pytest.mark.parametrize(("label_shape", "shape"), [((), (1,)), ((3,), (3,))])
def test_regression_takes_values(prepare: Prepare, label_shape: Any, shape: Any) -> None:
    head = ak.RegressionHead()
    space = configured(ak.Input(), head, prepare(shape=(4,), label_shape=label_shape, label_dtype="float64"))

    assert (head.shape, space.targets) == (shape, ({"kind": "values"},))


@pytest.mark.case(30)
@pytest.mark.parametrize("name", ["column", "array"])
@pytest.mark.parametrize(
    ("head", "data", "expected", "received"),
    [
        (lambda: ak.ClassificationHead(multi_label=True), {}, "0/1 vectors", " of scalars"),
        (ak.ClassificationHead, {"classes": ()}, "classes for a `ClassificationHead`", ", with fractions"),
        (ak.ClassificationHead, {"classes": (7,)}, "at least two classes", r" with the classes \[7\]"),
        (ak.ClassificationHead, {"label_shape": (2, 2)}, "classes or one-hot vectors", ", shape"),
        (ak.RegressionHead, {"label_dtype": "str"}, "numbers or vectors", " of dtype str"),
    ],
)
def test_labels_are_called_what_the_user_called_them(
    prepare: Prepare, name: str, head: Any, data: Any, expected: str, received: str
) -> None:
    """Arrays are columns that are named as their heads."""
    made, made_head = prepare(**data), head()
    argument, given = "`label_columns` should name a column of", "column 'label'"
    if name == "array":
        own = "classification_head_1" if isinstance(made_head, ak.ClassificationHead) else "regression_head_1"
        statistics = {**made.statistics, own: made.statistics["label"]}
        labels = (dataclasses.replace(made.labels[0], name=own),)
        made = dataclasses.replace(made, labels=labels, statistics=statistics)
        argument, given = "`y` should hold", f"`y` of the head '{own}'"
    with pytest.raises(ConfigError, match=f"Argument {argument} {expected}.* Received: {given}{received}"):
        configured(ak.ImageInput(), made_head, made)


@pytest.mark.case(30)
@pytest.mark.parametrize(
    ("node", "head", "data", "message"),
    [
        (ak.ImageInput, ak.ClassificationHead, {"shape": (784,)}, r"input_shape=\(28, 28, 1\)"),
        (ak.ImageInput, ak.ClassificationHead, {"classes": (7,)}, "at least two classes"),
        (ak.ImageInput, lambda: ak.ClassificationHead(num_classes=5), {}, "should be 3.*num_classes=5"),
        (ak.ImageInput, lambda: ak.ClassificationHead(multi_label=True), {}, "multi_label"),
        (ak.ImageInput, ak.ClassificationHead, {"label_shape": (2, 2)}, "one-hot"),
        (ak.ImageInput, lambda: ak.RegressionHead(output_dim=2), {}, "output_dim=2"),
        (ak.ImageInput, ak.RegressionHead, {"label_dtype": "str"}, "ClassificationHead"),
        (ak.ImageInput, ak.ClassificationHead, {"labels": 2}, "one column for each of the 1 heads"),
        (
            ak.Input,
            ak.RegressionHead,
            {"features": (ColumnSpec("a", (3,), "float32", "list"), ColumnSpec("b", (), "float32", "scalar"))},
            "one tensor column or several scalar",
        ),
    ],
)
def test_data_that_does_not_fit_is_refused(prepare: Prepare, node: Any, head: Any, data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}.*") as caught:
        configured(node(), head(), prepare(**data))
    assert "Received: " in str(caught.value)


_TOKENS: list[tuple[str, float, float, str | None]] = [
    ("uint8", 0, 255, None),
    ("int64", 0, 1000, None),
    # Vectors of Spark ML hold nothing but doubles.
    ("float32", 0, 1000, None),
    ("float32", 0, 1, "numbers from 0 to 1, with fractions"),
    ("float32", 0.5, 300, "numbers from 0.5 to 300, with fractions"),
    ("int64", -1, 7, "numbers from -1 to 7. Use `Input`"),
    ("float32", -1, 700, "numbers from -1 to 700. Use `Input`"),
]


@pytest.mark.case(30)
@pytest.mark.parametrize(("dtype", "low", "high", "message"), _TOKENS)
def test_token_numbers_are_whole_and_not_negative(
    prepare: Prepare, dtype: str, low: float, high: float, message: str | None
) -> None:
    data = prepare(features=(ColumnSpec("ids", (12,), dtype, "list"),))
    data.statistics["ids"] = dataclasses.replace(data.statistics["ids"], minimum=float(low), maximum=float(high))
    node = ak.TextInput()
    space = SearchSpace(node, ak.ClassificationHead()(ak.TextBlock(max_tokens=2000)(node)))
    if message is None:
        space.configure(data, batch_size=32, epochs=2)
        return
    with pytest.raises(ConfigError, match=f"whole and not negative. Received: column 'ids' of {message}"):
        space.configure(data, batch_size=32, epochs=2)


def test_sparse_loss_is_refused() -> None:
    node = ak.Input()
    with pytest.raises(ConfigError, match="categorical_crossentropy"):
        SearchSpace(node, ak.ClassificationHead(loss="sparse_categorical_crossentropy")(node))


def test_inputs_take_the_columns_given(prepare: Prepare) -> None:
    columns = tuple(ColumnSpec(name, (), dtype, "scalar") for name, dtype in (("a", "int8"), ("b", "float64")))
    node = ak.StructuredDataInput()
    space = configured(node, ak.RegressionHead(), prepare(features=columns))
    assert (node.shape, node.dtype, space.features) == ((2,), "float32", (columns,))

    nodes = [ak.Input(), ak.Input()]
    merged = ak.Merge()([ak.DenseBlock()(item) for item in nodes])
    two = SearchSpace(nodes, ak.RegressionHead()(merged))
    two.configure(prepare(features=columns), batch_size=32, epochs=1)
    assert two.features == ((columns[0],), (columns[1],))
    two.configure(prepare(features=columns), feature_columns_per_input=[["b"], ["a"]], batch_size=32, epochs=1)
    assert two.features == ((columns[1],), (columns[0],))
    assert [item.dtype for item in nodes] == ["float32", "int8"]
    for wrong in ([["a"]], [["a"], ["c"]], [["a"], []]):
        with pytest.raises(ConfigError, match="feature_columns"):
            two.configure(prepare(features=columns), feature_columns_per_input=wrong, batch_size=32, epochs=1)


@pytest.mark.case(30)
def test_vectors_that_are_all_of_one_class_are_refused(prepare: Prepare) -> None:
    data = prepare(label_shape=(3,), label_dtype="uint8", classes=(0, 1, 2))
    known = data.statistics["label"]
    data.statistics["label"] = dataclasses.replace(known, class_counts=(0, known.rows, 0))
    with pytest.raises(ConfigError, match="at least two classes.*every row is of class 1"):
        configured(ak.ImageInput(), ak.ClassificationHead(), data)


def test_a_number_of_classes_that_is_a_text_is_seen_to_be_one(prepare: Prepare) -> None:
    with pytest.raises(ConfigError, match=r"`num_classes` should be 3.*Received: num_classes='3'\."):
        configured(ak.ImageInput(), ak.ClassificationHead(num_classes="3"), prepare())


@pytest.mark.case(30)
def test_vectors_of_another_width_than_classes_are_refused(prepare: Prepare) -> None:
    data = prepare(label_shape=(3,), label_dtype="uint8", classes=(0, 1, 2))
    with pytest.raises(ConfigError, match=r"`num_classes` should be 3.*Received: num_classes=5"):
        configured(ak.ImageInput(), ak.ClassificationHead(num_classes=5), data)
