"""What an interrupted search leaves to who interrupted it: in a notebook, the process lives on."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import autokeras as ak
import numpy as np
import pytest

from cerebro_nas import HyperHyperModel
from cerebro_nas.backend import Backend
from cerebro_nas.backend import BackendEvent
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import UnitDone

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.case(10),
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    # TensorFlow's variables know NumPy 1 only, which saving them runs into.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

Make = Callable[..., HyperHyperModel]


class _Interrupts:
    """Has the user press Ctrl-C `times` times when so many units are done."""

    def __init__(self, after: int, times: int = 1) -> None:
        self._after, self._times = after, times

    def look(self, events: Sequence[BackendEvent]) -> None:
        self._after -= sum(isinstance(event, UnitDone) for event in events)
        while self._after <= 0 and self._times:
            self._times -= 1
            signal.raise_signal(signal.SIGINT)


class InterruptedSimulation(SimulatedBackend):
    def __init__(self, interrupts: _Interrupts) -> None:
        super().__init__(2)
        self._interrupts = interrupts

    def events(self, timeout: float) -> list[BackendEvent]:
        found = list(super().events(timeout))
        self._interrupts.look(found)
        return found


class Interrupted(LocalBackend):
    def __init__(self, interrupts: _Interrupts) -> None:
        super().__init__(1)
        self._interrupts = interrupts

    def events(self, timeout: float) -> list[BackendEvent]:
        found = list(super().events(timeout))
        self._interrupts.look(found)
        return found


def _bound(store: Path, backend: Backend) -> HyperHyperModel:
    inputs = ak.Input()
    outputs = ak.ClassificationHead(dropout=0.0)(ak.DenseBlock(num_layers=1, dropout=0.0)(inputs))
    model = HyperHyperModel(inputs, outputs, seed=3, project_name="tiny", max_trials=8)
    model.resource_bind(backend, store, evaluation_metric="accuracy", label_columns="y", feature_columns="x", verbose=0)
    model.tuner_bind("random")
    return model


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    rows = [(row.tolist(), int(row[0] > row[1])) for row in draw.normal(size=(160, 4))]
    store = tmp_path_factory.mktemp("store")
    _bound(store, SimulatedBackend(2)).sys_setup(spark.createDataFrame(rows, "x array<double>, y int").coalesce(1))
    return store


@pytest.fixture
def make(prepared: Path, tmp_path: Path) -> Make:
    """A hypermodel whose search has a store of its own, with the data in it."""
    shutil.copytree(prepared / "data", tmp_path / "data")
    return lambda backend: _bound(tmp_path, backend)


@pytest.mark.parametrize("times", [1, 2], ids=["in order", "at once"])
def test_its_result_can_be_looked_at_and_it_can_be_gone_on_with(make: Make, times: int) -> None:
    model = make(InterruptedSimulation(_Interrupts(30, times)))
    with pytest.raises(KeyboardInterrupt):
        model.fit_on_prepared_data(epochs=4)
    board = model.result.leaderboard().set_index("trial")
    assert 0 < len(board) < 8
    assert {*board["status"]} <= {"COMPLETED", "STOPPED", "WAITING"}
    assert "run it again (with overwrite=False) to go on" in model.result.stopped_because
    best = model.result.best_model
    assert max(best.history["val_accuracy"]) == board["score"].max()
    # The one that goes on takes its place.
    assert [*model.fit_on_prepared_data(epochs=4).leaderboard()["status"]] == ["COMPLETED"] * 8
    assert len(model.result.records) == 8


def test_trials_that_were_under_way_are_told_from_those_that_ended(make: Make) -> None:
    model = make(InterruptedSimulation(_Interrupts(14)))
    with pytest.raises(KeyboardInterrupt):
        model.fit_on_prepared_data(epochs=4)
    board = model.result.leaderboard()
    assert {*zip(board["status"], board["reason"], strict=True)} == {("STOPPED", "interrupted"), ("WAITING", "")}
    assert model.result.best_model.trial == board["trial"][0]


def test_before_the_first_epoch_there_is_nothing(make: Make) -> None:
    model = make(InterruptedSimulation(_Interrupts(1)))
    with pytest.raises(KeyboardInterrupt):
        model.fit_on_prepared_data(epochs=4)
    with pytest.raises(ConfigError, match="There is no model yet"):
        _ = model.result


@pytest.mark.slow
def test_its_best_model_can_be_used(make: Make, tmp_path: Path) -> None:
    model = make(Interrupted(_Interrupts(12)))
    with pytest.raises(KeyboardInterrupt):
        model.fit_on_prepared_data(epochs=8)
    assert "COMPLETED" not in {*model.result.leaderboard()["status"]}
    exported = model.export_model(tmp_path / "best.keras")
    x: Any = np.random.default_rng(1).normal(size=(40, 4)).astype("float32")
    y = (x[:, 0] > x[:, 1]).astype(int)
    assert model.evaluate(x, y, return_dict=True)["accuracy"] == pytest.approx(
        exported.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
    )
