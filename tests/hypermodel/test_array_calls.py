"""Every call that takes a DataFrame takes arrays too, and none remembers the other's columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import autokeras as ak
import numpy as np
import pandas as pd
import pytest

from cerebro_nas import HyperHyperModel
from cerebro_nas.backend import LocalBackend
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import DataError
from cerebro_nas.results import ModelSource
from cerebro_nas.worker import ColumnSpec

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
Y = np.where(X.sum(axis=1) > 0, "yes", "no")


def _model(path: Path) -> HyperHyperModel:
    node = ak.Input()
    dense = ak.DenseBlock(num_layers=1, use_batchnorm=False, dropout=0.0)(node)
    model = HyperHyperModel(node, ak.ClassificationHead(dropout=0.0)(dense), max_trials=1, seed=1)
    model.resource_bind(LocalBackend(num_workers=1), path / "store", verbose=0)
    model.tuner_bind("random", objective="val_accuracy")
    return model


def test_a_space_a_search_one_architecture_and_a_refit_with_arrays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _model(tmp_path)
    known = model.test_tuner_space(x=X, y=Y)
    assert "dense_block_1/units_0" in known
    assert "dense_block_1/units_0" in capsys.readouterr().out
    found = model.fit(x=X, y=Y, epochs=2)
    assert len(found.records) == 1
    units = found.records[0].hyperparameters["dense_block_1/units_0"]
    fixed = model.fixed_arch_search(x=X, y=Y, optimizer=["adam"], learning_rate=[0.01, 0.1], epochs=1)
    assert [record.hyperparameters["dense_block_1/units_0"] for record in fixed.records] == [units] * 2
    again = model.refit(epochs=3)
    assert (len(again.records), again.best_model.best_epoch) == (1, 2)
    assert set(model.predict(X).tolist()) <= {"yes", "no"}


def test_a_search_on_data_that_was_made_of_arrays_before(tmp_path: Path) -> None:
    weights = np.linspace(0.5, 1.5, len(X))
    _model(tmp_path).fit(x=X, y=Y, validation_data=(X[:20], Y[:20]), sample_weight=weights, epochs=1)
    later = _model(tmp_path)  # as in a new process, which has no arrays
    later.fit_on_prepared_data(epochs=1)
    assert later.result.best_model.history
    assert set(later.predict(X).tolist()) <= {"yes", "no"}


def test_each_input_gets_the_columns_that_its_array_became(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def two() -> HyperHyperModel:
        nodes = [ak.Input(name="left"), ak.StructuredDataInput(column_names=["a", "b"], name="right")]
        merged = ak.Merge(merge_type="concatenate")([ak.DenseBlock(num_layers=1)(node) for node in nodes])
        model = HyperHyperModel(nodes, ak.RegressionHead()(merged), max_trials=1, seed=1)
        model.resource_bind(LocalBackend(num_workers=1), tmp_path / "store", verbose=0)
        model.tuner_bind("random", objective="val_loss")
        return model

    two().sys_setup(x=[X, X[:, :2]], y=np.arange(60))
    # Numbers to regress on that only validation rows have are no classes that candidates cannot learn.
    assert "validation rows only" not in caplog.text
    later = two()
    later.fit_on_prepared_data(epochs=1)
    assert later.predict([X, X[:, :2]]).shape[0] == 60


class _Trained:
    """A model of one input, in place of a result, that tells what it is given."""

    def __init__(self, columns: str) -> None:
        group = tuple(ColumnSpec(name, (), "float32", "scalar") for name in columns)
        self.best_model = self
        self.source = ModelSource("states", (group,), (), (), 1)

    def predict(self, x: Any, batch_size: int) -> Any:
        return x


@pytest.mark.parametrize(
    ("trained", "given", "expected"),
    [
        ("pq", "ab", "pq"),
        ("pq", "qp", "qp"),
        ("pq", "pqr", "pqr"),
        # Columns of a Spark DataFrame.
        ("ab", "ab", "ab"),
    ],
)
def test_frames_to_predict_on_may_have_the_names_that_those_of_training_had(
    trained: str, given: str, expected: str
) -> None:
    model = HyperHyperModel(ak.StructuredDataInput(column_names=["p", "q"], name="x"), ak.RegressionHead())
    model._keep(_Trained(trained))  # type: ignore[arg-type]
    frame = pd.DataFrame(np.zeros((2, len(given))), columns=[*given])
    assert [*model.predict(frame).columns] == [*expected]
    assert [*model.predict({"x": frame})[0].columns] == [*expected]
    assert model.predict(X) is X


def test_frames_to_predict_on_have_as_many_columns() -> None:
    model = HyperHyperModel(ak.StructuredDataInput(column_names=["p", "q"]), ak.RegressionHead())
    model._keep(_Trained("pq"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"`column_names` must name each of the 1 columns.*\['p', 'q'\]"):
        model.predict(pd.DataFrame({"a": [1]}))


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Received: none of them"),
        ({"x": X}, "Received: x"),
        ({"y": Y}, "Received: y"),
        ({"df": X, "x": X, "y": Y}, "Received: df, x, y"),
        ({"df": object(), "validation_data": (X, Y)}, "`validation_data` and `sample_weight` are for arrays"),
        ({"df": X}, "must be a Spark DataFrame.*Pass arrays by name"),
    ],
)
def test_either_a_frame_or_both_arrays(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _model(tmp_path).fit(**arguments)


def test_one_architecture_is_trained_with_the_weights_that_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    model = _model(tmp_path)
    model.sys_setup(x=X, y=Y)
    monkeypatch.setattr(HyperHyperModel, "fit", lambda self, *args, **kwargs: seen.update(kwargs))
    weights = np.ones(len(X))
    model.fixed_arch_search(x=X, y=Y, optimizer=["adam"], sample_weight=weights, class_weight={"yes": 2.0}, verbose=0)
    assert seen["sample_weight"] is weights
    assert seen["class_weight"] == {"yes": 2.0}
