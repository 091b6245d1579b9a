"""The objective of a search: a metric and its direction."""

from __future__ import annotations

import difflib
from typing import Any

import keras_tuner

from cerebro_nas.errors import ConfigError

_MAXIMISED = ("accuracy", "acc", "auc", "precision", "recall", "f1", "f1_score", "iou", "mean_iou", "r2", "r2_score")
_MINIMISED = ("loss", "error", "mse", "mae", "mean_squared_error", "mean_absolute_error")
_EXAMPLES = "'val_loss', 'val_accuracy', 'val_auc', 'loss', 'accuracy', 'val_mean_squared_error'"


def make_objective(objective: Any) -> keras_tuner.Objective:
    """Give the KerasTuner objective that `objective` names.

    Args:
        objective: the name of a metric as Keras logs it (`"val_accuracy"`), or a `keras_tuner.Objective`.

    Returns:
        The objective, with its direction: accuracies, AUC, precision and recall are maximised, losses minimised.

    Raises:
        ConfigError: the direction of the metric is not known, or `objective` is neither.
    """
    if isinstance(objective, keras_tuner.Objective):
        return _checked(objective)
    if not isinstance(objective, str) or not objective:
        raise ConfigError(
            "Argument `objective` should be the name of a metric or a `keras_tuner.Objective`. "
            f"Received: objective={objective!r} (of type {type(objective).__name__}). Pass one, such as {_EXAMPLES}."
        )
    direction = _direction(objective)
    if direction is None:
        raise ConfigError(
            "Argument `objective` should be a metric whose direction is known. "
            f"Received: objective={objective!r}. {_near(objective)}Known ones are, for example, {_EXAMPLES}; "
            "for another metric pass "
            f'`keras_tuner.Objective({objective!r}, direction="max")` (or "min").'
        )
    return keras_tuner.Objective(objective, direction)


def _checked(objective: keras_tuner.Objective) -> keras_tuner.Objective:
    if objective.direction not in ("min", "max"):
        raise ConfigError(
            "Argument `objective` should have the direction 'min' or 'max'. "
            f"Received: direction={objective.direction!r} of {objective.name!r}. Pass one of the two."
        )
    return objective


def _near(name: str) -> str:
    prefix = "val_" if name.startswith("val_") else ""
    near = difflib.get_close_matches(name.removeprefix("val_").lower(), (*_MAXIMISED, *_MINIMISED), n=1)
    return f"Did you mean {prefix + near[0]!r}? " if near else ""


def _direction(name: str) -> str | None:
    metric = name.removeprefix("val_")
    if metric in _MINIMISED or metric.endswith("_loss"):
        return "min"
    # Outputs of a model with several heads log `<head>_accuracy`.
    if metric in _MAXIMISED or metric.endswith(("_accuracy", "_auc")):
        return "max"
    direction: str | None = keras_tuner.engine.metrics_tracking.infer_metric_direction(metric)
    return direction
