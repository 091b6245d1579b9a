"""Tuners on real workers: each runs to its end, and what trains in stages or inherits trains as it says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import autokeras as ak
import keras_tuner
import numpy as np
import pytest

from cerebro_nas import HyperHyperModel
from cerebro_nas import ModelSelectionResult
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.backend import SparkBackend
from cerebro_nas.tuners import tuner_names

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

    from cerebro_nas.backend import Backend

pytestmark = [
    pytest.mark.spark,
    # Several searches each, on machines that may have other work.
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    # TensorFlow's variables know NumPy 1 only, which saving them runs into.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

Choice = keras_tuner.engine.hyperparameters.Choice
Search = Callable[..., ModelSelectionResult]

SHARDS = 4
"""Of 32 rows each, and one of 32 to validate on."""
UNITS = ("dense_block_1/units_0", "dense_block_1/units_1")


def _bound(store: Path, backend: Backend, directory: Path | None = None) -> HyperHyperModel:
    inputs = ak.Input()
    units = Choice("units", [4, 8, 16, 24])
    block = ak.DenseBlock(num_layers=2, num_units=units, use_batchnorm=False, dropout=0.0)
    outputs = ak.ClassificationHead(dropout=0.0)(block(inputs))
    model = HyperHyperModel(inputs, outputs, seed=3, project_name="tiny", directory=directory)
    model.resource_bind(
        backend,
        store,
        evaluation_metric="accuracy",
        label_columns="y",
        feature_columns="x",
        verbose=0,
        num_shards=SHARDS,
    )
    return model


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    rows = [(row.tolist(), int(row[0] > row[1])) for row in draw.normal(size=(160, 4))]
    store = tmp_path_factory.mktemp("store")
    df = spark.createDataFrame(rows, "x array<double>, y int").coalesce(1)
    _bound(store, SimulatedBackend(2)).sys_setup(df)
    return store


@pytest.fixture
def search(prepared: Path, tmp_path: Path) -> Search:
    """Search on real workers, in a directory of its own, with an order of visits that follows from the seed."""
    shutil.copytree(prepared / "data", tmp_path / "data")

    def run(
        tuner: Any, *, epochs: int, backend: Backend | None = None, batch_size: int = 32, **options: Any
    ) -> ModelSelectionResult:
        directory = tmp_path / f"search{len(list(tmp_path.iterdir()))}"
        model = _bound(tmp_path, backend or LocalBackend(2, threads_per_worker=1), directory)
        model.tuner_bind(tuner, **{"visit_order": "fixed", **options})
        return model.fit_on_prepared_data(epochs=epochs, batch_size=batch_size)

    return run


def _still() -> keras_tuner.HyperParameters:
    """Steps so small that weights stay what they began as, whatever the rate."""
    entries = keras_tuner.HyperParameters()
    entries.Fixed("optimizer", "sgd")
    entries.Float("learning_rate", 1e-8, 1e-7, sampling="log")
    return entries


def _configurations(count: int) -> list[dict[str, Any]]:
    """Of small networks with good and bad learning rates."""
    return [
        {UNITS[0]: 8, UNITS[1]: 4, "optimizer": ("adam", "sgd")[number % 2], "learning_rate": rate}
        for number, rate in enumerate([0.1, 0.001, 0.00001, 0.1, 0.01, 0.0001, 0.00002, 0.01][:count])
    ]


def _epochs(result: ModelSelectionResult) -> dict[str, list[dict[str, float]]]:
    """Metrics of each epoch, by trial."""
    return {
        trial: [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]
        for trial, history in result.get_all_model_history().items()
    }


def _trained(result: ModelSelectionResult, trial: str) -> list[int]:
    """Training shards in the order in which a trial visited them."""
    units = [entry.unit for entry in result.schedule_log if entry.outcome == "done" and entry.unit.trial == trial]
    return [unit.shard.index for unit in units if unit.phase == "train" and unit.shard is not None]


def _inherited(result: ModelSelectionResult) -> dict[str, float]:
    """The share of its weights that a trial took over, as the worker that began it says."""
    name = "inherited_share"
    return {entry.unit.trial: entry.detail[name] for entry in result.schedule_log if name in entry.detail}


def _parents(board: pd.DataFrame) -> dict[str, str]:
    """Trials that began with the weights of another one, and of which."""
    return dict(board.dropna(subset="parent")[["trial", "parent"]].itertuples(index=False, name=None))


def _kernels(result: ModelSelectionResult) -> dict[str, list[Any]]:
    """Of each trial, the weights of its layers, biases apart."""
    return {
        model.trial: [np.asarray(layer.kernel) for layer in model.keras().layers if hasattr(layer, "kernel")]
        for model in result.get_all_models()
    }


# --- stages -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_promoted_trial_is_what_it_would_be_without_pauses(search: Search) -> None:
    """To the bit, whichever workers it was on before and after."""
    options = {"initial_hps": _configurations(8), "max_trials": 8, "epochs": 4, "batch_size": 8}
    whole = _epochs(search("random", **options))
    assert {len(epochs) for epochs in whole.values()} == {4}
    for tuner in ("asha", "hyperband"):
        result = search(tuner, factor=2, **options)
        board = result.leaderboard()
        for trial, epochs in _epochs(result).items():
            assert epochs == whole[trial][: len(epochs)]
            # Nothing was trained twice.
            assert len(_trained(result, trial)) == SHARDS * len(epochs)
        lengths = board["cost.epochs"].tolist()
        assert set(lengths) <= {1, 2, 4}
        assert (min(lengths), max(lengths)) == (1, 4)
        assert [status == "COMPLETED" for status in board["status"]] == [length == 4 for length in lengths]


@pytest.mark.slow
def test_a_stage_may_be_a_part_of_an_epoch(search: Search) -> None:
    """A shard is one batch here, so that the order of its rows is all that could differ, and does not matter."""
    options = {"initial_hps": _configurations(6), "max_trials": 6, "epochs": 2}
    plain = search("random", **options)
    result = search("asha", resource="shards", factor=2, **options)
    staged, whole = _epochs(result), _epochs(plain)
    visits = {trial: _trained(result, trial) for trial in staged}
    assert {len(visited) for visited in visits.values()} <= {1, 2, 4, 8}
    complete = [trial for trial, visited in visits.items() if len(visited) == 2 * SHARDS]
    assert complete
    assert min(map(len, visits.values())) <= 2
    for trial, visited in visits.items():
        assert visited == _trained(plain, trial)[: len(visited)]
    for trial in complete:
        # After one visit, two, four and eight.
        assert len(staged[trial]) == 4
        for mine, other in ((2, 0), (3, 1)):
            for name in ("val_loss", "val_accuracy"):
                assert staged[trial][mine][name] == pytest.approx(whole[trial][other][name], rel=1e-4)


@pytest.mark.slow
def test_stages_on_spark(search: Search, spark: SparkSession) -> None:
    backend = SparkBackend(spark=spark, num_workers=2)
    result = search("asha", resource="shards", factor=2, max_trials=4, epochs=1, backend=backend)
    board = result.leaderboard()
    assert set(board["status"]) == {"COMPLETED", "STOPPED"}
    assert {len(_trained(result, trial)) for trial in board["trial"]} <= {1, 2, 4}
    assert len(result.best_model.predict(np.ones((3, 4)))) == 3


# --- weights of others ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_member_of_a_population_begins_with_the_weights_of_a_better_one(search: Search) -> None:
    result = search(
        "pbt",
        epochs=4,
        max_trials=7,
        population_size=4,
        truncation=0.25,
        objective="val_loss",
        # One at a time, so that who is judged beside whom does not depend on how busy the machine is: all pause after
        # the first epoch before anybody goes on.
        parallelism=1,
        hyperparameters=_still(),
        initial_hps=[{UNITS[0]: 8, UNITS[1]: 8, "learning_rate": rate} for rate in (2e-8, 3e-8, 4e-8, 5e-8)],
    )
    board = result.leaderboard()
    parents, rates = _parents(board), dict(zip(board["trial"], board["hp.learning_rate"], strict=True))
    assert parents
    assert _inherited(result) == dict.fromkeys(parents, 1.0)
    epochs = _epochs(result)
    first = [epochs[trial][0]["val_loss"] for trial in ("0", "1", "2", "3")]
    assert min(np.diff(sorted(first))) > 1e-4, "the members must differ for the next lines to say something"
    for child, parent in parents.items():
        assert epochs[child][0]["val_loss"] == pytest.approx(epochs[parent][0]["val_loss"], abs=1e-5)
        assert rates[child] != rates[parent]
    # Whoever was replaced was among the worst, and nobody was trained for longer along its line of ancestors.
    given_up = board["trial"][board["status"] == "STOPPED"]
    assert all(epochs[trial][0]["val_loss"] > min(first) for trial in given_up)
    assert all(len(epochs[child]) < 4 for child in parents)


@pytest.mark.slow
def test_mutants_take_over_the_layers_that_match(search: Search) -> None:
    result = search(
        "evolution",
        epochs=1,
        max_trials=10,
        population_size=3,
        sample_size=2,
        inherit_weights=True,
        # One at a time, so that its children follow from the seed.
        parallelism=1,
        hyperparameters=_still(),
    )
    board = result.leaderboard()
    parents, shares, kernels = _parents(board), _inherited(result), _kernels(result)
    assert set(shares) == set(parents)
    assert len(parents) >= 5
    equal = 0
    for child, parent in parents.items():
        same = [mine.shape == other.shape for mine, other in zip(kernels[child], kernels[parent], strict=True)]
        for fits, mine, other in zip(same, kernels[child], kernels[parent], strict=True):
            assert not fits or np.allclose(mine, other, atol=1e-5)
        assert (shares[child] > 0) >= any(same)
        assert (shares[child] == 1.0) >= all(same)
        equal += all(same)
    assert 0 < equal < len(parents), "there must be children of both kinds for this to say something"


@pytest.mark.slow
def test_without_inheritance_nobody_has_a_parent(search: Search) -> None:
    backend = LocalBackend(1, threads_per_worker=1)
    result = search("evolution", epochs=1, max_trials=3, population_size=1, sample_size=1, backend=backend)
    assert "parent" not in result.leaderboard()
    assert _inherited(result) == {}


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tuner", tuner_names())
def test_every_tuner_runs_to_the_end(search: Search, tuner: str, no_leaks: None) -> None:
    _check_that_it_ends(search(tuner, epochs=3, max_trials=3, visit_order="adaptive"))


@pytest.mark.parametrize("tuner", ["random", "asha"])
def test_two_tuners_run_to_the_end(search: Search, tuner: str) -> None:
    backend = LocalBackend(1, threads_per_worker=1)
    _check_that_it_ends(search(tuner, epochs=3, max_trials=3, backend=backend))


def _check_that_it_ends(result: ModelSelectionResult) -> None:
    board: pd.DataFrame = result.leaderboard()
    assert len(board) == 3
    assert set(board["status"]) <= {"COMPLETED", "STOPPED"}
    assert (board["status"] == "COMPLETED").any()
    assert board["score"].between(0, 1).all()
    assert board["cost.epochs"].between(1, 3).all()
    assert result.stopped_because == "all 3 trials are done"
    assert len(result.best_model.predict(np.ones((3, 4)))) == 3
