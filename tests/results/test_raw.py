"""The preprocessing that is put before a model makes of raw values what training saw."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.results._raw import raw_inputs
from cerebro_nas.results._raw import with_preprocessing
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import encode_column


def _outputs(model: Any, rows: Any) -> list[Any]:
    return [output.numpy() for output in keras.tree.flatten(model(rows, training=False))]


def _identity(width: int, dtype: str = "float32") -> Any:
    """A model that shows what it is given."""
    inputs = keras.Input((width,), dtype=dtype)
    return keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs))


def _category(name: str, values: list[str]) -> ColumnSpec:
    return ColumnSpec(name, (), "int32", "scalar", {"kind": "categories", "values": values})


def _number(name: str, shape: tuple[int, ...] = ()) -> ColumnSpec:
    return ColumnSpec(name, shape, "float32", "scalar")


def test_raw_values_give_what_encoded_ones_give(multimodal: Any) -> None:
    model = with_preprocessing(multimodal.model, multimodal.groups)
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in model.inputs] == [
        ("review", "string", (None, 1)),
        ("colour", "string", (None, 1)),
        ("size", "float32", (None, 1)),
        ("on", "string", (None, 1)),
        # The model's own name of it is that of a column.
        ("colour_column_1", "float32", (None, 2, 2, 3)),
    ]
    expected = multimodal.expected
    columns = [tf.constant(value if value.ndim > 1 else value[:, None]) for value in multimodal.raw.values()]
    for found in (model.predict(multimodal.raw, verbose=0), _outputs(model, columns)):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


def test_outputs_keep_their_names_and_the_model_its_compilation(multimodal: Any) -> None:
    model = with_preprocessing(multimodal.model, multimodal.groups)
    assert model.output_names == ["classification_head_1", "regression_head_1"]
    targets = [np.eye(2, dtype=np.float32)[[0, 1, 1, 0]], np.ones((4, 1), dtype=np.float32)]
    found = model.evaluate(multimodal.raw, targets, verbose=0, return_dict=True)
    assert found == pytest.approx(
        multimodal.model.evaluate(multimodal.encoded, targets, verbose=0, return_dict=True), rel=1e-5
    )
    assert model.optimizer is multimodal.model.optimizer


def test_a_single_text_input_takes_strings(texts: Any) -> None:
    model = with_preprocessing(texts.model, texts.groups)
    rows = texts.raw["review"]
    for given_rows in (tf.constant(rows), tf.constant(rows[:, None]), {"review": tf.constant(rows)}):
        np.testing.assert_allclose(_outputs(model, given_rows)[0], texts.expected[0], rtol=1e-6)
    np.testing.assert_allclose(model.predict(rows, verbose=0), texts.expected[0], rtol=1e-6)


def test_a_model_that_was_not_compiled_stays_so(texts: Any) -> None:
    assert not with_preprocessing(texts.model, texts.groups).compiled


@pytest.mark.parametrize(
    "groups",
    [
        (),
        ((_number("a"), _number("b")),),
        ((ColumnSpec("i", (2,), "uint8", "list", {"kind": "image"}),),),
        ((_number("v", (2,)),),),
    ],
)
def test_a_model_of_numbers_stays_as_it_is(groups: Any) -> None:
    model = _identity(2)
    assert with_preprocessing(model, groups) is model


def test_one_category_alone() -> None:
    model = with_preprocessing(_identity(1), ((_category("c", ["a", "b"]),),))
    assert _outputs(model, tf.constant(["b", "x", "a"]))[0].tolist() == [[1], [2], [0]]


def test_a_category_of_which_no_value_is_known() -> None:
    model = with_preprocessing(_identity(1), ((_category("c", []),),))
    assert _outputs(model, tf.constant(["-", ""]))[0].tolist() == [[0], [0]]


def test_a_column_that_feeds_two_inputs_is_asked_for_once() -> None:
    one, two = keras.Input((1,)), keras.Input((2,))
    inner = keras.Model([one, two], [keras.layers.Rescaling(1.0)(one), keras.layers.Rescaling(1.0)(two)])
    column = _category("c", ["a", "b"])
    model = with_preprocessing(inner, ((column,), (_number("n"), column)))
    assert [tensor.name for tensor in model.inputs] == ["c", "n"]
    found = _outputs(model, {"c": tf.constant(["b", "a"]), "n": tf.constant([5.0, 6.0])})
    assert [array.tolist() for array in found] == [[[1], [0]], [[5, 1], [6, 0]]]


def test_vectors_beside_categories_are_laid_flat() -> None:
    groups = ((_category("c", ["a"]), _number("m", (2, 2)), _number("v", (1,))),)
    model = with_preprocessing(_identity(6), groups)
    rows = {"c": tf.constant(["a"]), "m": tf.ones((1, 2, 2)), "v": tf.constant([[7.0]])}
    assert _outputs(model, rows)[0].tolist() == [[0, 1, 1, 1, 1, 7]]


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_tokens_have_the_type_that_the_model_takes(dtype: str) -> None:
    spec = ColumnSpec("t", (2,), "int32", "list", {"kind": "tokens", "vocabulary": ["a"], "length": 2})
    model = with_preprocessing(_identity(2, dtype), ((spec,),))
    assert _outputs(model, tf.constant(["a b c"]))[0].tolist() == [[2, 1]]


_NAMES = ["a b", "a/b", "a_b", "mod", "cast", "subtract_1", "rescaling", "columns", "a_category", "ü", "0", "_x", "a.b"]


def test_columns_of_any_name() -> None:
    groups = (tuple(_category(name, ["x", name]) for name in _NAMES),)
    inner = _identity(len(_NAMES))
    wanted, _ = raw_inputs(inner, groups)
    model = with_preprocessing(inner, groups)
    assert [item.name for item in wanted] == [tensor.name for tensor in model.inputs]
    assert [item.name for item in wanted][:3] == ["a b", "a_b", "a_b_column_1"]
    rows = {item.name: tf.constant([name, "?"]) for item, name in zip(wanted, _NAMES, strict=True)}
    assert _outputs(model, rows)[0].tolist() == [[1.0] * len(_NAMES), [2.0] * len(_NAMES)]


@settings(max_examples=15)
@given(
    st.lists(st.text(max_size=5).filter(lambda text: not text.endswith("\0")), max_size=6, unique=True),
    st.lists(st.text(max_size=5).filter(lambda text: not text.endswith("\0")), min_size=1, max_size=6),
)
def test_any_categories(values: list[str], others: list[str]) -> None:
    column = _category("c", sorted(values))
    model = with_preprocessing(_identity(1), ((column,),))
    rows = [*values, *others]
    found = model(tf.constant(rows)[:, None]).numpy()[:, 0]
    assert found.tolist() == encode_column(rows, column).tolist()
