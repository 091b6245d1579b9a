"""The objective of a search: a metric and its direction."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras_tuner

from cerebro_nas.errors import ConfigError

MEASURES = ("parameters", "flops", "latency_ms")
"""What is known of every candidate beside its metrics, and may be an objective."""

_MAXIMISED = ("accuracy", "acc", "auc", "precision", "recall", "f1", "f1_score", "iou", "mean_iou", "r2", "r2_score")
_MINIMISED = (
    *("loss", "error", "mse", "mae", "mean_squared_error", "mean_absolute_error"),
    *MEASURES,
)
_EXAMPLES = "'val_loss', 'val_accuracy', 'val_auc', 'loss', 'accuracy', 'val_mean_squared_error'"


class ParetoObjective(keras_tuner.Objective):  # type: ignore[misc]  # KerasTuner ships no types
    """Several objectives, none of which is worth so much of another.

    KerasTuner's own adds them up, whatever their units. Here trials are compared by who dominates whom (see
    `_pareto`). The first objective decides which epoch of a trial counts; all are taken at that epoch.

    Attributes:
        objectives: the parts.
    """

    def __init__(self, objectives: Sequence[keras_tuner.Objective]) -> None:
        super().__init__("multi_objective", "min")
        self.objectives = list(objectives)

    @property
    def first(self) -> keras_tuner.Objective:
        """The objective that decides which epoch of a trial counts."""
        return self.objectives[0]

    def has_value(self, logs: Mapping[str, float]) -> bool:
        """Whether all of them are there."""
        return all(part.has_value(logs) for part in self.objectives)

    def get_value(self, logs: Mapping[str, float]) -> float:
        """The first objective, as a number to be minimised."""
        value = float(logs[self.first.name])
        return -value if self.first.direction == "max" else value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ParetoObjective) and self.objectives == other.objectives

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return ", ".join(map(str, self.objectives))


def make_objective(objective: Any) -> keras_tuner.Objective:
    """Give the KerasTuner objective that `objective` names.

    Args:
        objective: the name of a metric as Keras logs it (`"val_accuracy"`), or a `keras_tuner.Objective`; a list of
            several: trials are compared by who dominates whom, and the first decides which epoch of a trial counts.
            Beside metrics there are `"parameters"`, `"flops"` and `"latency_ms"` of a candidate, all minimised.

    Returns:
        The objective, with its direction: accuracies, AUC, precision and recall are maximised, losses minimised.

    Raises:
        ConfigError: the direction of the metric is not known, or `objective` is neither.
    """
    if isinstance(objective, (list, tuple)) and objective:
        if any(isinstance(part, (list, tuple)) for part in objective):
            raise ConfigError(
                f"Argument `objective` should be a flat list. Received: objective={objective!r}. Flatten it."
            )
        return _several([make_objective(part) for part in objective])
    if isinstance(objective, keras_tuner.Objective):
        # KerasTuner's own list of objectives, which it does not export, or ours.
        return _several([_checked(part) for part in getattr(objective, "objectives", (objective,))])
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


def objectives_of(objective: keras_tuner.Objective) -> list[keras_tuner.Objective]:
    """The parts of an objective: itself, unless it is several."""
    return list(objective.objectives) if isinstance(objective, ParetoObjective) else [objective]


def _several(parts: list[keras_tuner.Objective]) -> keras_tuner.Objective:
    names = [part.name for part in parts]
    if len(set(names)) < len(names) or "multi_objective" in names:
        raise ConfigError(
            f"Argument `objective` should be a flat list of different metrics. Received: {names}. Name each once."
        )
    return parts[0] if len(parts) == 1 else ParetoObjective(parts)


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
