"""What AutoKeras tries first for a task."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from autokeras.tuners import task_specific

if TYPE_CHECKING:
    import keras_tuner

STARTS = {
    "image_classifier": task_specific.IMAGE_CLASSIFIER,
    "text_classifier": task_specific.TEXT_CLASSIFIER,
    "structured_data_classifier": task_specific.STRUCTURED_DATA_CLASSIFIER,
    "structured_data_regressor": task_specific.STRUCTURED_DATA_REGRESSOR,
}


def starts(task: str, hyperparameters: keras_tuner.HyperParameters | None = None) -> list[dict[str, Any]]:
    """AutoKeras' starting configurations for a task, as far as they are in the space.

    Candidates start from random weights. A configuration that is there for its pretrained weights (AutoKeras' third
    one for images: an EfficientNet-B7 that is fine-tuned) would take longest of all and learn nothing without them, so
    it is left out; so is one that the user's entries exclude.

    Args:
        task: one of `STARTS`.
        hyperparameters: entries that replace those of the graph.
    """
    entries = [] if hyperparameters is None else hyperparameters.space
    allowed: dict[str, list[Any]] = {entry.name: list(entry.values) for entry in entries if hasattr(entry, "values")}
    return [dict(values) for values in STARTS[task] if not _is_pretrained(values) and _fits(values, allowed)]


def _is_pretrained(values: dict[str, Any]) -> bool:
    return any(value is True for name, value in values.items() if name.endswith("/pretrained"))


def _fits(values: dict[str, Any], allowed: dict[str, list[Any]]) -> bool:
    return all(values[name] in choices for name, choices in allowed.items() if name in values)
