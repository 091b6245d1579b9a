"""How rows become inputs, and outputs labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.storage import StateFiles
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import ColumnSpec

ONEHOT = OutputSpec("label", "onehot", ("cat", "dog", "eel"), 3)
BINARY = OutputSpec("label", "binary", (3, 7), 2)
NUMBER = OutputSpec("label", "values", (), 1)
PAIR = OutputSpec("label", "values", (), 2)
SEVERAL = OutputSpec("label", "multilabel", (0, 1, 2), 3)


def _source(*groups: tuple[ColumnSpec, ...], outputs: tuple[OutputSpec, ...] = (ONEHOT,)) -> ModelSource:
    return ModelSource("states", groups, outputs, tuple(f"{o.column}__output" for o in outputs), train_shards=2)


@given(st.lists(st.sampled_from(["cat", "dog", "eel"]), min_size=1), st.sampled_from(["list", "array", "objects"]))
def test_labels_survive_there_and_back(labels: list[str], kind: str) -> None:
    given_labels: Any = {
        "list": labels,
        "array": np.array(labels),
        "objects": np.array(labels, dtype=object),
    }[kind]
    targets = ONEHOT.encode(given_labels)
    assert targets.shape == (len(labels), 3)
    assert (targets.sum(axis=1) == 1).all()
    assert ONEHOT.decode(targets).tolist() == labels


@given(st.lists(st.sampled_from([3, 7]), min_size=1), st.sampled_from([np.int64, np.float64, np.int8]))
def test_two_classes_survive_there_and_back(labels: list[int], dtype: Any) -> None:
    targets = BINARY.encode(np.array(labels, dtype=dtype))
    assert targets.shape == (len(labels), 1)
    assert BINARY.decode(targets).tolist() == labels


def test_the_most_probable_class_is_the_label() -> None:
    assert ONEHOT.decode(np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])).tolist() == ["dog", "eel"]
    assert BINARY.decode(np.array([[0.49], [0.51]])).tolist() == [3, 7]


def test_numbers_are_labels_as_they_are() -> None:
    assert NUMBER.decode(np.array([[1.5], [2.5]])).tolist() == [1.5, 2.5]
    assert PAIR.decode(np.array([[1.0, 2.0]])).tolist() == [[1.0, 2.0]]
    assert NUMBER.encode(np.array([1, 2])).tolist() == [[1.0], [2.0]]
    assert PAIR.encode(np.array([[1, 2]])).dtype == np.float32


def test_every_label_that_is_likelier_than_not_is_there() -> None:
    assert SEVERAL.decode(np.array([[0.49, 0.5, 0.51], [0.1, 0.2, 0.3]])).tolist() == [[0, 0, 1], [0, 0, 0]]
    single = OutputSpec("label", "multilabel", (0,), 1)
    assert single.decode(np.array([[0.4], [0.6]])).tolist() == [[0.0], [1.0]]
    for output, rows in ((SEVERAL, [[1.0, 0.0, 1.0]]), (single, [[1.0], [0.0]])):
        assert output.encode(np.array(rows)).tolist() == rows
        assert output.decode(output.encode(np.array(rows))).tolist() == rows


def test_rows_that_are_encoded_already_stay() -> None:
    rows = np.eye(3)
    assert ONEHOT.encode(rows).tolist() == rows.tolist()


def test_a_column_of_labels_is_a_list_of_labels() -> None:
    """Keras users keep labels as (n, 1) as often as (n,)."""
    expected = ONEHOT.encode(np.array(["dog", "cat"])).tolist()
    assert ONEHOT.encode(np.array([["dog"], ["cat"]])).tolist() == expected
    assert BINARY.encode(np.array([[7], [3]])).tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize("labels", [["cat", "cow"], ["Cat"], [None]])
def test_an_unseen_label_is_named(labels: list[Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        ONEHOT.encode(np.array(labels, dtype=object))
    unseen = [str(label) for label in labels if label != "cat"]
    assert f"Received: {unseen} in 'label'" in str(caught.value)
    assert "['cat', 'dog', 'eel']" in str(caught.value)


@pytest.mark.parametrize("dtype", [object, str])
def test_labels_that_are_no_numbers_are_named(dtype: Any) -> None:
    with pytest.raises(ConfigError, match=r"Labels should be numbers, .* Received: \['abc'\] in 'label'\. Convert"):
        NUMBER.encode(np.array(["abc", "1.5"], dtype=dtype))


def test_no_labels_are_no_targets() -> None:
    assert [output.encode(np.empty((0, 1))).shape for output in (NUMBER, SEVERAL)] == [(0, 1)] * 2


def test_scalar_columns_are_stacked_in_the_order_of_the_input() -> None:
    columns = tuple(ColumnSpec(name, (), "float32", "scalar") for name in ("b", "a"))
    (rows,) = _source(columns).assemble({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])})
    assert rows.tolist() == [[3.0, 1.0], [4.0, 2.0]]


def test_each_input_has_its_columns() -> None:
    image, number = ColumnSpec("image", (2, 2), "uint8", "npy"), ColumnSpec("number", (), "float32", "scalar")
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    first, second = _source((image,), (number,)).assemble({"image": images, "number": np.array([5.0, 6.0])})
    assert first is images
    assert second.tolist() == [[5.0], [6.0]]


def test_output_columns_have_one_name_per_label() -> None:
    source = _source(outputs=(ONEHOT, NUMBER))
    assert source.with_output_columns(["a", "b"]).output_columns == ("a", "b")
    for names in (["a"], "ab", []):
        with pytest.raises(ConfigError, match=r"`output_columns` must be a list of 2 name\(s\)"):
            source.with_output_columns(names)


@pytest.mark.case(24)
@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 200_000, '{"trial": "t"}', "null"])
def test_a_specification_that_was_changed_is_damage(tmp_path: Path, text: str) -> None:
    StateFiles(str(tmp_path)).write_spec("t", text)
    source = ModelSource(str(tmp_path), (), (), (), train_shards=1)
    with pytest.raises(CorruptStateError, match="specification of trial 't' in .* is damaged"):
        source.load("t", "g")


@pytest.mark.case(24)
def test_a_specification_with_a_gadget_is_refused(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    gadget = {"module": "os", "class_name": "mkdir", "registered_name": "mkdir", "config": {"path": str(canary)}}
    spec = CandidateSpec("t", json.dumps(gadget), {}, (), ())
    StateFiles(str(tmp_path)).write_spec("t", spec.to_json())
    source = ModelSource(str(tmp_path), (), (), (), train_shards=1)
    with pytest.raises(UnsafeModelError, match="class_name='mkdir', module='os'"):
        source.load("t", "g")
    assert not canary.exists()
