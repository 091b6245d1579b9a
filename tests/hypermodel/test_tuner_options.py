"""What `tuner_bind` takes beside the name of a tuner, from the user's side: each option does what it says."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import autokeras as ak
import keras_tuner
import numpy as np
import pytest
from keras_tuner.oracles import RandomSearchOracle

from cerebro_nas import HyperHyperModel
from cerebro_nas.backend import Backend
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.errors import ConfigError
from cerebro_nas.hopper import Unit
from cerebro_nas.stoppers import MedianStopper
from cerebro_nas.tuners import RandomOracle
from cerebro_nas.worker import CandidateSpec

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    # TensorFlow's variables know NumPy 1 only, which saving them runs into.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

Choice = keras_tuner.engine.hyperparameters.Choice
Make = Callable[..., HyperHyperModel]

UNITS = "dense_block_1/units_0"
FLOPS = {4: 54, 8: 102, 16: 198}
"""Operations a row of a candidate with so many units."""


class Refusing(SimulatedBackend):
    """Fails when it is asked to do anything."""

    def launch(self) -> bool:
        raise AssertionError("the backend was launched")

    def start(self, search: Any) -> None:
        raise AssertionError("the backend was started")


class Untouchable:
    """A DataFrame of which only the schema may be read."""

    def __init__(self) -> None:
        from pyspark.sql import types as T

        self.schema = T.StructType().add("x", T.ArrayType(T.DoubleType())).add("y", T.LongType())
        self.columns = self.schema.names

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the DataFrame was asked for {name}")


def _bound(store: Path, backend: Backend, evaluation_metric: str = "accuracy", **arguments: Any) -> HyperHyperModel:
    inputs = ak.Input()
    units = Choice("units", [*FLOPS])
    block = ak.DenseBlock(num_layers=1, num_units=units, use_batchnorm=False, dropout=0.0)
    outputs = ak.ClassificationHead(dropout=0.0)(block(inputs))
    model = HyperHyperModel(inputs, outputs, seed=3, project_name="tiny", **arguments)
    model.resource_bind(
        backend, store, evaluation_metric=evaluation_metric, label_columns="y", feature_columns="x", verbose=0
    )
    return model


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with 128 training rows in two shards, and 32 to validate on."""
    draw = np.random.default_rng(0)
    rows = [(row.tolist(), int(row[0] > row[1])) for row in draw.normal(size=(160, 4))]
    store = tmp_path_factory.mktemp("store")
    df = spark.createDataFrame(rows, "x array<double>, y int").coalesce(1)
    _bound(store, SimulatedBackend(2)).sys_setup(df)
    return store


@pytest.fixture
def make(prepared: Path, tmp_path: Path) -> Make:
    """A hypermodel whose search has a store of its own, with the data in it."""

    def of(backend: Backend | None = None, **arguments: Any) -> HyperHyperModel:
        if not (tmp_path / "data").exists():
            shutil.copytree(prepared / "data", tmp_path / "data")
        return _bound(tmp_path, backend or SimulatedBackend(2), **arguments)

    return of


def _curve(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
    """The trial's number says how good it is: 0.9, 0.7, 0.5, ..., whatever the epoch."""
    accuracy = 0.9 - 0.2 * int(unit.trial)
    return {"loss": 1.0 - accuracy, "accuracy": accuracy}


# --- one call after another -------------------------------------------------------------------------------------------


def _bindings_of_readme() -> list[str]:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    lines = [ast.unparse(node) for block in blocks for node in ast.parse(block).body]
    return [line for line in lines if line.startswith(("hp = ", "hp.", "am.tuner_bind("))]


@pytest.mark.spark
def test_what_the_readme_binds_can_be_bound_one_after_the_other(make: Make) -> None:
    """The second call leaves out what the first one fixed, and that stays."""
    model = make()
    names = {"am": model, "HyperParameters": keras_tuner.HyperParameters}
    calls = _bindings_of_readme()
    assert sum(call.startswith("am.") for call in calls) == 2
    for call in calls:
        exec(call, names)  # noqa: S102 - it is our own README
    model.tuner_bind(max_trials=2, **model._settings.tuner_options)
    board = model.fit_on_prepared_data(epochs=1).leaderboard()
    assert board["hp.learning_rate"].tolist() == [0.0001] * 2


# --- batch sizes ------------------------------------------------------------------------------------------------------


def _batch_sizes(*sizes: int) -> keras_tuner.HyperParameters:
    entries = keras_tuner.HyperParameters()
    entries.Choice("batch_size", list(sizes))
    entries.Fixed("learning_rate", 0.1)
    entries.Fixed("optimizer", "sgd")
    entries.Fixed(UNITS, 8)
    return entries


@pytest.mark.spark
@pytest.mark.slow
def test_a_batch_size_of_a_candidate_is_that_of_a_whole_search(make: Make, tmp_path: Path) -> None:
    """To the bit: the same steps are taken, whoever said how many rows they have."""

    def search(name: str, entries: keras_tuner.HyperParameters, size: int) -> tuple[Any, pd.DataFrame]:
        model = make(LocalBackend(1), directory=tmp_path / name)
        model.tuner_bind("grid", hyperparameters=entries, visit_order="fixed", max_trials=2)
        result = model.fit_on_prepared_data(batch_size=size, epochs=2)
        return result, result.leaderboard().set_index("trial")

    result, both = search("both", _batch_sizes(16, 64), 32)
    fixed = _batch_sizes(16)
    fixed._hps.pop("batch_size")
    fixed._space = [entry for entry in fixed.space if entry.name != "batch_size"]
    _, alone = search("alone", fixed, 16)
    assert both["hp.batch_size"].to_dict() == {"0": 16, "1": 64}
    metrics = [name for name in alone.columns if name.startswith("metric.")]
    first, second = both.loc[["0", "1"], metrics].to_numpy().tolist()
    assert alone.loc[["0"], metrics].to_numpy().tolist() == [first]
    assert second != first
    steps = {
        model.hyperparameters["batch_size"]: int(model.keras().optimizer.iterations) / model.generation
        for model in result.get_all_models()
    }
    assert steps == {16: 64 / 16, 64: 64 / 64}


@pytest.mark.parametrize("kind", ["Choice", "Int", "Float"])
def test_batch_sizes_that_are_none(make: Make, kind: str, tmp_path: Path) -> None:
    wrong = keras_tuner.HyperParameters()
    {
        "Choice": lambda: wrong.Choice("batch_size", [0, 8]),
        "Int": lambda: wrong.Int("batch_size", -8, 8),
        "Float": lambda: wrong.Float("batch_size", 1.0, 8.0),
    }[kind]()
    with pytest.raises(ConfigError, match=f"'batch_size' whole numbers of at least 1. Received: {kind}"):
        _bound(tmp_path, Refusing(2)).tuner_bind("random", hyperparameters=wrong)


def test_hyperparameters_of_another_kind(tmp_path: Path) -> None:
    wrong: Any = {"learning_rate": 0.1}
    with pytest.raises(ConfigError, match="`hyperparameters` must be a `keras_tuner.HyperParameters`.*of type dict"):
        _bound(tmp_path, Refusing(2)).tuner_bind("random", hyperparameters=wrong)


# --- several objectives -----------------------------------------------------------------------------------------------


@pytest.mark.spark
def test_several_objectives_on_real_workers(make: Make) -> None:
    model = make(LocalBackend(1))
    flops = keras_tuner.Objective("flops", "min")
    initial = [{UNITS: units, "optimizer": "sgd", "learning_rate": 0.1} for units in (16, 4, 8)]
    model.tuner_bind(
        "random", objective=["val_accuracy", flops, "latency_ms"], initial_hps=initial, max_trials=4, max_flops=150
    )
    board = model.fit_on_prepared_data(epochs=2).leaderboard()
    assert "pareto" in board
    # 16 units were refused before they were trained, and did not count.
    refused = board["status"] == "REJECTED"
    assert set(board[refused][f"hp.{UNITS}"]) == {16}
    assert board[refused][["cost.units", "metric.val_accuracy"]].fillna(0).to_numpy().sum() == 0
    done = board[~refused]
    assert len(done) == 4
    assert done.set_index("trial").loc[["1", "2"], f"hp.{UNITS}"].tolist() == [4, 8]
    assert done["score"].tolist() == sorted(done["metric.val_accuracy"], reverse=True)
    assert done["metric.flops"].tolist() == [FLOPS[units] for units in done[f"hp.{UNITS}"]] == list(done["cost.flops"])
    assert (done["metric.latency_ms"] > 0).all()
    points = list(
        zip(-done["metric.val_accuracy"], done["metric.flops"], done["metric.latency_ms"], done["pareto"], strict=True)
    )
    for *point, on_the_front in points:
        beaten = any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for *other, _ in points)
        assert on_the_front is not beaten
    assert not board[refused]["pareto"].any()


@pytest.mark.spark
def test_the_first_objective_decides_and_the_front_is_marked(make: Make) -> None:
    model = make(SimulatedBackend(2, metrics=_curve))
    initial = [{UNITS: 16}, {UNITS: 16, "optimizer": "sgd"}, {UNITS: 4}, {UNITS: 8}]
    model.tuner_bind("greedy", objective=["val_accuracy", "parameters"], initial_hps=initial, max_trials=4)
    board = model.fit_on_prepared_data(epochs=1).leaderboard()
    assert board["trial"].tolist() == ["0", "1", "2", "3"]
    # 1 is as large as 0 and worse, 3 is larger than 2 and worse.
    assert board["pareto"].tolist() == [True, False, True, False]


def test_one_objective_needs_no_front(make: Make, spark: SparkSession) -> None:
    model = make()
    model.tuner_bind("random", max_trials=2)
    assert "pareto" not in model.fit_on_prepared_data(epochs=1).leaderboard()


# --- limits of a candidate --------------------------------------------------------------------------------------------


@pytest.mark.spark
def test_candidates_that_are_too_slow_fail_after_their_first_evaluation(make: Make) -> None:
    def seconds(unit: Unit, spec: CandidateSpec) -> float:
        return 0.32 if unit.trial == "1" else 0.032

    model = make(SimulatedBackend(2, seconds=seconds))
    model.tuner_bind("random", max_trials=3, max_latency_ms=5.0)
    board = model.fit_on_prepared_data(epochs=3).leaderboard().set_index("trial")
    assert board["status"].to_dict() == {"0": "COMPLETED", "2": "COMPLETED", "1": "FAILED"}
    assert board["cost.latency_ms"].to_dict() == pytest.approx({"0": 1.0, "2": 1.0, "1": 10.0})
    assert board.loc[["1"], ["reason", "cost.epochs"]].to_numpy().tolist() == [["too_slow", 1]]


@pytest.mark.spark
def test_building_a_graph_is_no_latency(make: Make) -> None:
    """The first evaluation of a candidate on a worker takes hundreds of times as long as any other."""
    model = make(LocalBackend(1))
    model.tuner_bind("random", max_trials=3, initial_hps=[{UNITS: units} for units in FLOPS])
    board = model.fit_on_prepared_data(epochs=1).leaderboard()
    assert sorted(board[f"hp.{UNITS}"]) == [*FLOPS]
    # The least of three, as any of them may have been held up by what else the machine does.
    assert board["cost.latency_ms"].min() < 2.0


# --- the first configurations, and when to stop -----------------------------------------------------------------------


@pytest.mark.spark
@pytest.mark.parametrize("tuner", ["random", "grid", "asha", "evolution"])
def test_given_configurations_come_first(make: Make, tuner: str) -> None:
    initial = [
        {UNITS: 16, "optimizer": "sgd", "learning_rate": 0.001},
        {UNITS: 8, "optimizer": "adam", "learning_rate": 0.01},
    ]
    model = make()
    model.tuner_bind(tuner, initial_hps=initial, max_trials=3)
    board = model.fit_on_prepared_data(epochs=3).leaderboard().set_index("trial")
    names = list(initial[0])
    first = board.loc[["0", "1"], [f"hp.{name}" for name in names]].values.tolist()
    assert first == [[given[name] for name in names] for given in initial]
    assert len(board) == 3


@pytest.mark.spark
def test_the_search_ends_at_its_target_and_goes_on_with_a_higher_one(make: Make) -> None:
    def search(target: float) -> Any:
        model = make(SimulatedBackend(1, metrics=_rising))
        model.tuner_bind("random", max_trials=6, target=target, parallelism=1)
        return model.fit_on_prepared_data(epochs=1)

    def _rising(unit: Unit, spec: CandidateSpec) -> dict[str, float]:
        return {"loss": 1.0, "accuracy": 0.1 * (1 + int(unit.trial))}

    first = search(0.3)
    assert first.stopped_because == "the target is reached: the best value, 0.3, is at 0.3 or better"
    assert len(first.leaderboard()) < 6
    second = search(0.5)
    assert "0.5" in second.stopped_because
    assert len(first.leaderboard()) < len(second.leaderboard())
    assert second.leaderboard()["score"].iloc[0] == pytest.approx(0.5)


@pytest.mark.spark
def test_the_search_ends_when_its_epochs_are_used_up(make: Make) -> None:
    model = make()
    model.tuner_bind("random", max_trials=20, max_epochs_total=7)
    result = model.fit_on_prepared_data(epochs=2)
    assert result.stopped_because == "the budget of 7 epochs over all trials is used up"
    board = result.leaderboard()
    assert 7 <= board["cost.epochs"].sum() <= 7 + 4
    assert set(board["status"]) <= {"COMPLETED", "STOPPED"}


@pytest.mark.spark
def test_the_search_ends_when_its_time_is_used_up(make: Make) -> None:
    model = make(SimulatedBackend(2, seconds=lambda unit, spec: 60.0))
    model.tuner_bind("random", max_trials=50, time_budget="30m")
    result = model.fit_on_prepared_data(epochs=2)
    assert result.stopped_because == "the time budget of 30:00 is used up"
    assert 2 <= len(result.leaderboard()) < 50


@pytest.mark.spark
@pytest.mark.parametrize("stoppers", ["median", MedianStopper(min_trials=2, start_epoch=2), None])
def test_trials_below_the_median_are_stopped(make: Make, stoppers: Any) -> None:
    model = make(SimulatedBackend(1, metrics=_curve))
    model.tuner_bind("random", max_trials=8, stoppers=stoppers, parallelism=1)
    board = model.fit_on_prepared_data(epochs=6).leaderboard().set_index("trial")
    epochs = board.sort_index()["cost.epochs"].tolist()
    # As each trial is worse than those before it, all are stopped as soon as they are judged.
    assert epochs == {"median": [6] * 5 + [4] * 3, None: [6] * 8}.get(stoppers, [6] * 2 + [2] * 6)
    assert board.sort_index()["status"].tolist() == ["COMPLETED" if n == 6 else "STOPPED" for n in epochs]


# --- an oracle instead of a name --------------------------------------------------------------------------------------


@pytest.mark.spark
@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_an_oracle_of_keras_tuner_keeps_its_objective_and_its_number_of_trials(make: Make, metric: str) -> None:
    """Neither `evaluation_metric` nor our own default takes their place."""
    objective = keras_tuner.Objective("val_accuracy", "max")
    model = make(evaluation_metric=metric)
    model.tuner_bind(RandomSearchOracle(objective=objective, max_trials=3, seed=1))
    assert (model.max_trials, model.objective) == (3, objective)
    board = model.fit_on_prepared_data(epochs=1).leaderboard()
    assert list(board["status"]) == ["COMPLETED"] * 3
    assert board["score"].tolist() == board["metric.val_accuracy"].tolist()


@pytest.mark.spark
def test_what_is_said_of_trials_and_objective_wins_over_an_oracle_that_says_nothing(make: Make) -> None:
    model = make(evaluation_metric="accuracy")
    model.tuner_bind(RandomOracle(objective=None, max_trials=9, seed=1), max_trials=2)
    assert model.max_trials == 2
    result = model.fit_on_prepared_data(epochs=1)
    assert len(result.leaderboard()) == 2
    assert repr(result).startswith("ModelSelectionResult(2 trials, best val_accuracy=")


@pytest.mark.spark
def test_an_oracle_of_ours_does_as_its_name(make: Make, tmp_path: Path) -> None:
    def search(directory: str, tuner: Any) -> pd.DataFrame:
        model = make(directory=tmp_path / directory)
        model.tuner_bind(tuner, max_trials=3)
        board = model.fit_on_prepared_data(epochs=1).leaderboard().sort_values("trial")
        return board[["trial", *(name for name in board.columns if name.startswith("hp."))]].reset_index(drop=True)

    by_class = search("class", RandomOracle(objective=None, max_trials=3, seed=3))
    assert search("name", "random").equals(by_class)
    assert search("alias", "Random-Search").equals(by_class)


@pytest.mark.spark
def test_an_oracle_serves_one_search(make: Make, tmp_path: Path) -> None:
    oracle = RandomSearchOracle(objective=keras_tuner.Objective("val_loss", "min"), max_trials=1)
    model = make()
    model.tuner_bind(oracle)
    model.fit_on_prepared_data(epochs=1)
    unused: Any = Untouchable()
    again = _bound(tmp_path / "again", Refusing(2))
    with pytest.raises(ConfigError, match="no trials yet. Received: RandomSearchOracle with 1 trials. Make a new one"):
        again.tuner_bind(oracle)
    with pytest.raises(ConfigError, match="no trials yet"):
        model.fit(unused)


# --- mistakes ---------------------------------------------------------------------------------------------------------


def _oracle(name: str = "val_loss") -> RandomSearchOracle:
    return RandomSearchOracle(objective=keras_tuner.Objective(name, "min"), max_trials=3)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"tuner": "hyperbandd"}, "should be one of 'greedy', 'random', .*'rl', .*Did you mean 'hyperband'"),
        ({"tuner": RandomOracle}, "not a class. Received: tuner=RandomOracle"),
        ({"tuner": "asha", "factr": 3}, "the tuner 'asha' takes .brackets, factor, .*resource.. Received: factr"),
        ({"tuner": "asha", "factor": 1}, "`factor` should be an integer of at least 2. Received: factor=1"),
        ({"tuner": "asha", "resource": "hours"}, "one of 'epochs', 'shards'. Received: resource='hours'"),
        ({"tuner": "pbt", "population_size": 1}, "Received: population_size=1"),
        ({"tuner": "evolution", "exploration": 0.3}, "the tuner 'evolution' takes .*Received: exploration"),
        ({"tuner": "random", "initial_hps": {UNITS: 4}}, "`initial_hps` should be a list of dicts"),
        ({"tuner": _oracle(), "exploration": 0.3}, "Received: exploration with an oracle of class RandomSearchOracle"),
        ({"tuner": _oracle(), "initial_hps": [{}]}, "Give the oracle its options where you make it"),
        ({"tuner": _oracle(), "objective": "val_accuracy"}, "`objective` must be that of the oracle.*val_loss"),
        ({"stoppers": "medain"}, "names: 'learning_curve', 'median'. Received: stoppers='medain'"),
        ({"time_budget": "4 hours"}, "`time_budget` must be a duration.*Received: time_budget='4 hours'"),
        ({"max_epochs_total": 0}, "Received: max_epochs_total=0"),
        ({"target": "0.9"}, "`target` must be a finite number.*Received: target='0.9'"),
        ({"max_flops": 0.5}, "Received: max_flops=0.5"),
        ({"max_latency_ms": 0}, "`max_latency_ms` must be milliseconds above 0.*Received: max_latency_ms=0"),
        ({"objective": []}, r"Received: objective=\[\]"),
        ({"objective": ["val_accuracy", "val_accuracy"]}, "different metrics"),
        ({"objective": ["val_accuracy", "flopz"]}, "Received: objective='flopz'. Did you mean 'flops'"),
    ],
)
def test_mistakes_are_told_when_they_are_made(tmp_path: Path, arguments: dict[str, Any], told: str) -> None:
    model = _bound(tmp_path, Refusing(2))
    with pytest.raises(ConfigError, match=told):
        model.tuner_bind(**arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"tuner": _oracle("val_los")}, "`objective` must be a metric that .*val_accuracy.*objective='val_los'"),
        ({"tuner": "asha", "min_resource": 5}, "`min_resource` should not exceed.*min_resource=5, max_resource=4"),
        ({"tuner": "asha", "brackets": 3}, "`brackets` should be at most 2"),
        ({"objective": ["val_accuracy", "val_auc"]}, "Received: objective='val_auc'"),
    ],
)
def test_what_only_fit_can_know_is_told_before_any_work(tmp_path: Path, arguments: dict[str, Any], told: str) -> None:
    model, unused = _bound(tmp_path, Refusing(2)), Untouchable()
    model.tuner_bind(**arguments)
    with pytest.raises(ConfigError, match=told):
        model.fit(unused, epochs=4)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.spark
@pytest.mark.parametrize(
    ("initial", "told"),
    [
        ({"dense_block_1/unit_0": 4}, "Received: 'dense_block_1/unit_0'. Near names: dense_block_1/units_0"),
        ({UNITS: 5}, "of its range, 4, 8, 16. Received: dense_block_1/units_0=5"),
    ],
)
def test_what_the_space_does_not_have_is_told_before_training(make: Make, initial: dict[str, Any], told: str) -> None:
    model = make()
    model.tuner_bind("random", initial_hps=[initial])
    with pytest.raises(ConfigError, match=told):
        model.fit_on_prepared_data(epochs=1)
