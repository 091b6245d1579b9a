"""Predictions look as AutoKeras' own postprocessing makes them."""

from __future__ import annotations

from typing import Any

import autokeras as ak
import numpy as np
import pytest
from numpy.typing import NDArray

from cerebro_nas.tasks._labels import Labels

DRAW = np.random.default_rng(0)
ROWS = 12


def _autokeras(head: Any, y: NDArray[Any], outputs: NDArray[Any]) -> NDArray[Any]:
    """What AutoKeras makes of a model's outputs."""
    analyser = head.get_analyser()
    analyser.update(y)
    analyser.finalize()
    head.config_from_analyser(analyser)
    found = outputs.copy()
    for part in reversed([maker.build(None, y) for maker in head.get_hyper_preprocessors()]):
        if hasattr(part, "postprocess"):
            found = part.postprocess(found)
    return np.asarray(found)


def _probabilities(classes: int) -> NDArray[np.float32]:
    raw = DRAW.random((ROWS, classes)).astype(np.float32)
    found: NDArray[np.float32] = raw / raw.sum(axis=1, keepdims=True)
    return found


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, 1, 2] * 4),
        np.array([[3], [1], [2]] * 4),
        np.array([0.5, 1.0, 2.0] * 4),
        np.array(["b", "a", "c"] * 4),
        np.array([b"b", b"a", b"c"] * 4),
        np.array([10, 2, 30] * 4, np.uint8),
    ],
    ids=["integers", "column", "floats", "strings", "bytes", "uint8"],
)
def test_classes_come_back_as_text(labels: NDArray[Any]) -> None:
    outputs = _probabilities(3)
    expected = _autokeras(ak.ClassificationHead(), labels, outputs)
    decoded = np.take(np.unique(labels), outputs.argmax(axis=1))
    found = Labels.of(ak.ClassificationHead(), labels).show(decoded)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype.kind == expected.dtype.kind == "U"


def test_two_classes_come_back_as_text() -> None:
    labels, outputs = np.array([1, 2] * 6), DRAW.random((ROWS, 1)).astype(np.float32)
    expected = _autokeras(ak.ClassificationHead(), labels, outputs)
    decoded = np.take([1, 2], (outputs[:, 0] > 0.5).astype(int))
    np.testing.assert_array_equal(Labels.of(ak.ClassificationHead(), labels).show(decoded), expected)


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
def test_zeros_and_ones_stay_numbers(dtype: str) -> None:
    labels, outputs = np.array([0, 1] * 6).astype(dtype), DRAW.random((ROWS, 1)).astype(np.float32)
    expected = _autokeras(ak.ClassificationHead(), labels, outputs)
    decoded = np.take([0, 1], (outputs[:, 0] > 0.5).astype(int))
    found = Labels.of(ak.ClassificationHead(), labels).show(decoded)
    np.testing.assert_array_equal(found, expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


@pytest.mark.parametrize("decode", [True, False])
def test_encoded_classes_come_back_encoded(decode: bool) -> None:
    labels, outputs = np.eye(3)[[0, 1, 2] * 4], _probabilities(3)
    expected = _autokeras(ak.ClassificationHead(), labels, outputs)
    found = Labels.of(ak.ClassificationHead(), labels).show(outputs.argmax(axis=1) if decode else outputs)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_a_row_of_several_labels_has_each_that_is_likely() -> None:
    # AutoKeras gives one label a row here, whatever the probabilities.
    labels = np.array([[0, 1, 1], [1, 0, 1]] * 6)
    outputs = np.array([[0.9, 0.2, 0.6], [0.1, 0.1, 0.1]], np.float32)
    head = ak.ClassificationHead(multi_label=True)
    np.testing.assert_array_equal(Labels.of(head, labels).show(outputs), [[1, 0, 1], [0, 0, 0]])


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 1), (ROWS, 4)])
def test_numbers_are_rows(shape: tuple[int, ...]) -> None:
    values = DRAW.random(shape).astype(np.float32)
    found = Labels.of(ak.RegressionHead(), values).show(values)
    np.testing.assert_array_equal(found, values.reshape(ROWS, -1))


@pytest.mark.parametrize(
    ("classes", "found", "shown"),
    [
        ((0, 1), [1, 0], [[1.0], [0.0]]),
        ((False, True), [True, False], [[1.0], [0.0]]),
        (("0", "1"), ["1", "0"], [["1"], ["0"]]),
        ((0, 1, 2), [2, 0], [["2"], ["0"]]),
        ((-1, 1), [-1, 1], [["-1"], ["1"]]),
    ],
)
def test_labels_of_a_column_look_as_those_of_an_array(classes: Any, found: Any, shown: Any) -> None:
    head = ak.ClassificationHead()
    columns, arrays = Labels.of_column(head, (), classes), Labels.of(head, np.array(classes))
    for labels in (columns, arrays):
        assert labels.show(np.array(found)).tolist() == shown


@pytest.mark.parametrize("multi_label", [True, False])
def test_encoded_labels_of_a_column_look_as_those_of_an_array(multi_label: bool) -> None:
    head = ak.ClassificationHead(multi_label=multi_label)
    assert Labels.of_column(head, (3,), (0, 1, 2)) == Labels.of(head, np.eye(3))


def test_other_labels_of_a_column() -> None:
    assert Labels.of_column(ak.ClassificationHead(), (1,), ()).show(np.array([0.2, 0.7])).tolist() == [[0], [1]]
    assert Labels.of_column(ak.RegressionHead(), (), ()).show(np.array([2.0, 3.0])).tolist() == [[2], [3]]


def test_names_are_never_cut_to_the_length_of_the_training_rows() -> None:
    shown = Labels.of(ak.ClassificationHead(), np.array(["cat", "dog"])).show(np.array(["horse", "cat"]))
    assert shown.tolist() == [["horse"], ["cat"]]


@pytest.mark.parametrize(
    ("labels", "found", "shape"),
    [
        (Labels("names", dtype="<U3"), np.empty(0, "<U3"), (0, 1)),
        (Labels("names", dtype="<i8"), np.empty(0, np.int64), (0, 1)),
        (Labels("zero_one"), np.empty(0, np.int64), (0, 1)),
        (Labels("one_hot", 3), np.empty(0, np.int64), (0, 3)),
        (Labels("multi_label", 3), np.empty((0, 3)), (0, 3)),
        (Labels("numbers"), np.empty(0), (0, 1)),
        (Labels("numbers"), np.empty((0, 2)), (0, 2)),
    ],
)
def test_predictions_of_no_rows_have_the_shape_of_others(
    labels: Labels, found: NDArray[Any], shape: tuple[int, int]
) -> None:
    shown = labels.show(found)
    assert shown.shape == shape
    assert shown.dtype.kind == ("U" if labels.kind == "names" else "f")
