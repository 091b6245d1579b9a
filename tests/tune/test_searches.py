"""Cerebro's three searches: names, defaults, and what they refuse before Spark does any work."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import StoreError
from cerebro_nas.keras import SparkEstimator
from cerebro_nas.tune import GridSearch
from cerebro_nas.tune import RandomSearch
from cerebro_nas.tune import TPESearch
from cerebro_nas.tune import hp_choice
from cerebro_nas.tune import hp_loguniform
from cerebro_nas.tune import hp_quniform
from cerebro_nas.tune import hp_uniform
from cerebro_nas.tuners import Exhausted
from cerebro_nas.tuners import TrialSuggestion

Make = Callable[..., Any]


class Untouchable:
    """A DataFrame of which only the schema may be read."""

    def __init__(self) -> None:
        from pyspark.sql import types as T

        self.schema = T.StructType().add("features", T.ArrayType(T.DoubleType())).add("label", T.LongType())
        self.columns = self.schema.names

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the DataFrame was asked for {name}")


def _estimator(params: dict[str, Any], **given: Any) -> SparkEstimator:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
    arguments = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["acc"], **given}
    return SparkEstimator(model, **arguments)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def search(kind: Any = RandomSearch, **given: Any) -> Any:
        arguments: dict[str, Any] = {
            "backend": SimulatedBackend(2),
            "store": tmp_path,
            "estimator_gen_fn": _estimator,
            "search_space": {"lr": hp_choice([0.1, 0.01])},
            "num_epochs": 2,
            "verbose": 0,
        }
        if kind is not GridSearch:
            arguments["num_models"] = 3
        return kind(**{**arguments, **given})

    return search


def _ask_all(found: Any) -> list[dict[str, Any]]:
    """What a search's tuner proposes where nothing is ever learned."""
    arguments, _, _ = found._arguments(None)
    tuner = found._make_tuner(found._settings, found._space.explore(), None, arguments.epochs)
    values: list[dict[str, Any]] = []
    while len(values) < 50:
        answer = tuner.ask()
        if isinstance(answer, Exhausted):
            break
        assert isinstance(answer, TrialSuggestion)
        values.append(found._space.params(answer.values))
    tuner.close()
    return values


# --- signatures -------------------------------------------------------------------------------------------------------

SHARED = ["backend", "store", "estimator_gen_fn", "search_space"]
REST = ["evaluation_metric", "validation", "label_columns", "feature_columns"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (GridSearch, [*SHARED, "num_epochs", *REST, "verbose"]),
        (RandomSearch, [*SHARED, "num_models", "num_epochs", *REST, "verbose"]),
        (TPESearch, [*SHARED, "num_models", "num_epochs", *REST, "parallelism", "verbose"]),
    ],
)
def test_arguments_are_cerebros(kind: Any, names: list[str]) -> None:
    parameters = inspect.signature(kind).parameters
    assert list(parameters) == [*names, "settings"]
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert (defaults["evaluation_metric"], defaults["validation"], defaults["verbose"]) == ("loss", 0.25, 1)
    assert (list(defaults["label_columns"]), list(defaults["feature_columns"])) == (["label"], ["features"])


def test_the_names_come_without_a_banner() -> None:
    code = "from cerebro_nas.tune import GridSearch, hp_choice; from cerebro_nas.keras import SparkEstimator"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "absl" not in done.stderr
    assert "oneDNN" not in done.stderr


# --- what is searched -------------------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_once(make: Make) -> None:
    found = make(GridSearch, search_space={"a": hp_choice([1, 2, 3]), "b": hp_choice([None, (1, 2)])})
    assert found.max_trials == 6
    combinations = {(params["a"], params["b"]) for params in _ask_all(found)}
    assert combinations == {(a, b) for a in (1, 2, 3) for b in (None, (1, 2))}
    assert len(_ask_all(found)) == 6


def test_random_and_tpe_give_as_many_as_asked(make: Make) -> None:
    space = {"a": hp_uniform(0, 1), "b": hp_loguniform(-3, -1)}
    for kind in (RandomSearch, TPESearch):
        assert len(_ask_all(make(kind, search_space=space, num_models=4))) == 4


def test_random_trains_nothing_twice(make: Make) -> None:
    found = _ask_all(make(search_space={"a": hp_choice([1, 2, 3])}, num_models=9))
    assert sorted(params["a"] for params in found) == [1, 2, 3]


def test_a_grid_takes_choices_only(make: Make) -> None:
    space = {"a": hp_choice([1]), "b": hp_uniform(0, 1), "c": hp_quniform(1, 9, 2)}
    with pytest.raises(ConfigError, match=r"must hold what `hp_choice` gives.*'b': hp_uniform\(0, 1\), 'c': hp_qu"):
        make(GridSearch, search_space=space)


# --- seeds, names, objectives -----------------------------------------------------------------------------------------


def test_the_seed_is_cerebros(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    space = {"a": hp_uniform(0, 1)}
    monkeypatch.delenv("CEREBRO_RANDOM_SEED", raising=False)
    assert make()._seed == 2020
    by_default = _ask_all(make(search_space=space))
    assert by_default == _ask_all(make(search_space=space, seed=2020))
    monkeypatch.setenv("CEREBRO_RANDOM_SEED", "7")
    assert make()._seed == 7
    assert _ask_all(make(search_space=space)) != by_default
    assert make(seed=3)._seed == 3
    monkeypatch.setenv("CEREBRO_RANDOM_SEED", "many")
    with pytest.raises(ConfigError, match="`CEREBRO_RANDOM_SEED` must be an integer of 0 or more. Received: .*'many'"):
        make()


def test_searches_of_a_name_share_their_data_and_nothing_else(make: Make, tmp_path: Path) -> None:
    searches = [make(kind) for kind in (GridSearch, RandomSearch, TPESearch)]
    assert {found.project_name for found in searches} == {"model_selection"}
    assert len({found.directory for found in searches}) == 3
    elsewhere = make(project_name="p", directory=tmp_path / "elsewhere")
    assert elsewhere.directory == f"{tmp_path}/elsewhere/p_random"


@pytest.mark.parametrize("metric", ["accuracy", "acc"])
@pytest.mark.parametrize("logged", ["accuracy", "acc"])
def test_accuracy_is_what_the_estimator_calls_it_and_is_maximised(make: Make, metric: str, logged: str) -> None:
    found = make(estimator_gen_fn=lambda params: _estimator(params, metrics=[logged]), evaluation_metric=metric)
    assert found.objective == f"val_{logged}"
    tuner = found._make_tuner(found._settings, None, None, 2)
    assert (tuner.objective.name, tuner.objective.direction) == (f"val_{logged}", "max")
    tuner.close()


def test_an_objective_of_its_own_wins(make: Make) -> None:
    assert make(objective="val_loss", evaluation_metric="accuracy").objective == "val_loss"


def test_parallelism_is_two_for_each_worker(make: Make) -> None:
    assert make(TPESearch)._settings.parallelism is None
    assert make(TPESearch, parallelism=2)._settings.parallelism == 2
    assert make(GridSearch, parallelism=1)._settings.parallelism == 1
    # There are two combinations.
    assert make(GridSearch, parallelism=9)._settings.parallelism == 2


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (GridSearch, {"backend": "local"}, "`backend` must be a backend"),
        (GridSearch, {"estimator_gen_fn": 3}, r"`estimator_gen_fn` must be a function.*Received: estimator_gen_fn=3"),
        (GridSearch, {"search_space": {}}, "`search_space` must be a dict"),
        (GridSearch, {"num_epochs": 0}, "`num_epochs` must be a positive integer. Received: num_epochs=0"),
        (GridSearch, {"num_epochs": None}, "`num_epochs` must be a positive integer. Received: num_epochs=None"),
        (GridSearch, {"num_models": 3}, r"`GridSearch` has no argument 'num_models'"),
        (GridSearch, {"validation": 1.5}, "`validation` must be a fraction"),
        (GridSearch, {"verbose": 7}, "`verbose` must be"),
        (GridSearch, {"overwite": True}, r"`GridSearch` has no argument 'overwite'.*Did you mean 'overwrite'\?"),
        (GridSearch, {"num_epoch": 3}, r"`GridSearch` has no argument 'num_epoch'.*Did you mean 'num_epochs'\?"),
        (GridSearch, {"overwrite": 1}, "`overwrite` must be True or False"),
        (GridSearch, {"seed": -1}, "`seed` must be an integer of 0 or more"),
        (RandomSearch, {"num_models": 0}, "`num_models` must be a positive integer. Received: num_models=0"),
        (RandomSearch, {"num_models": "3"}, "Received: num_models='3'"),
        (RandomSearch, {"n_startup_jobs": 3}, "`RandomSearch` has no argument 'n_startup_jobs'"),
        (GridSearch, {"parallelism": True}, "`parallelism` must be a positive integer"),
        (TPESearch, {"parallelism": 0}, "`parallelism` must be a positive integer"),
        (TPESearch, {"parallelism": 9}, "`parallelism` must be at most `max_trials`"),
    ],
)
def test_what_the_constructor_refuses(make: Make, kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(kind, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"evaluation_metric": "auc"}, r"`evaluation_metric` must be a metric that.*: loss, acc\. Received: .*'auc'"),
        ({"evaluation_metric": "nonsense"}, "`evaluation_metric` must be a metric that the candidates report"),
        ({"label_columns": ["label", "more"]}, "`label_columns` must name one column for each of the 1 outputs"),
        ({"feature_columns": ["featurs"]}, r"there is no column 'featurs'; did you mean 'features'"),
        ({"estimator_gen_fn": lambda params: None}, "`estimator_gen_fn` must return a `cerebro_nas.keras.SparkEst"),
        ({"estimator_gen_fn": lambda params: params["units"]}, "KeyError: 'units'"),
        ({"gamma": -2.0, "kind": TPESearch}, "`gamma` should be a finite number"),
    ],
)
def test_what_is_refused_before_spark_does_any_work(make: Make, given: dict[str, Any], message: str) -> None:
    found = make(**given)
    with pytest.raises(ValueError, match=message):
        found.fit(Untouchable())


def test_a_dataframe_is_needed(make: Make) -> None:
    with pytest.raises(ConfigError, match="`df` must be a Spark DataFrame"):
        make().fit([[1.0]])


def test_prepared_data_must_be_there(make: Make) -> None:
    with pytest.raises(StoreError, match="There is no prepared data set"):
        make().fit_on_prepared_data()


def test_it_says_what_it_is(make: Make) -> None:
    assert repr(make()) == "RandomSearch(project_name='model_selection', max_trials=3)"
