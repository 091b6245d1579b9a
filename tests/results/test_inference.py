"""What columns a model takes; prediction and evaluation of arrays."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.results import _inference
from cerebro_nas.results._inference import check_columns
from cerebro_nas.results._inference import evaluate_arrays
from cerebro_nas.results._inference import feature_specs
from cerebro_nas.results._inference import load_cached
from cerebro_nas.results._inference import raw_outputs
from cerebro_nas.storage import StateFiles
from cerebro_nas.testing import tiny_search
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import build_model
from cerebro_nas.worker import dump_state

IMAGE = ColumnSpec("image", (2, 3), "uint8", "npy")
NUMBER = ColumnSpec("number", (), "float32", "scalar")


def test_columns_that_lack_are_named() -> None:
    check_columns(["image"], ["image"])
    with pytest.raises(ConfigError, match=r"the 3 column.* one of 2 column.*, without 'number', 'label'\. Add"):
        check_columns(["image", "number", "label"], ["image", "other"])
    with pytest.raises(ConfigError, match=r"without '0', '1', '2', '3', '4' and 54 more\. Add"):
        check_columns([str(number) for number in range(59)], ["image"])


def test_features_are_in_the_order_of_the_inputs() -> None:
    source = ModelSource("states", ((NUMBER,), (IMAGE,)), (), (), 1)
    assert feature_specs(source) == [NUMBER, IMAGE]


@pytest.mark.parametrize(
    ("columns", "names", "sensitive", "told"),
    [
        (["number", "w"], ["w"], "false", r"\['w'\]"),
        (["number", "W"], ["w"], "false", r"\['w'\]"),
        (["number", "y__prediction", "y__output"], ["y__output"], "true", r"\['y__output', 'y__prediction'\]"),
        (["number"], ["y__prediction"], "false", r"\['y__prediction'\]"),
    ],
)
def test_a_column_that_is_there_is_not_replaced(
    columns: list[str], names: list[str], sensitive: str, told: str
) -> None:
    df: Any = SimpleNamespace(
        columns=columns, sparkSession=SimpleNamespace(conf={"spark.sql.caseSensitive": sensitive})
    )
    source = ModelSource("states", ((NUMBER,),), (OutputSpec("y", "values"),), ("y__output",), 1)
    with pytest.raises(
        ConfigError, match=rf"The model adds the columns \['{names[0]}', .* {told} would be there twice"
    ):
        _inference.transform(df, source.with_output_columns(names), "t", "n")


def test_names_that_differ_in_case_are_others_where_spark_says_so() -> None:
    df: Any = SimpleNamespace(columns=["W"], sparkSession=SimpleNamespace(conf={"spark.sql.caseSensitive": "true"}))
    _inference._check_new(df, ["w"])
    assert _inference._unused("w", df) == "w_"


@pytest.fixture(scope="module")
def model() -> Any:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", kernel_initializer="ones")(inputs))
    model.compile(optimizer="sgd", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def test_arrays_are_evaluated_with_labels_of_the_data(model: Any) -> None:
    source = ModelSource("states", ((NUMBER,),), (OutputSpec("y", "onehot", ("a", "b"), 2),), ("y__output",), 1)
    rows = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    found = evaluate_arrays(model, source, [rows], [np.array(["a", "b"])], 32)
    assert list(found) == ["loss", "accuracy"]
    # Both classes are as probable as each other, and the first is taken.
    assert found["loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert found["accuracy"] == 0.5


def test_raw_outputs_are_one_array_for_each_output(model: Any) -> None:
    (found,) = raw_outputs(model, [np.ones((3, 2), dtype=np.float32)], 2)
    assert found.tolist() == [[0.5, 0.5]] * 3


def test_outputs_of_no_rows_have_the_shape_of_others(model: Any) -> None:
    for outputs in (raw_outputs, _inference._outputs):
        (found,) = outputs(model, [np.empty((0, 2), dtype=np.float32)], 2)
        assert (found.shape, found.dtype.name) == ((0, 2), "float32")


def test_a_batch_of_no_rows_has_predictions_of_no_rows(model: Any) -> None:
    columns = tuple(ColumnSpec(name, (), "float32", "scalar") for name in "ab")
    source = ModelSource("states", (columns,), (OutputSpec("y", "onehot", ("a", "b"), 2),), ("y__output",), 1)
    found = _inference._predictions(model, source, {spec.name: np.empty(0) for spec in columns})
    assert found.shape == (0, 2)


@pytest.mark.parametrize(
    ("step_rows", "step_bytes", "batch_size", "steps"), [(2, 99, 1, 3), (9, 16, 1, 3), (2, 8, 5, 1)]
)
def test_a_task_predicts_in_steps_of_its_own(
    model: Any, monkeypatch: pytest.MonkeyPatch, step_rows: int, step_bytes: int, batch_size: int, steps: int
) -> None:
    """Small rows in larger steps than were asked for, and never in smaller ones."""
    monkeypatch.setattr(_inference, "_STEP_ROWS", step_rows)
    monkeypatch.setattr(_inference, "_STEP_BYTES", step_bytes)
    seen: list[int] = []
    predict = model.predict_on_batch

    def counted(rows: Any) -> Any:
        seen.append(len(rows))
        return predict(rows)

    monkeypatch.setattr(model, "predict_on_batch", counted)
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    (found,) = _inference._outputs(model, [rows], batch_size)
    assert np.array_equal(found, raw_outputs(model, [rows], 32)[0])
    assert (len(seen), sum(seen)) == (steps, 5)


def test_a_task_with_several_inputs_and_outputs() -> None:
    inputs = [keras.Input((2,)), keras.Input((3,))]
    joined = keras.layers.Concatenate()(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(1)(joined), keras.layers.Dense(4)(joined)])
    rows = [np.ones((3, 2), dtype=np.float32), np.ones((3, 3), dtype=np.float32)]
    found = _inference._outputs(model, rows, 2)
    assert [part.shape for part in found] == [(3, 1), (3, 4)]
    for part, expected in zip(found, raw_outputs(model, rows, 2), strict=True):
        assert np.allclose(part, expected, atol=1e-6)


@pytest.mark.parametrize(("gpus", "visible"), [(None, "-1"), (["2", "3"], "2,3")])
def test_a_task_keeps_to_what_it_was_given(
    monkeypatch: pytest.MonkeyPatch, gpus: list[str] | None, visible: str
) -> None:
    resources = {} if gpus is None else {"gpu": SimpleNamespace(addresses=gpus)}
    task = SimpleNamespace(cpus=lambda: 3, resources=lambda: resources)
    context = SimpleNamespace(get=lambda: task)
    monkeypatch.setitem(sys.modules, "pyspark", SimpleNamespace(TaskContext=context))
    # Set and deleted, so that what the function sets is undone at the end.
    for name in ("TF_NUM_INTRAOP_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    _inference._keep_to_task()
    assert (os.environ["TF_NUM_INTRAOP_THREADS"], os.environ["CUDA_VISIBLE_DEVICES"]) == ("3", visible)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    _inference._keep_to_task()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


@pytest.mark.parametrize("loaded", [True, False])
def test_a_driver_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, loaded: bool) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if loaded:
        context = SimpleNamespace(get=lambda: None)
        monkeypatch.setitem(sys.modules, "pyspark", SimpleNamespace(TaskContext=context))
    else:
        monkeypatch.delitem(sys.modules, "pyspark", raising=False)
    _inference._keep_to_task()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.case(12)
def test_models_are_kept_by_the_name_of_their_state(tmp_path: Path) -> None:
    """A state that was made again after a fault has the generation of the first, and other numbers."""
    _, spec = tiny_search(tmp_path)
    states, source = StateFiles(str(tmp_path / "states")), ModelSource(str(tmp_path / "states"), (), (), (), 1)
    states.write_spec(spec.trial, spec.to_json())
    names = []
    for factor in (1.0, 2.0):
        model = build_model(spec)
        model.set_weights([factor * np.ones_like(weight) for weight in model.get_weights()])
        names.append(states.write(spec.trial, 1, dump_state(model, {"trial": spec.trial, "generation": 1})))
    first, second = (load_cached(source, spec.trial, name) for name in names)
    assert [float(model.get_weights()[0][0, 0]) for model in (first, second)] == [1.0, 2.0]
    assert load_cached(source, spec.trial, names[0]) is first
    path = tmp_path / "states" / spec.trial / f"state-{names[0]}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptStateError, match="is damaged"):
        source.load(spec.trial, names[0])
