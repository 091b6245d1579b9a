"""Losses, metrics and optimizers as plain values, one entry for each output."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.keras._parts import loss_parts
from cerebro_nas.keras._parts import loss_weights
from cerebro_nas.keras._parts import metric_parts
from cerebro_nas.keras._parts import optimizer_part

ONE, TWO = ["only"], ["a", "b"]


@pytest.mark.parametrize(
    ("loss", "family"),
    [
        ("categorical_crossentropy", "categorical"),
        (keras.losses.categorical_crossentropy, "categorical"),
        (keras.losses.CategoricalCrossentropy(from_logits=True), "categorical"),
        (keras.losses.CategoricalFocalCrossentropy(), "categorical"),
        ("kld", "categorical"),
        ("sparse_categorical_crossentropy", "categorical"),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), "categorical"),
        ("binary_crossentropy", "binary"),
        ("bce", "binary"),
        (keras.losses.BinaryFocalCrossentropy(), "binary"),
        (keras.losses.BinaryCrossentropy(from_logits=True), "logits"),
        ("mse", "values"),
        ("hinge", "values"),
        (keras.losses.Huber(), "values"),
        (keras.losses.mean_absolute_error, "values"),
    ],
)
def test_what_a_loss_takes(loss: Any, family: str) -> None:
    (found,) = loss_parts(loss, ONE)
    assert found.family == family


def test_a_sparse_loss_becomes_its_twin_which_gives_the_same_numbers() -> None:
    given = keras.losses.SparseCategoricalCrossentropy(from_logits=True, name="mine")
    (found,) = loss_parts(given, ONE)
    twin = keras.losses.deserialize(found.serialised)
    rows, labels = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 2, 1, 1, 0])
    assert isinstance(twin, keras.losses.CategoricalCrossentropy)
    assert twin.name == "mine"
    assert float(twin(np.eye(3)[labels], rows)) == pytest.approx(float(given(labels, rows)))


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("sparse_categorical_accuracy", "sparse_categorical_accuracy"),
        (keras.metrics.SparseCategoricalAccuracy(name="hits"), "hits"),
        (keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2"), "top2"),
        (keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="ce"), "ce"),
    ],
)
def test_sparse_metrics_become_their_twins_and_keep_their_names(metric: Any, name: str) -> None:
    ((found,),) = metric_parts([metric], ONE)
    twin = keras.metrics.deserialize(found)
    given = keras.metrics.get(metric) if isinstance(metric, str) else metric
    rows, labels = (
        np.random.default_rng(1).normal(size=(20, 4)).astype("float32"),
        np.random.default_rng(2).integers(0, 4, 20),
    )
    assert twin.name == name
    expected = np.mean(given(labels, rows)) if not isinstance(given, keras.metrics.Metric) else given(labels, rows)
    assert float(twin(np.eye(4)[labels], rows)) == pytest.approx(float(expected), rel=1e-5)


def test_metrics_are_kept_as_they_are() -> None:
    ((accuracy, auc, function),) = metric_parts(["acc", keras.metrics.AUC(name="area"), keras.losses.poisson], ONE)
    assert accuracy == "acc"
    assert auc["config"]["name"] == "area"
    assert function == "poisson"


def test_a_function_that_keras_metrics_have_no_name_for_is_one_that_workers_find() -> None:
    ((huber,),) = metric_parts([keras.losses.huber], ONE)
    assert keras.metrics.deserialize(huber).name == "huber"


def test_a_function_of_the_users_own_is_not_taken_for_keras_of_the_same_name() -> None:
    def mse(truth: Any, given: Any) -> Any:
        return truth - given

    with pytest.raises(ConfigError, match="`loss` must be registered with Keras.*loss=mse, a function"):
        loss_parts(mse, ONE)
    with pytest.raises(ConfigError, match="`metrics` must be registered with Keras.*metrics=mse, a"):
        metric_parts([mse], ONE)


@pytest.mark.parametrize("metrics", [[["mae"], ["mse"]], {"a": "mae", "b": ["mse"]}, {"b": ["mse"], "a": ["mae"]}])
def test_each_output_has_its_own_metrics(metrics: Any) -> None:
    assert metric_parts(metrics, TWO) == (("mae",), ("mse",))


def test_an_output_may_have_no_metrics() -> None:
    assert metric_parts({"b": "mse"}, TWO) == ((), ("mse",))
    assert metric_parts((), TWO) == ((), ())


def test_one_output_takes_its_metrics_in_any_form() -> None:
    assert metric_parts(["mae", "mse"], ONE) == metric_parts([["mae", "mse"]], ONE) == (("mae", "mse"),)
    assert metric_parts({"only": "mae"}, ONE) == metric_parts("mae", ONE) == (("mae",),)


@pytest.mark.parametrize("losses", [["mse", "bce"], ("mse", "bce"), {"a": "mse", "b": "bce"}, {"b": "bce", "a": "mse"}])
def test_each_output_has_its_own_loss(losses: Any) -> None:
    assert [part.serialised for part in loss_parts(losses, TWO)] == ["mse", "bce"]
    assert [part.family for part in loss_parts(losses, TWO)] == ["values", "binary"]


def test_one_loss_is_that_of_all_outputs() -> None:
    assert [part.serialised for part in loss_parts("mse", TWO)] == ["mse", "mse"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, ()),
        ([1, 1.0], ()),
        ([1, 0.5], (1.0, 0.5)),
        ({"b": 0}, (1.0, 0.0)),
        ({"b": 2, "a": np.float32(3)}, (3.0, 2.0)),
    ],
)
def test_losses_count_as_much_as_they_are_said_to(given: Any, wanted: tuple[float, ...]) -> None:
    assert loss_weights(given, TWO) == wanted


def test_a_single_loss_may_have_a_weight() -> None:
    assert loss_weights(0.5, ONE) == loss_weights([0.5], ONE) == (0.5,)


def test_an_optimizer_is_plain_values() -> None:
    assert optimizer_part("sgd")["class_name"] == "SGD"
    rate = keras.optimizers.schedules.CosineDecay(0.1, 100)
    found = optimizer_part(keras.optimizers.Adam(rate, beta_1=0.5))
    assert found["config"]["beta_1"] == 0.5
    assert found["config"]["learning_rate"]["class_name"] == "CosineDecay"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optimizer_part("adamm"), r"`optimizer` must be a Keras optimizer .*Received: optimizer='adamm'"),
        (lambda: optimizer_part(3), "`optimizer` must be"),
        (
            lambda: loss_parts("crossentropie", ONE),
            r"Argument `loss` should be a loss of Keras.*loss='crossentropie' .* mean 'binary_crossentropy'",
        ),
        (lambda: loss_parts(keras.losses.MeanSquaredError, ONE), "`loss` should be a loss of Keras, by name or as"),
        (lambda: loss_parts(["mse"], TWO), r"`loss` must have one entry for each of the 2 outputs \(a, b\)"),
        (lambda: loss_parts(["mse", None], TWO), "`loss` must have one entry"),
        (lambda: loss_parts({"a": "mse"}, TWO), "`loss` must be a dict with the names of the outputs: a, b"),
        (lambda: loss_weights([1.0], TWO), r"`loss_weights` must be numbers .* each of the 2 outputs.*a, b"),
        (lambda: loss_weights({"c": 1}, TWO), r"Received: loss_weights=\{'c': 1\}"),
        (lambda: loss_weights([1, -1], TWO), "of at least 0"),
        (lambda: loss_weights([1, True], TWO), "`loss_weights` must be numbers"),
        (lambda: loss_weights([1, float("nan")], TWO), "`loss_weights` must be numbers"),
        (lambda: loss_weights("heavy", ONE), "Received: loss_weights='heavy'"),
        (lambda: metric_parts(["mae", "mse"], TWO), r"`metrics` must say which output each metric is of.*a, b"),
        (lambda: metric_parts([["mae"]], TWO), "`metrics` must have one entry for each of the 2 outputs"),
        (lambda: metric_parts({"c": ["mae"]}, TWO), "`metrics` must be a dict with the names"),
        (
            lambda: metric_parts(["accurracy"], ONE),
            r"`metrics` should be metrics of Keras.*Received: metrics='accurracy' .*Did you mean 'accuracy'\?",
        ),
        (lambda: metric_parts([keras.metrics.F1Score()], ONE), r"the metric 'f1_score' of .*`average=\"macro\"`"),
        (
            lambda: loss_parts(keras.losses.SparseCategoricalCrossentropy(ignore_class=0), ONE),
            "Received: ignore_class=0",
        ),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
