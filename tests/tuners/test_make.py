from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import keras_tuner
import pytest

from cerebro_nas import tuners
from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import StagedOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import make_tuner
from cerebro_nas.tuners import tuner_names
from cerebro_nas.tuners._make import oracle_class

_PUBLISHED = {
    **{name: name for name in tuner_names()},
    "Greedy": "greedy",
    "randomsearch": "random",
    "gridsearch": "grid",
    "RandomSearch": "random",
    "BayesianOptimization": "bayesian",
    "bayesian_optimization": "bayesian",
    "multivariate-tpe": "multivariate_tpe",
    "CMA-ES": "cmaes",
    "differential-evolution": "differential_evolution",
    "enas": "rl",
}


@pytest.mark.parametrize(("published", "name"), _PUBLISHED.items())
def test_every_published_name_works(published: str, name: str) -> None:
    if name == "multivariate_tpe":
        pytest.importorskip("optuna")
    space = keras_tuner.HyperParameters()
    space.Float("a", 0, 1)
    space.Float("b", 0, 1)
    tuner = make_tuner(published, objective="val_loss", max_trials=1, hyperparameters=space, max_epochs=9)

    assert type(tuner.oracle) is oracle_class(name)
    assert tuner.max_trials == 1
    assert isinstance(tuner.ask(), TrialSuggestion)
    tuner.close()


def test_stages_count_epochs_or_shards() -> None:
    for resource, most in (("epochs", 9), ("shards", 36)):
        tuner = make_tuner("asha", max_trials=1, max_epochs=9, num_shards=4, resource=resource)
        assert isinstance(tuner.oracle, StagedOracle)
        assert (tuner.resource, tuner.oracle.max_resource) == (resource, most)
        tuner.close()
    with pytest.raises(ConfigError, match="Received: resource='rows'"):
        make_tuner("asha", max_trials=1, resource="rows")


@pytest.mark.case(32)
def test_options_that_the_tuner_does_not_take() -> None:
    with pytest.raises(ConfigError, match=r"'tpe' takes \(.*gamma.*\)\. Received: factor"):
        make_tuner("tpe", max_trials=1, factor=3)
    with pytest.raises(ConfigError, match="Received: gamma="):
        make_tuner("tpe", max_trials=1, gamma=0)


@pytest.mark.case(32)
def test_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"'grid'.*Received: tuner='gredy'. Did you mean 'greedy'\?"):
        make_tuner("gredy", objective="val_loss", max_trials=1)


@pytest.mark.case(32)
@pytest.mark.parametrize(
    "wrong",
    [
        {"max_trials": 0},
        {"max_trials": -1},
        {"max_trials": None},
        {"max_trials": True},
        {"max_trials": 2.0},
        {"exploration": 1.5},
        {"exploration": -0.1},
        {"exploration": 3, "parallelism": 2},
        {"exploration": 2},
        {"exploration": True},
        {"exploration": float("nan")},
        {"cold_start": -1},
        {"seed": -1},
        {"seed": 0.5},
        {"max_rejections": 0},
        {"initial_hps": {"a": 1}},
        {"initial_hps": [{"nothing": 1}]},
        {"initial_hps": [{"a": "yes"}]},
        {"initial_hps": [{"units": 64}, {"units": 4096}]},
        {"initial_hps": [{"units": "64"}]},
        {"initial_hps": [{"rate": float("nan")}]},
        {"initial_hps": [{"kind": "gru"}]},
        {"initial_hps": [{"fixed": 4}]},
        {"unheard_of": 1},
        {"objective": "profit"},
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    wrong: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hps = keras_tuner.HyperParameters()
    hps.Boolean("a")
    hps.Int("units", 16, 1024, step=16)
    hps.Float("rate", 1e-4, 1e-1, sampling="log")
    hps.Choice("kind", ["lstm", "rnn"])
    hps.Fixed("fixed", 3)
    arguments = {"objective": "val_loss", "max_trials": 5, "hyperparameters": hps, "directory": "here", **wrong}
    with pytest.raises(ConfigError, match="Received: ") as caught:
        make_tuner("greedy", **arguments)

    assert next(iter(wrong)) in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("wrong", [{"exploration": 0.3}, {"cold_start": 2}])
def test_options_of_another_tuner_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="grid"):
        make_tuner("grid", objective="val_loss", max_trials=5, **wrong)


def test_an_oracle_keeps_its_objective() -> None:
    oracle = keras_tuner.oracles.RandomSearchOracle(objective="val_loss", max_trials=3)
    with pytest.raises(ConfigError, match="that of the oracle"):
        make_tuner(oracle, objective="val_accuracy")
    with pytest.raises(ConfigError, match="exploration"):
        make_tuner(oracle, exploration=0.5)

    tuner = make_tuner(oracle, objective="val_loss")
    assert tuner.max_trials == 3
    tuner.close()


@pytest.mark.case(32)
def test_a_value_out_of_range_is_told_with_the_range() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Int("units", 16, 1024)
    with pytest.raises(ConfigError, match=r"'units' .* whole numbers from 16 to 1024\. Received: units=4096 "):
        make_tuner("greedy", max_trials=1, hyperparameters=hps, initial_hps=[{"units": 4096}])
    make_tuner("greedy", max_trials=1, hyperparameters=hps, initial_hps=[{"units": 1024}]).close()


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (oracle_class("asha"), r"tuner=AshaOracle. Pass 'asha', or `AshaOracle\(...\)` with its arguments\.$"),
        (keras_tuner.oracles.RandomSearchOracle, r"Pass `RandomSearchOracle\(...\)` with its arguments\.$"),
    ],
)
def test_a_class_is_no_tuner(kind: type, advice: str) -> None:
    with pytest.raises(ConfigError, match=f"not a class. Received: .*{advice}"):
        make_tuner(kind, max_trials=3)


@pytest.mark.case(32)
def test_an_oracle_that_gave_trials_already_is_refused() -> None:
    oracle = keras_tuner.oracles.RandomSearchOracle(objective=keras_tuner.Objective("val_accuracy", "max"))
    oracle.trials["0"] = None
    with pytest.raises(ConfigError, match="given no trials yet.*RandomSearchOracle with 1 trials. Make a new one"):
        make_tuner(oracle, max_trials=3)


@pytest.mark.case(32)
@pytest.mark.parametrize("options", [{"min_resource": 50}, {"brackets": 9}])
@pytest.mark.parametrize(
    ("resource", "advice"),
    [
        ("epochs", r"raise `epochs` of `fit`\.$"),
        ("shards", r"raise `epochs` of `fit` or the number of shards, whose product that is\.$"),
    ],
)
def test_the_limit_of_stages_is_told_by_what_the_user_gives(
    options: dict[str, int], resource: str, advice: str
) -> None:
    with pytest.raises(ConfigError, match=advice):
        make_tuner("asha", max_trials=5, max_epochs=3, num_shards=2, resource=resource, **options)


def test_the_class_of_every_tuner_is_public_and_can_be_subclassed() -> None:
    for name in tuner_names():
        kind = oracle_class(name)
        assert kind.__name__ in tuners.__all__
        assert getattr(tuners, kind.__name__) is kind

    class Own(tuners.AshaOracle):
        pass

    space = keras_tuner.HyperParameters()
    space.Float("a", 0, 1)
    tuner = make_tuner(Own(max_resource=9, objective="val_loss"), max_trials=3, hyperparameters=space)
    assert isinstance(tuner.ask(), TrialSuggestion)
    tuner.close()


def test_importing_the_room_loads_no_tuner() -> None:
    heavy = ["scipy", "hyperopt", "cmaes", "optuna", "keras_tuner"]
    code = f"import sys, cerebro_nas.tuners; sys.exit(len(set({heavy}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
