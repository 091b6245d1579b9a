"""The best configuration trained anew, on all rows and to its last epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import autokeras as ak
import keras_tuner
import numpy as np
import pytest

from cerebro_nas import HyperHyperModel
from cerebro_nas.backend import Backend
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.data import PreparedData
from cerebro_nas.errors import BuildError
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import SearchAborted
from cerebro_nas.hypermodel._refit import check
from cerebro_nas.hypermodel._refit import merged
from cerebro_nas.hypermodel._refit import refit
from cerebro_nas.search_space import SearchSpace
from cerebro_nas.testing import SimulatedCrash
from cerebro_nas.testing import crash_after
from cerebro_nas.tracking import TrialRecord
from cerebro_nas.worker import ShardSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    # TensorFlow's variables know NumPy 1 only, which saving them runs into.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

Choice = keras_tuner.engine.hyperparameters.Choice
Make = Callable[..., HyperHyperModel]
ROWS, BATCH = 80, 8


@pytest.fixture(scope="module")
def df(spark: SparkSession) -> DataFrame:
    draw = np.random.default_rng(0)
    rows = [(row.tolist(), int(row[0] > row[1])) for row in draw.normal(size=(ROWS, 4))]
    return spark.createDataFrame(rows, "x array<double>, y int").coalesce(1).cache()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def of(backend: Backend | None = None, **arguments: Any) -> HyperHyperModel:
        inputs = ak.Input()
        block = ak.DenseBlock(num_units=Choice("units", [4, 8, 16]), use_batchnorm=False, dropout=0.0)
        outputs = ak.ClassificationHead(dropout=0.0)(block(inputs))
        model = HyperHyperModel(inputs, outputs, **{"max_trials": 3, "seed": 3, "project_name": "dense", **arguments})
        model.resource_bind(backend or SimulatedBackend(2), tmp_path, label_columns="y", feature_columns="x", verbose=0)
        model.tuner_bind("random")
        return model

    return of


def _prepared(model: HyperHyperModel) -> PreparedData:
    if model._prepared is None:
        raise AssertionError("nothing was prepared")
    return model._prepared


def test_validation_shards_come_after_those_to_train_on() -> None:
    shards = [ShardSpec("valid", 0, "v0", 5, 1), ShardSpec("train", 1, "t1", 7, 1), ShardSpec("train", 0, "t0", 6, 1)]
    given = PreparedData("url", "print", (), (), tuple(shards), {}, {"seed": 1})
    found = merged(given)
    assert [(s.split, s.index, s.path) for s in found.shards] == [
        ("train", 0, "t0"),
        ("train", 1, "t1"),
        ("train", 2, "v0"),
    ]
    assert (found.train_rows, found.valid_rows) == (18, 0)
    # A search on it is another one than a search on the same files as they were.
    assert found.settings != given.settings


@pytest.mark.spark
def test_it_trains_on_every_row_to_the_last_epoch(make: Make, df: DataFrame) -> None:
    model = make(LocalBackend(2, threads_per_worker=1))
    best = model.fit(df, BATCH, epochs=2).best_model
    shards = _prepared(model).shards
    result = refit(model, epochs=4, batch_size=BATCH)
    steps = 4 * sum(math.ceil(shard.rows / BATCH) for shard in shards)
    keras_model = result.keras()
    assert int(keras_model.optimizer.iterations.numpy()) == steps
    # Without those that this architecture does not use.
    assert result.best_model.hyperparameters.items() <= best.hyperparameters.items()
    assert result.best_model.hyperparameters["learning_rate"] == best.hyperparameters["learning_rate"]
    assert result.best_model.best_epoch == 3
    assert sorted(result.get_history()) == ["accuracy", "epochs", "loss"]
    assert result.get_history()["epochs"] == [1.0, 2.0, 3.0, 4.0]
    # What the model says from now on is what the new one says.
    rows = np.asarray([row.x for row in df.select("x").collect()], np.float32)
    assert model.result is result
    raw = keras_model.predict(rows, verbose=0)
    np.testing.assert_array_equal(model.predict(rows), (raw[:, 0] > 0.5).astype(int))


@pytest.mark.spark
def test_without_a_number_it_trains_as_long_as_the_best_model_was_trained(make: Make, df: DataFrame) -> None:
    model = make()
    result = model.fit(df, BATCH, epochs=5)
    epochs = result.best_model.best_epoch + 1
    found = refit(model, batch_size=BATCH)
    assert len(found.get_history()["loss"]) == epochs


@pytest.mark.spark
def test_validation_rows_may_stay_what_they_are(make: Make, df: DataFrame) -> None:
    model = make()
    model.fit(df, BATCH, epochs=2)
    found = refit(model, epochs=3, batch_size=BATCH, all_rows=False)
    assert sorted(found.get_history()) == ["accuracy", "epochs", "loss", "val_accuracy", "val_loss"]
    assert {entry.unit.phase for entry in found.schedule_log} == {"train", "evaluate"}


@pytest.mark.spark
@pytest.mark.parametrize("records", [1, 4, 9])
def test_a_refit_that_broke_off_is_gone_on_with(make: Make, df: DataFrame, records: int) -> None:
    whole = make(project_name="whole")
    whole.tuner_bind("random", visit_order="fixed")
    whole.fit(df, BATCH, epochs=2)
    expected = refit(whole, epochs=3, batch_size=BATCH)

    model = make(project_name="broken")
    model.tuner_bind("random", visit_order="fixed")
    model.fit(df, BATCH, epochs=2)
    with pytest.raises(SimulatedCrash), crash_after(records):
        refit(model, epochs=3, batch_size=BATCH)
    again = make(project_name="broken")
    again.tuner_bind("random", visit_order="fixed")
    again.fit(df, BATCH, epochs=2)
    found = refit(again, epochs=3, batch_size=BATCH)
    assert found.get_history() == expected.get_history()
    assert len(found.records) == 1


@pytest.mark.spark
def test_what_is_done_is_not_done_again_but_for_another_best_trial(make: Make, df: DataFrame) -> None:
    model = make()
    model.fit(df, BATCH, epochs=2)
    found = refit(model, epochs=2, batch_size=BATCH)
    again = make(max_trials=3)
    again.fit(df, BATCH, epochs=2)
    same = refit(again, epochs=2, batch_size=BATCH)
    assert [entry.started for entry in same.schedule_log] == [entry.started for entry in found.schedule_log]
    assert len(refit(again, epochs=3, batch_size=BATCH).get_history()["loss"]) == 3
    again.fit(df, BATCH, epochs=2)
    other = refit(again, epochs=2, batch_size=4)
    assert len(other.get_history()["loss"]) == 2
    assert Path(other.directory).name == "dense_refit"


@pytest.mark.spark
def test_limits_of_the_search_do_not_end_it(make: Make, df: DataFrame) -> None:
    model = make()
    model.tuner_bind("random", max_epochs_total=2, stoppers="median")
    model.fit(df, BATCH, epochs=2)
    assert len(refit(model, epochs=6, batch_size=BATCH).get_history()["loss"]) == 6


def test_there_must_have_been_a_search(make: Make) -> None:
    with pytest.raises(ConfigError, match="Call `fit` first"):
        refit(make())


@pytest.mark.spark
def test_a_refit_that_cannot_be_built_leaves_the_search_as_it_was(
    make: Make, df: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise BuildError("no such luck")

    model = make()
    before = model.fit(df, BATCH, epochs=1)
    monkeypatch.setattr(SearchSpace, "build", refuse)
    with pytest.raises(SearchAborted, match=r"trained anew. Received: REJECTED \(invalid_graph\)"):
        refit(model, epochs=1, batch_size=BATCH)
    assert model.result is before


def test_a_refit_that_failed_says_why() -> None:
    with pytest.raises(SearchAborted, match=r"trained anew. Received: FAILED \(nan_loss\)"):
        check([TrialRecord("0", "FAILED", "nan_loss")])
    check([TrialRecord("0", "COMPLETED")])
