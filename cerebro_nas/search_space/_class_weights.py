"""Weights of classes, as Keras' `fit(class_weight=)` takes them, by the position of the class."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from cerebro_nas.errors import ConfigError


def with_class_weights(
    targets: Sequence[dict[str, Any]], class_weight: Mapping[Any, float], classes: Sequence[Sequence[Any]]
) -> tuple[dict[str, Any], ...]:
    """Add the weights to the target of the single head.

    Args:
        targets: of each head, see `SearchSpec.targets`.
        class_weight: by label as it stands in the data, or by position among the sorted labels; classes that are left
            out weigh 1.
        classes: of each head, empty for one that gives no classes.

    Raises:
        ConfigError: there are several heads, it is none for classes, or there are no such classes.
    """
    if len(targets) != 1 or not classes[0]:
        raise ConfigError(
            "`class_weight` needs a model with a single `ClassificationHead`. "
            f"Received: class_weight={dict(class_weight)} with {len(targets)} head(s). Use `sample_weight_column`."
        )
    labels = list(classes[0])
    by_position = not set(class_weight) <= set(labels) and set(class_weight) <= set(range(len(labels)))
    unknown = [] if by_position else [key for key in class_weight if key not in labels]
    if unknown:
        raise ConfigError(
            f"`class_weight` must name classes, {labels[:20]}, or their positions in this order. "
            f"Received: {unknown[:10]}. Change the keys."
        )
    keys = range(len(labels)) if by_position else labels
    return ({**targets[0], "weights": [float(class_weight.get(key, 1.0)) for key in keys]},)
