"""The result of a search, made from records alone: ranking, laziness, histories."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.errors import StoreError
from cerebro_nas.hopper import ScheduleEntry
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import Utilisation
from cerebro_nas.results import ModelSelectionResult
from cerebro_nas.results import ModelSource
from cerebro_nas.results import OutputSpec
from cerebro_nas.storage import StateFiles
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


def _result(
    records: tuple[TrialRecord, ...] = RECORDS, direction: Direction = "max", states: str = "/nowhere/states"
) -> ModelSelectionResult:
    outputs = (OutputSpec("y", "onehot", (0, 1), 2),)
    return ModelSelectionResult(
        records=records,
        objective="val_accuracy",
        direction=direction,
        # Nothing is there unless a test puts it there, so whatever is loaded raises.
        source=ModelSource(states, ((X,),), outputs, ("y__output",), train_shards=3),
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


@pytest.fixture
def states(tmp_path: Path) -> StateFiles:
    return StateFiles(str(tmp_path))


def _store(states: StateFiles, trial: str, epoch: int) -> str:
    generation = 3 * (epoch + 1)
    name = states.write(trial, generation, b"weights")
    states.mark_best(trial, name, generation, epoch)
    return name


def test_a_model_has_the_weights_of_its_best_epoch(states: StateFiles, tmp_path: Path) -> None:
    for trial, epoch in (("a", 1), ("b", 0), ("c", 0), ("d", 0)):
        _store(states, trial, epoch)
    models = _result(states=str(tmp_path)).get_all_models()
    best = {model.trial: (model.best_epoch, model.generation) for model in models}
    assert best == {"a": (1, 6), "b": (0, 3), "c": (0, 3), "d": (0, 3)}


@pytest.mark.case(2, 12)
def test_an_epoch_whose_state_was_lost_gives_way_to_the_best_that_was_stored(
    states: StateFiles, tmp_path: Path
) -> None:
    """A worker died after it reported its best epoch and before the state of it was stored."""
    _store(states, "a", 2)
    model = next(m for m in _result(states=str(tmp_path)).get_all_models() if m.trial == "a")
    with pytest.warns(
        UserWarning, match="Trial 'a' was best after epoch 1, whose .* Those of epoch 2 are used"
    ) as told:
        assert model.best_epoch == 2
    assert told[0].filename == __file__
    # Once is enough; a second warning would be an error here.
    assert model.generation == 9


def test_a_search_that_goes_on_may_mark_a_better_one(states: StateFiles, tmp_path: Path) -> None:
    model = _result(states=str(tmp_path)).best_model
    first = _store(states, "b", 0)
    assert model.best_epoch == 0
    second = states.write("b", 3, b"the same epoch, done again after a fault")
    states.mark_best("b", second, 3, 0)
    states.remove("b", [first])
    with pytest.raises(StoreError, match="No such file"):
        states.read("b", first)
    assert states.read_best("b").startswith(b"the same epoch")
    assert model.generation == 3


@pytest.mark.parametrize("use", ["best_epoch", "generation", "keras", "predict", "transform"])
def test_a_trial_without_any_state_says_what_to_do(use: str) -> None:
    model = _result().best_model
    arguments: tuple[Any, ...] = {"predict": (np.zeros((1, 2)),), "transform": (None,)}.get(use, ())
    with pytest.raises(StoreError, match="Trial 'b' has no weights in /nowhere/states: .*Take another trial"):
        getattr(model, use)(*arguments)
    assert repr(model) == "TrialModel(trial='b', best_epoch=0)"


@pytest.mark.case(12)
def test_a_damaged_mark_is_an_error_and_not_another_model(states: StateFiles, tmp_path: Path) -> None:
    _store(states, "b", 0)
    (tmp_path / "b" / "best.json").write_text("{}")
    with pytest.raises(CorruptStateError, match=r"best\.json is damaged"):
        _ = _result(states=str(tmp_path)).best_model.best_epoch


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


def test_why_there_was_no_success_is_told_by_the_last_failure() -> None:
    def entry(trial: str, outcome: Any, **detail: str) -> ScheduleEntry:
        return ScheduleEntry("w0", Unit(trial, "train", 0, Shard("train", 0)), 0.0, 1.0, 1.0, outcome, dict(detail))

    result = _result((_record("a", [], "FAILED"), _record("b", [], "FAILED")))
    result.schedule_log = (
        entry("a", "failed", reason="error", message="Traceback\nValueError: the first"),
        entry("b", "failed", reason="error", message="Traceback " + "x" * 900 + "\nValueError: no such loss"),
        entry("a", "lost"),
    )
    with pytest.raises(
        SearchAborted, match="The last failure, of trial 'b': x+ ValueError: no such loss. Look"
    ) as told:
        _ = result.best_model
    assert len(str(told.value)) < 700


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
