"""One architecture, and every combination of what it is trained with."""

from __future__ import annotations

import itertools
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
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import ResumeMismatchError
from cerebro_nas.stoppers import MedianStopper
from cerebro_nas.testing import SimulatedCrash
from cerebro_nas.testing import crash_after

if TYPE_CHECKING:
    import pandas as pd
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

LAYERS, UNITS = "dense_block_1/num_layers", "dense_block_1/units_{}"
PRODUCT: dict[str, Any] = {"optimizer": ["adam", "sgd"], "learning_rate": [0.1, 0.01], "batch_size": [8, 16]}


class Refusing(SimulatedBackend):
    """Fails when it is asked to do anything."""

    def launch(self) -> bool:
        raise AssertionError("the backend was launched")

    def start(self, search: Any) -> None:
        raise AssertionError("the backend was started")


class Untouchable:
    """A DataFrame that nobody may look at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the DataFrame was asked for {name}")


@pytest.fixture(scope="module")
def df(spark: SparkSession) -> DataFrame:
    draw = np.random.default_rng(0)
    rows = [(row.tolist(), int(row[0] > row[1])) for row in draw.normal(size=(80, 4))]
    return spark.createDataFrame(rows, "x array<double>, y int").coalesce(1).cache()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A hypermodel of dense layers; what each `units_<n>` is of depends on `num_layers`."""

    def of(backend: Backend | None = None, **arguments: Any) -> HyperHyperModel:
        inputs = ak.Input()
        block = ak.DenseBlock(num_units=Choice("units", [4, 8, 16]), use_batchnorm=False, dropout=0.0)
        outputs = ak.ClassificationHead(dropout=0.0)(block(inputs))
        model = HyperHyperModel(inputs, outputs, **{"max_trials": 4, "seed": 3, "project_name": "dense", **arguments})
        model.resource_bind(
            backend or SimulatedBackend(2),
            tmp_path / "store",
            evaluation_metric="accuracy",
            label_columns="y",
            feature_columns="x",
            verbose=0,
        )
        model.tuner_bind("random")
        return model

    return of


def _combinations(board: pd.DataFrame) -> list[tuple[Any, ...]]:
    columns = ["hp.optimizer", "hp.learning_rate", "hp.batch_size"]
    return sorted(board[columns].itertuples(index=False, name=None))


# --- which architecture, and which combinations -----------------------------------------------------------------------


@pytest.mark.spark
def test_the_best_architecture_of_the_search_is_kept_and_the_whole_product_tried(make: Make, df: DataFrame) -> None:
    model = make()
    best = model.fit(df, epochs=2).best_model.hyperparameters
    before = model.result
    result = model.fixed_arch_search(df, **PRODUCT, epochs=2)
    board = result.leaderboard()
    assert list(board["status"]) == ["COMPLETED"] * 8
    assert _combinations(board) == sorted(itertools.product(*PRODUCT.values()))
    shape = [LAYERS, *(UNITS.format(n) for n in range(best[LAYERS]))]
    assert [list(board[f"hp.{name}"].unique()) for name in shape] == [[best[name]] for name in shape]
    assert board["cost.parameters"].nunique() == 1
    # It is a search of its own: it has another directory, and the earlier one is as it was.
    assert model.result is result
    assert (model.project_name, model._settings.tuner) == ("dense", "random")
    assert Path(result.directory).name == "dense_fixed_arch"
    assert len(before.leaderboard()) == 4
    assert model.fit(df, epochs=2).leaderboard().equals(before.leaderboard())


@pytest.mark.spark
def test_again_it_gives_what_it_gave(make: Make, df: DataFrame) -> None:
    model = make()
    model.fit(df, epochs=1)
    board = model.fixed_arch_search(df, **PRODUCT, epochs=1).leaderboard()
    # Of the same object, whose last search is now this one, and of a new process.
    assert model.fixed_arch_search(df, **PRODUCT, epochs=1).leaderboard().equals(board)
    other = make()
    other.fit(df, epochs=1)
    assert other.fixed_arch_search(df, **PRODUCT, epochs=1).leaderboard().equals(board)
    with pytest.raises(ResumeMismatchError, match="hyperparameters: batch_size"):
        other.fixed_arch_search(df, **{**PRODUCT, "batch_size": [8, 64]}, epochs=1)


@pytest.mark.spark
@pytest.mark.parametrize("same_object", [True, False])
def test_an_interrupted_one_is_gone_on_with(make: Make, df: DataFrame, same_object: bool) -> None:
    model = make()
    best = model.fit(df, epochs=1).best_model.hyperparameters
    with crash_after(40), pytest.raises(SimulatedCrash):
        model.fixed_arch_search(df, **PRODUCT, epochs=1)
    assert model.result.best_model.hyperparameters == best
    if not same_object:
        model = make()
        model.fit(df, epochs=1)
    board = model.fixed_arch_search(df, **PRODUCT, epochs=1).leaderboard()
    assert list(board["status"]) == ["COMPLETED"] * 8
    assert _combinations(board) == sorted(itertools.product(*PRODUCT.values()))
    assert board[f"hp.{LAYERS}"].unique().tolist() == [best[LAYERS]]


@pytest.mark.spark
def test_an_architecture_that_is_given(make: Make, df: DataFrame) -> None:
    """What it leaves out takes its default; nothing but the training varies, though more layers would have units."""
    architecture = {LAYERS: 2, UNITS.format(0): 16}
    model = make()
    model.tuner_bind(parallelism=4)
    result = model.fixed_arch_search(df, optimizer=["sgd"], learning_rate=[1, 0.5], architecture=architecture, epochs=1)
    board = result.leaderboard()
    assert _combinations(board) == [("sgd", 0.5, 32), ("sgd", 1.0, 32)]
    assert board[f"hp.{LAYERS}"].tolist() == [2, 2]
    assert board[f"hp.{UNITS.format(0)}"].tolist() == [16, 16]
    assert board[f"hp.{UNITS.format(1)}"].tolist() == [4, 4]
    assert f"hp.{UNITS.format(2)}" not in board
    assert model._settings.parallelism == 4


@pytest.mark.spark
@pytest.mark.parametrize("tuner", ["greedy", "bayesian"])
@pytest.mark.parametrize("is_given", [False, True])
def test_an_ordinary_graph(tmp_path: Path, df: DataFrame, tuner: str, is_given: bool) -> None:
    """Nothing of it is fixed: AutoKeras' own choices, the head's dropout among them, come back as they were found."""
    inputs = ak.Input()
    model = HyperHyperModel(inputs, ak.ClassificationHead()(ak.DenseBlock()(inputs)), max_trials=6, seed=1)
    model.resource_bind(
        SimulatedBackend(2), tmp_path, evaluation_metric="accuracy", label_columns="y", feature_columns="x", verbose=0
    )
    model.tuner_bind(tuner)
    best = model.fit(df, epochs=1).best_model.hyperparameters
    given: dict[str, Any] = {"architecture": best} if is_given else {}
    board = model.fixed_arch_search(df, learning_rate=[0.1], optimizer=["sgd"], epochs=1, **given).leaderboard()
    # Bayesian search has values for layers that the architecture has not.
    shape = {name: value for name, value in best.items() if "/" in name and f"hp.{name}" in board}
    assert {LAYERS, UNITS.format(0), "dense_block_1/dropout", "classification_head_1/dropout"} <= {*shape}
    assert {name: board[f"hp.{name}"].tolist() for name in shape} == {name: [shape[name]] for name in shape}


@pytest.mark.spark
def test_what_a_search_found_can_be_given_to_another(make: Make, df: DataFrame) -> None:
    model = make()
    best = model.fit(df, epochs=1).best_model.hyperparameters
    own = model.fixed_arch_search(df, learning_rate=[0.1], epochs=1).leaderboard()
    other = make(project_name="other")
    given = other.fixed_arch_search(df, learning_rate=[0.1], architecture=best, epochs=1).leaderboard()
    shape = ["hp.optimizer", "hp.learning_rate", "hp.batch_size", f"hp.{LAYERS}", "cost.parameters"]
    assert given.sort_values("trial")[shape].values.tolist() == own.sort_values("trial")[shape].values.tolist()


@pytest.mark.spark
def test_without_a_search_it_takes_a_random_architecture_which_follows_from_the_seed(make: Make, df: DataFrame) -> None:
    def shapes(name: str, seed: int) -> list[Any]:
        model = make(project_name=name, seed=seed)
        board = model.fixed_arch_search(df, optimizer=["sgd"], learning_rate=[0.1, 0.2], epochs=1).leaderboard()
        found = board[[c for c in board.columns if "dense_block" in c]].drop_duplicates()
        assert (len(board), len(found)) == (2, 1)
        return [found.columns.tolist(), found.values.tolist()]

    first = shapes("first", 3)
    assert shapes("second", 3) == first
    assert any(shapes(f"other{seed}", seed) != first for seed in (4, 5))


@pytest.mark.spark
@pytest.mark.parametrize("verbose", [0, 1])
def test_a_random_architecture_is_told(
    make: Make, df: DataFrame, verbose: int, capsys: pytest.CaptureFixture[str]
) -> None:
    training: dict[str, Any] = {"optimizer": ["sgd"], "learning_rate": [0.1], "epochs": 1, "verbose": verbose}
    model = make()
    found = model.fixed_arch_search(df, **training).best_model.hyperparameters
    told = [line for line in capsys.readouterr().out.splitlines() if "A random one is, by seed=3: " in line]
    assert len(told) == verbose
    assert all(f"'{name}': {found[name]!r}" in line for name in (LAYERS, UNITS.format(0)) for line in told)
    model.fixed_arch_search(df, **training)
    make(project_name="given").fixed_arch_search(df, architecture={LAYERS: 1}, **training)
    assert "random" not in capsys.readouterr().out


@pytest.mark.spark
def test_batch_sizes_of_the_search_are_tried_where_none_are_given(make: Make, df: DataFrame) -> None:
    model = make()
    entries = keras_tuner.HyperParameters()
    entries.Choice("batch_size", [4, 40])
    model.tuner_bind(hyperparameters=entries, max_trials=2)
    model.fit(df, epochs=1)
    board = model.fixed_arch_search(df, optimizer=["sgd"], learning_rate=[0.1], epochs=1).leaderboard()
    assert sorted(board["hp.batch_size"]) == [4, 40]
    assert len(board) == 2


@pytest.mark.spark
@pytest.mark.parametrize("said", [{"target": 0.01}, {"max_epochs_total": 1}, {"time_budget": 0.001}])
def test_what_ends_a_search_does_not_end_it(make: Make, df: DataFrame, said: dict[str, Any]) -> None:
    model = make()
    model.tuner_bind(**said, stoppers=MedianStopper(min_trials=1, start_epoch=1))
    board = model.fixed_arch_search(df, **PRODUCT, epochs=2).leaderboard()
    assert list(board["status"]) == ["COMPLETED"] * 8
    assert set(board["cost.epochs"]) == {2}


# --- real training ----------------------------------------------------------------------------------------------------


@pytest.mark.spark
def test_the_combinations_are_what_workers_train_with(make: Make, df: DataFrame) -> None:
    model = make(LocalBackend(1), max_trials=1, overwrite=True)
    model.tuner_bind(visit_order="fixed")
    result = model.fixed_arch_search(
        df, optimizer=["sgd"], learning_rate=[0.0625], batch_size=[8, 64], architecture={LAYERS: 1}, epochs=2
    )
    board = result.leaderboard()
    assert list(board["status"]) == ["COMPLETED"] * 2
    trained = {found.hyperparameters["batch_size"]: found for found in result.get_all_models()}
    for size, found in trained.items():
        optimizer = found.keras().optimizer
        assert float(optimizer.learning_rate) == 0.0625
        # One shard of 64 rows in each epoch.
        assert int(optimizer.iterations) == found.generation * 64 // size
    assert trained[8].history["val_loss"] != trained[64].history["val_loss"]


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_real_one_that_was_interrupted_ends_with_the_same_figures(make: Make, df: DataFrame) -> None:
    def search(name: str) -> pd.DataFrame:
        model = make(LocalBackend(2), project_name=name)
        model.tuner_bind(visit_order="fixed", hyperparameters=entries)
        model.fit(df, epochs=1)
        return model.fixed_arch_search(
            df, optimizer=["sgd", "adam"], learning_rate=[0.1], batch_size=[8, 64], epochs=3
        ).leaderboard()

    entries = keras_tuner.HyperParameters()
    entries.Fixed(LAYERS, 2)
    whole = search("whole")
    model = make(LocalBackend(2), project_name="again")
    model.tuner_bind(visit_order="fixed", hyperparameters=entries)
    model.fit(df, epochs=1)
    with crash_after(45), pytest.raises(SimulatedCrash):
        model.fixed_arch_search(df, optimizer=["sgd", "adam"], learning_rate=[0.1], batch_size=[8, 64], epochs=3)
    again = search("again")
    columns = [name for name in whole.columns if name.startswith(("trial", "status", "score", "hp.", "metric."))]
    assert again[columns].equals(whole[columns])
    assert whole["score"].nunique() > 1


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"batch_size": []}, r"`batch_size` must be a list of whole numbers.*Received: batch_size=\[\]"),
        ({"learning_rate": []}, r"`learning_rate` must be a list of numbers above 0.*Received: learning_rate=\[\]"),
        ({"optimizer": []}, r"`optimizer` must be a list of names of optimizers.*Received: optimizer=\[\]"),
        ({"optimizer": "adam"}, "Received: optimizer='adam'. Pass such a list"),
        ({"optimizer": [3]}, r"Received: optimizer=\[3\]"),
        ({"learning_rate": 0.1}, "Received: learning_rate=0.1"),
        ({"learning_rate": [-0.1]}, r"Received: learning_rate=\[-0.1\]"),
        ({"learning_rate": [float("nan")]}, r"Received: learning_rate=\[nan\]"),
        ({"learning_rate": [[0.1]]}, r"Received: learning_rate=\[\[0.1\]\]"),
        ({"batch_size": [0.5]}, r"at least 1. Received: batch_size=\[0.5\]"),
        ({"batch_size": [True]}, r"Received: batch_size=\[True\]"),
        ({"batch_size": [0]}, r"Received: batch_size=\[0\]"),
        ({"architecture": ["dense"]}, r"`architecture` must be a dict .*Received: architecture=\['dense'\]"),
        ({"architecture": {}, "epochs": 0}, "`epochs` must be a positive integer"),
        ({"architecture": {}, "verbose": 7}, "`verbose` must be"),
        ({"architecture": {}, "callbacks": ["stop"]}, "`callbacks` may hold"),
    ],
)
def test_mistakes_are_told_before_any_work(make: Make, arguments: dict[str, Any], told: str) -> None:
    unused: Any = Untouchable()
    with pytest.raises(ConfigError, match=told):
        make(Refusing(2)).fixed_arch_search(unused, **arguments)


def test_it_must_know_where_to_run(tmp_path: Path) -> None:
    unused: Any = Untouchable()
    model = HyperHyperModel(ak.Input(), ak.ClassificationHead())
    with pytest.raises(ConfigError, match="`fixed_arch_search` needs to know where the search runs"):
        model.fixed_arch_search(unused)


@pytest.mark.spark
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            {"architecture": {"dense_block_1/num_layer": 2}},
            "`architecture` must name hyperparameters.*Received: 'dense_block_1/num_layer'.*dense_block_1/num_layers",
        ),
        ({"architecture": {3: 2}}, "Received: 3. Near names: none"),
        ({"architecture": {LAYERS: "two"}}, "'dense_block_1/num_layers' a whole number.*='two' .of type str"),
        ({"architecture": {LAYERS: 2.0}}, "'dense_block_1/num_layers' a whole number"),
        ({"architecture": {LAYERS: True}}, "'dense_block_1/num_layers' a whole number"),
        ({"architecture": {LAYERS: 9}}, "'dense_block_1/num_layers' one of 1, 2, 3. Received: .*=9 .of type int"),
        ({"optimizer": ["adm"]}, r"graph: 'adam', 'sgd', 'adam_weight_decay'. Received: optimizer=\['adm'\]"),
    ],
)
def test_mistakes_that_need_the_space_are_told_before_training(
    make: Make, df: DataFrame, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        make(Refusing(2)).fixed_arch_search(df, **arguments)
