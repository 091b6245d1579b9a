"""The result of a search, made from records alone: ranking, laziness, histories."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.errors import StoreError
from cerebro_nas.hopper import Utilisation
from cerebro_nas.results import ModelSelectionResult
from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.tracking import Direction
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.worker import ColumnSpec

X = ColumnSpec("x", (2,), "float32", "list")


def _record(trial: str, values: list[float], status: str = "COMPLETED") -> TrialRecord:
    history = tuple({"val_accuracy": value, "loss": 1.0} for value in values)
    metrics = dict(history[-1]) if history else {}
    return TrialRecord(trial, status, hyperparameters={"units": len(trial)}, history=history, metrics=metrics)


RECORDS = (
    _record("a", [0.5, 0.7, 0.6]),
    _record("failed", [0.99], "FAILED"),
    _record("b", [0.9, 0.1], "STOPPED"),
    _record("rejected", [], "REJECTED"),
    _record("c", [0.2]),
    _record("d", [0.7]),
)


def _result(records: tuple[TrialRecord, ...] = RECORDS, direction: Direction = "max") -> ModelSelectionResult:
    outputs = (OutputSpec("y", "onehot", (0, 1), 2),)
    return ModelSelectionResult(
        records=records,
        objective="val_accuracy",
        direction=direction,
        # Nothing is there, so whatever is loaded raises.
        source=ModelSource("/nowhere/states", ((X,),), outputs, ("y__output",), train_shards=3),
        schedule=Utilisation(makespan=1.0, workers=(), utilisation=0.0, lower_bound=1.0),
        schedule_log=(),
        stopped_because="all 6 trials are done",
        directory="/nowhere",
    )


@pytest.mark.parametrize(("direction", "order"), [("max", ["b", "a", "d", "c"]), ("min", ["b", "c", "a", "d"])])
def test_models_come_best_first_and_failed_ones_not_at_all(direction: Direction, order: list[str]) -> None:
    result = _result(direction=direction)
    assert [model.trial for model in result.get_all_models()] == order
    assert [model.trial for model in result.get_best_models(2)] == order[:2]
    assert [model.trial for model in result.get_best_models(99)] == order
    assert result.get_best_model().trial == result.best_model.trial == order[0]


def test_models_agree_with_the_leaderboard() -> None:
    result = _result()
    table = result.leaderboard()
    done = [row.trial for row in table.itertuples() if row.status in ("COMPLETED", "STOPPED")]
    assert done == [model.trial for model in result.get_all_models()]
    assert table["trial"].tolist()[-2:] == ["failed", "rejected"]


def test_a_model_has_the_weights_of_its_best_epoch() -> None:
    best = {model.trial: (model.best_epoch, model.generation) for model in _result().get_all_models()}
    assert best == {"a": (1, 6), "b": (0, 3), "c": (0, 3), "d": (0, 3)}


def test_models_are_loaded_only_when_they_are_used() -> None:
    model = _result().get_best_model()
    assert model.hyperparameters == {"units": 1}
    for use in (model.keras, lambda: model.predict(np.zeros((1, 2)))):
        with pytest.raises(StoreError):
            use()


def test_all_models_come_one_at_a_time() -> None:
    models = _result().get_all_models()
    assert iter(models) is models
    assert next(models).trial == "b"


def test_histories() -> None:
    result = _result()
    assert result.get_history() == result.get_best_model_history() == {"val_accuracy": [0.9, 0.1], "loss": [1.0, 1.0]}
    assert result.best_model.get_history() == result.get_history()
    every = result.get_all_model_history()
    assert every == result.metrics
    assert list(every) == [record.trial for record in RECORDS]
    assert every["a"]["val_accuracy"] == [0.5, 0.7, 0.6]
    assert every["rejected"] == {}


def test_a_metric_that_an_epoch_lacks_is_none() -> None:
    record = TrialRecord("a", "COMPLETED", history=({"val_accuracy": 0.5}, {"val_accuracy": 0.4, "auc": 1.0}))
    assert _result((record,)).get_history() == {"val_accuracy": [0.5, 0.4], "auc": [None, 1.0]}


def test_a_search_without_any_success() -> None:
    result = _result((_record("a", [math.nan]), _record("b", [0.5], "FAILED")))
    with pytest.raises(SearchAborted, match="No trial of this search gave a finite 'val_accuracy'.*leaderboard"):
        _ = result.best_model
    assert list(result.leaderboard()["trial"]) == ["a", "b"]
    assert repr(result) == "ModelSelectionResult(2 trials, no trial succeeded)"
    with pytest.raises(SearchAborted):
        next(result.get_all_models())


def test_words() -> None:
    result = _result()
    assert repr(result) == "ModelSelectionResult(6 trials, best val_accuracy=0.9000)"
    assert repr(result.best_model) == "TrialModel(trial='b', best_epoch=0)"
    assert result.records == RECORDS


def test_output_columns_are_renamed_for_models_made_later() -> None:
    result = _result()
    before = result.best_model
    assert result.set_output_columns(["p"]) is result
    assert result.best_model is not before
    with pytest.raises(ConfigError, match=r"`output_columns` must be a list of 1 name"):
        result.set_output_columns("p")


@pytest.mark.parametrize(("x", "y"), [(np.zeros((1, 2)), None), ([np.zeros((1, 2))], None)])
def test_arrays_need_labels_beside_them(x: Any, y: Any) -> None:
    with pytest.raises(ConfigError, match="`y` must be given with arrays"):
        _result().best_model.evaluate(x, y)
