"""Loss and metrics of a head: what no candidate could have is refused when the user gives it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import autokeras as ak
import keras
import pytest

from cerebro_nas import AutoModel
from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space import SearchSpace

_OWN = """
import keras


@keras.saving.register_keras_serializable(package="own")
class Both(keras.metrics.Metric):
    def update_state(self, y_true, y_pred, sample_weight=None):
        pass

    def result(self):
        return keras.ops.zeros((2,))


@keras.saving.register_keras_serializable(package="own")
def sparsity(y, p):
    return keras.ops.mean(p, axis=-1)
"""


def _metrics(metrics: Any) -> SearchSpace:
    return SearchSpace(ak.Input(), ak.ClassificationHead(metrics=metrics, name="kind"))


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        (["accuracy", "acuracy"], "Received: metrics='acuracy' (of type str). Did you mean 'accuracy'?"),
        (["F1score"], "Received: metrics='F1score' (of type str). Did you mean 'f1_score'?"),
        (["quantum"], "Received: metrics='quantum' (of type str). Pass for example ['accuracy']."),
        (["MeanIoU"], "Received: metrics='MeanIoU' (of type str). Make an object of it, with its arguments."),
        ([None], "Received: metrics=None"),
        ([["mae"]], "Received: metrics=['mae']"),
        ("acuracy", "Received: metrics='acuracy'"),
    ],
)
def test_a_metric_that_keras_does_not_know(metrics: Any, told: str) -> None:
    text = "Argument `metrics` of the head 'kind' should be metrics of Keras, by name or as objects. "
    with pytest.raises(ConfigError, match=re.escape(text + told)):
        _metrics(metrics)


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ("maee", "Received: loss='maee' (of type str). Did you mean 'mae'?"),
        (["mse"], "Received: loss=['mse'] (of type list). Pass for example 'categorical_crossentropy'."),
        (3, "Received: loss=3 (of type int)"),
    ],
)
def test_a_loss_that_keras_does_not_know(loss: Any, told: str) -> None:
    text = "Argument `loss` of the head 'price' should be a loss of Keras, by name or as objects. "
    with pytest.raises(ConfigError, match=re.escape(text + told)):
        SearchSpace(ak.Input(), ak.RegressionHead(loss=loss, name="price"))


@pytest.mark.parametrize("metric", [keras.metrics.F1Score(), "F1Score", keras.metrics.FBetaScore(beta=2.0)])
def test_a_metric_of_one_number_for_each_class(metric: Any) -> None:
    text = r"`metrics` of the head 'kind' should be metrics that give one number\. .*Make it with `average=\"macro\"`\."
    with pytest.raises(ConfigError, match=text):
        _metrics(["accuracy", metric])


def test_what_makes_one_number_of_it_is_said() -> None:
    metric = keras.metrics.R2Score(class_aggregation=None)
    with pytest.raises(ConfigError, match="'r2_score' of class R2Score.*`class_aggregation=\"uniform_average\"`"):
        _metrics([metric])


def test_a_metric_of_the_users_own_is_tried_too(import_source: Callable[[str, str], Any]) -> None:
    own = import_source("own_vectors", _OWN)
    with pytest.raises(ConfigError, match="Received: the metric 'both' of class Both.*Choose one that gives their"):
        _metrics([own.Both(name="both")])
    assert _metrics([own.sparsity]).metric_names == ("loss", "sparsity")


@pytest.mark.parametrize("metric", ["sparse_categorical_accuracy", keras.metrics.SparseTopKCategoricalAccuracy()])
def test_a_metric_that_takes_no_encoded_labels(metric: Any) -> None:
    with pytest.raises(ConfigError, match="`metrics` of the head 'kind' should suit one-hot targets"):
        _metrics([metric])


def test_a_single_metric_is_a_list_of_it() -> None:
    assert _metrics("accuracy").metric_names == ("loss", "accuracy")
    assert _metrics(keras.metrics.AUC(name="area")).metric_names == ("loss", "area")
    assert _metrics(("acc", "auc")).metric_names == ("loss", "acc", "auc")
    assert _metrics([]).metric_names == ("loss",)


@pytest.mark.parametrize(
    "metric",
    [
        keras.metrics.F1Score(average="macro"),
        keras.metrics.MeanIoU(num_classes=3),
        keras.metrics.AUC(multi_label=True, num_labels=5),
        keras.metrics.Precision(class_id=4),
    ],
)
def test_metrics_of_one_number_are_taken_whatever_rows_they_want(metric: Any) -> None:
    assert _metrics([metric]).metric_names == ("loss", metric.name)


def test_a_function_that_keras_metrics_have_no_name_for_is_one_that_workers_find() -> None:
    space = _metrics([keras.losses.huber, keras.losses.poisson])
    assert space.metric_names == ("loss", "huber", "poisson")
    ((huber, poisson),) = space._metrics()
    assert keras.metrics.deserialize(huber).name == "huber"
    assert poisson == "poisson"


@pytest.mark.parametrize("loss", ["crossentropy", "ce", "BCE", keras.losses.CategoricalFocalCrossentropy(), None])
def test_losses_of_keras_are_taken(loss: Any) -> None:
    SearchSpace(ak.Input(), ak.ClassificationHead(loss=loss))


def test_it_is_said_before_the_objective_is_looked_for() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'accuracy'"):
        AutoModel(ak.Input(), ak.ClassificationHead(metrics=["acuracy"]), objective="val_accuracy")
