"""What the user said in three calls: the later call wins, None says nothing, and mistakes are named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.backend import SimulatedBackend
from cerebro_nas.errors import ConfigError
from cerebro_nas.search import Resources
from cerebro_nas.search import Settings
from cerebro_nas.search import make_fit_arguments
from cerebro_nas.search import make_resources
from cerebro_nas.search import refuse_unknown
from cerebro_nas.storage import LocalStore


def _resources(**changed: Any) -> Resources:
    arguments: dict[str, Any] = {
        "backend": SimulatedBackend(2),
        "store": "store",
        "validation": 0.2,
        "evaluation_metric": "accuracy",
        "label_columns": "label",
        "feature_columns": ["x"],
        "verbose": 1,
    }
    return make_resources(**{**arguments, **changed})


# --- settings ---------------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    settings = Settings()
    assert (settings.project_name, settings.max_trials, settings.tuner) == ("auto_model", 100, "greedy")
    assert settings.overwrite is False
    assert settings.seed is settings.objective is settings.directory is None


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["max_trials", "overwrite", "seed"]), st.one_of(st.none(), st.booleans(), st.integers(1, 9))
        ),
        max_size=5,
    )
)
def test_the_later_call_wins_and_none_says_nothing(calls: list[dict[str, Any]]) -> None:
    settings, expected = Settings(), {"max_trials": 100, "overwrite": False, "seed": None}
    for call in calls:
        settings.update(**call)
        expected.update({name: value for name, value in call.items() if value is not None})
    assert {name: getattr(settings, name) for name in expected} == expected


def test_false_is_said_and_not_left_out() -> None:
    settings = Settings()
    settings.update(overwrite=True)
    settings.update(overwrite=False)
    assert settings.overwrite is False


def test_a_setting_that_is_none_of_ours() -> None:
    with pytest.raises(AttributeError, match="max_trails"):
        _ = Settings().max_trails


@pytest.mark.case(32)
@pytest.mark.parametrize("name", ["max_trials", "max_model_size", "parallelism"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3"])
def test_counts_must_be_positive_integers(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"`{name}` must be a positive integer. Received: {name}={value!r}. Pass 1"):
        Settings({name: value}).check()


@pytest.mark.parametrize("seed", [-1, 0.5, True, "0"])
def test_seeds_must_be_integers(seed: Any) -> None:
    with pytest.raises(ConfigError, match="`seed` must be an? .*integer"):
        Settings({"seed": seed}).check()


@pytest.mark.case(25)
@pytest.mark.parametrize("name", ["", "../up", "a/b"])
def test_a_project_name_must_be_a_name(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        Settings({"project_name": name}).check()


@pytest.mark.case(32)
def test_no_more_live_trials_than_trials() -> None:
    with pytest.raises(ConfigError, match=r"`parallelism` must be at most `max_trials`.*parallelism=8, max_trials=3\."):
        Settings({"max_trials": 3, "parallelism": 8}).check()


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("overwrite", "yes"),
        ("overwrite", 1),
        ("directory", 3),
        ("directory", ""),
        ("force_fields", 3),
        ("force_fields", "seed"),
        ("force_fields", [[]]),
        ("visit_order", []),
    ],
)
def test_settings_of_another_type_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"`{name}` must be") as caught:
        Settings({name: value}).check()
    assert f"Received: {name}={value!r}" in str(caught.value)


def test_settings_that_are_fine() -> None:
    Settings({"max_trials": 4, "seed": 0, "max_model_size": 10, "parallelism": 4, "project_name": "digits"}).check()


# --- unknown arguments ------------------------------------------------------------------------------------------------


@pytest.mark.case(32)
def test_an_unknown_argument_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_unknown({"max_trails": 3}, ("max_trials", "overwrite"), "HyperHyperModel")
    assert str(caught.value) == (
        "`HyperHyperModel` has no argument 'max_trails'. Received: max_trails=3. Did you mean 'max_trials'?"
    )


def test_an_unknown_argument_far_from_all_lists_them() -> None:
    with pytest.raises(ConfigError, match="Known arguments are: max_trials, overwrite"):
        refuse_unknown({"zzz": 1}, ("overwrite", "max_trials"), "HyperHyperModel")
    refuse_unknown({}, ("overwrite",), "HyperHyperModel")


# --- resource_bind ----------------------------------------------------------------------------------------------------


def test_names_may_be_one_or_several() -> None:
    found = _resources(label_columns="label", feature_columns=["a", "b"])
    assert (found.labels.names, found.features.names) == (("label",), ("a", "b"))


def test_a_path_is_a_store() -> None:
    assert isinstance(_resources(store="somewhere").store, LocalStore)


@pytest.mark.parametrize(
    ("metric", "objective"),
    [("accuracy", "val_accuracy"), ("acc", "val_accuracy"), ("loss", "val_loss"), ("val_auc", "val_auc")],
)
def test_the_metric_names_the_objective(metric: str, objective: str) -> None:
    assert _resources(evaluation_metric=metric).default_objective == objective


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("backend", "spark"),
        ("backend", SimulatedBackend),
        ("store", 3),
        ("validation", 0.0),
        ("validation", 1.0),
        ("validation", float("nan")),
        ("validation", ""),
        ("validation", True),
        ("evaluation_metric", ""),
        ("evaluation_metric", None),
        ("label_columns", []),
        ("label_columns", [1]),
        ("feature_columns", ""),
        ("feature_columns", None),
        ("verbose", 3),
        ("num_shards", 0),
        ("num_shards", 2.0),
        ("verbose", "loud"),
    ],
)
def test_resources_that_cannot_be_used(argument: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        _resources(**{argument: value})
    assert f"`{argument}` must be" in str(caught.value)
    assert f"Received: {argument}={value!r}" in str(caught.value)


# --- fit --------------------------------------------------------------------------------------------------------------


def test_epochs_left_out_mean_many_with_patience() -> None:
    found = make_fit_arguments(batch_size=32, epochs=None, input_shape=None)
    assert (found.epochs, found.patience) == (1000, 10)
    assert make_fit_arguments(batch_size=32, epochs=3, input_shape=None).patience is None


@pytest.mark.parametrize(("given_shape", "shape"), [(None, None), (64, (64,)), ([8, 8, 1], (8, 8, 1))])
def test_shapes(given_shape: Any, shape: Any) -> None:
    assert make_fit_arguments(batch_size=1, epochs=1, input_shape=given_shape).input_shape == shape


@pytest.mark.case(32)
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("batch_size", 0),
        ("batch_size", None),
        ("batch_size", 2.0),
        ("epochs", 0),
        ("epochs", -1),
        ("epochs", True),
        ("input_shape", ()),
        ("input_shape", (8, 0)),
        ("input_shape", (8, None)),
        ("input_shape", "8x8"),
        ("input_shape", -1),
    ],
)
def test_fit_arguments_that_cannot_be_used(argument: str, value: Any) -> None:
    arguments: dict[str, Any] = {"batch_size": 32, "epochs": 1, "input_shape": None}
    with pytest.raises(ConfigError, match=f"`{argument}` must be"):
        make_fit_arguments(**{**arguments, argument: value})


def test_one_shard_for_each_worker_unless_it_is_said() -> None:
    assert _resources().num_shards == 2
    assert _resources(num_shards=5).num_shards == 5
