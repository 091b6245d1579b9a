"""Metrics of all rows, from the states that they had after each part of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.worker import metric_sums
from cerebro_nas.worker import metrics_of_sums

MOST = 1 << 17
CUTS = (0, 7, 8, 60)


class TimesTwo(keras.metrics.RootMeanSquaredError):  # type: ignore[misc]  # Keras is untyped here
    """A subclass that keeps what Keras' own class does."""

    def result(self) -> Any:
        return 2 * super().result()


class Largest(keras.metrics.Metric):  # type: ignore[misc]  # Keras is untyped here
    """A state that does not add up."""

    def __init__(self, name: str = "largest", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.seen = self.add_weight(shape=(), initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.seen.assign(keras.ops.maximum(self.seen, keras.ops.max(y_true)))

    def result(self) -> Any:
        return self.seen


class LargestMean(keras.metrics.Mean):  # type: ignore[misc]  # Keras is untyped here
    """It says itself that one of its variables is no sum."""

    def __init__(self, name: str = "largest_mean", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.seen = self.add_variable(shape=(), initializer="zeros", aggregation="mean")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        super().update_state(y_true)


def _model(metrics: Any, outputs: int = 1) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    heads = [keras.layers.Dense(1, activation="sigmoid", name=f"head_{n}")(inputs) for n in range(outputs)]
    model = keras.Model(inputs, heads if outputs > 1 else heads[0])
    model.compile("sgd", "mse", metrics=metrics)
    return model


def _rows() -> tuple[Any, Any]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(CUTS[-1], 3)).astype("float32")
    # Sorted, so that parts are unlike each other.
    return x, np.sort((draw.random((CUTS[-1], 1)) > 0.5).astype("float32"), axis=0)


def _in_parts(model: keras.Model, x: Any, targets: list[Any]) -> dict[str, float]:
    total: dict[str, Any] = {}
    for begin, end in zip(CUTS, CUTS[1:], strict=False):
        pack = [target[begin:end] for target in targets]
        model.evaluate(x[begin:end], pack if len(pack) > 1 else pack[0], verbose=0)
        for name, sums in metric_sums(model, MOST).items():
            total[name] = total.get(name, 0) + sums
    return metrics_of_sums(model, {name: sums.tolist() for name, sums in total.items()})


def _whole(model: keras.Model, x: Any, y: Any) -> dict[str, float]:
    found: dict[str, float] = model.evaluate(x, y, verbose=0, return_dict=True)
    return {name: float(value) for name, value in found.items() if not name.endswith("loss")}


def test_parts_together_are_the_whole() -> None:
    kinds = keras.metrics
    model = _model(
        [
            "accuracy",
            "mae",
            keras.losses.mean_squared_error,
            kinds.RootMeanSquaredError(),
            kinds.R2Score(),
            kinds.AUC(name="auc"),
            kinds.AUC(name="pr", curve="PR", num_thresholds=10),
            kinds.Precision(),
            kinds.Recall(),
            kinds.F1Score(threshold=0.5, average="micro"),
            kinds.BinaryIoU(),
            kinds.MeanIoU(2),
            kinds.TruePositives(),
            kinds.PrecisionAtRecall(0.5),
            TimesTwo(name="twice"),
        ]
    )
    x, y = _rows()
    whole = _whole(model, x, y)
    assert len(whole) == 15
    found = _in_parts(model, x, [y])
    assert found == pytest.approx(whole, rel=1e-5, abs=1e-6)


def test_outputs_and_equal_metrics_keep_the_names_of_keras() -> None:
    # The same kind twice for one output, and of the same name for both.
    model = _model([[keras.metrics.R2Score(), keras.metrics.R2Score()], ["mae", keras.metrics.R2Score()]], outputs=2)
    x, y = _rows()
    targets = [y, x[:, :1]]
    whole = _whole(model, x, targets)
    assert len(whole) == 4
    assert _in_parts(model, x, targets) == pytest.approx(whole, rel=1e-5)


def test_what_may_not_add_up_is_left_out() -> None:
    model = _model([Largest(), LargestMean(), keras.metrics.R2Score()])
    x, y = _rows()
    model.evaluate(x, y, verbose=0)
    assert list(metric_sums(model, MOST)) == ["r2_score"]


def test_large_states_are_left_out() -> None:
    model = _model([keras.metrics.AUC(name="auc"), "mae"])
    x, y = _rows()
    model.evaluate(x, y, verbose=0)
    assert list(metric_sums(model, 100)) == ["mae"]


def test_a_model_without_metrics_has_no_sums() -> None:
    model = _model(None)
    x, y = _rows()
    model.evaluate(x, y, verbose=0)
    assert metric_sums(model, MOST) == {}
    assert metrics_of_sums(model, {}) == {}


def test_a_state_of_another_size_is_refused() -> None:
    model = _model([keras.metrics.R2Score()])
    x, y = _rows()
    model.evaluate(x, y, verbose=0)
    with pytest.raises(ValueError, match="'r2_score' should be 5 numbers. Received: 2"):
        metrics_of_sums(model, {"r2_score": [1.0, 2.0]})
