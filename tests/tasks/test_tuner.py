"""`AutoModel(tuner=..., **kwargs)`: AutoKeras' names, classes and options, and what they are here."""

from __future__ import annotations

from typing import Any

import autokeras as ak
import keras_tuner
import pytest
from autokeras.tuners import task_specific

from cerebro_nas.errors import ConfigError
from cerebro_nas.tasks._starts import STARTS
from cerebro_nas.tasks._starts import starts
from cerebro_nas.tasks._tuner import choose_tuner
from cerebro_nas.tasks._tuner import task_tuner
from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners import tuner_names


class Own(ak.Greedy):  # type: ignore[misc]
    """A tuner of the user's."""


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (ak.Greedy, "greedy"),
        (ak.RandomSearch, "random"),
        (ak.BayesianOptimization, "bayesian"),
        (ak.Hyperband, "hyperband"),
        *((name, name) for name in tuner_names()),
        ("BayesianOptimization", "bayesian"),
        ("random_search", "random"),
        ("Greedy", "greedy"),
    ],
)
def test_names_and_classes(given: Any, name: str) -> None:
    choice = choose_tuner(given, {})
    # AutoKeras' greedy search explores nothing.
    assert (choice.tuner, choice.options) == (name, {"exploration": 0.0} if name == "greedy" else {})


def test_greedy_search_may_explore() -> None:
    assert choose_tuner("greedy", {"exploration": 0.3}).options == {"exploration": 0.3}


def test_an_oracle_is_taken_as_it_is() -> None:
    oracle = RandomOracle(objective=None, max_trials=3)
    assert choose_tuner(oracle, {}).tuner is oracle


@pytest.mark.parametrize("given", ["unknown", None, 3, keras_tuner.RandomSearch, RandomOracle])
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="Expected the tuner argument to be one of 'greedy'"):
        choose_tuner(given, {})


@pytest.mark.parametrize(("given", "meant"), [("bayes", "bayesian"), ("Hyperbnd", "hyperband"), ("greeedy", "greedy")])
def test_a_near_name_is_told(given: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"Received: tuner='{given}'. Did you mean '{meant}'"):
        choose_tuner(given, {})


def test_a_tuner_of_the_users_own_would_not_be_called() -> None:
    with pytest.raises(ConfigError, match=r"none of their subclasses.*Received: tuner=Own.*`keras_tuner.Oracle`"):
        choose_tuner(Own, {})


def test_options_have_our_names() -> None:
    choice = choose_tuner("hyperband", {"hyperband_iterations": 2, "factor": 4, "max_epochs": 9})
    assert (choice.options, choice.max_epochs) == ({"iterations": 2, "factor": 4}, 9)
    assert choose_tuner(ak.BayesianOptimization, {"beta": 2.6, "num_initial_points": 5}).options == {
        "kappa": 2.6,
        "acquisition": "lcb",
        "num_initial_points": 5,
    }


def test_arguments_of_keras_tuner_that_say_what_is_so_anyway() -> None:
    assert choose_tuner("random", {"executions_per_trial": 1, "distribution_strategy": None}).options == {}
    with pytest.raises(ConfigError, match=r"`executions_per_trial` must be 1.*Received: executions_per_trial=3"):
        choose_tuner("greedy", {"executions_per_trial": 3})


@pytest.mark.parametrize(
    ("given", "task"),
    [
        (task_specific.ImageClassifierTuner, "image_classifier"),
        (task_specific.TextClassifierTuner, "text_classifier"),
        (task_specific.StructuredDataClassifierTuner, "structured_data_classifier"),
        (task_specific.StructuredDataRegressorTuner, "structured_data_regressor"),
    ],
)
def test_tuners_of_tasks_begin_with_what_autokeras_begins_with(given: Any, task: str) -> None:
    choice = choose_tuner(given, {})
    assert choice.tuner == "greedy"
    assert choice.options["initial_hps"] == [values for values in STARTS[task] if not _pretrained(values)]
    assert choose_tuner(*task_tuner(task, None, {})) == choice
    mine = [{"learning_rate": 0.1}]
    assert choose_tuner(given, {"initial_hps": mine}).options["initial_hps"] == mine
    assert task_tuner(task, None, {"initial_hps": mine}) == ("greedy", {"initial_hps": mine})


def _pretrained(values: dict[str, Any]) -> bool:
    return any(value for name, value in values.items() if name.endswith("pretrained"))


def test_a_tuner_that_was_chosen_begins_with_nothing_of_a_task() -> None:
    assert task_tuner("image_classifier", "random", {"parallelism": 2}) == ("random", {"parallelism": 2})
    assert task_tuner("image_regressor", None, {}) == ("greedy", {})


def test_pretrained_weights_are_nothing_to_start_from() -> None:
    kinds = [values["image_block_1/block_type"] for values in starts("image_classifier")]
    assert kinds == ["vanilla", "resnet"]


def test_what_the_user_excludes_is_not_tried_first() -> None:
    hp = keras_tuner.HyperParameters()
    hp.Fixed("image_block_1/block_type", "vanilla")
    assert [values["image_block_1/block_type"] for values in starts("image_classifier", hp)] == ["vanilla"]
    assert starts("image_classifier")[0] == STARTS["image_classifier"][0]
