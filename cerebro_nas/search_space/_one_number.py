"""Metrics that give a number for each class: candidates are compared by one number, and a history holds one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from cerebro_nas.errors import ConfigError

# What makes one number of them, by the argument that says how.
_AVERAGES = {"average": '`average="macro"`', "class_aggregation": '`class_aggregation="uniform_average"`'}


def check_one_number(argument: str, metric: Any, owner: str = "") -> None:
    """Refuse a metric whose result has several elements, as far as it can be tried on rows that are made up.

    Args:
        argument: what it was given for.
        metric: an object or a function.
        owner: comes behind the argument's name in the message.

    Raises:
        ConfigError: it has.
    """
    shape = _shape_of_result(metric)
    if not shape:
        return
    kind, config = type(metric).__name__, metric.get_config()
    advice = next((text for name, text in _AVERAGES.items() if name in config), "")
    raise ConfigError(
        f"Argument `{argument}`{owner} should be metrics that give one number. "
        f"Received: the metric {metric.name!r} of class {kind}, which gives one for each class. "
        f"{f'Make it with {advice}.' if advice else 'Choose one that gives their mean.'}"
    )


def _shape_of_result(metric: Any) -> tuple[int, ...]:
    """Shape of what a metric gives for two rows of two classes; () also where it does not take such rows."""
    # Those of functions give means.
    if not isinstance(metric, keras.metrics.Metric) or isinstance(metric, keras.metrics.Mean):
        return ()
    try:
        # Another one like it, as this one would remember the rows.
        twin = type(metric).from_config(metric.get_config())
        rows = np.eye(2, dtype="float32")
        twin.update_state(rows, rows)
        return tuple(getattr(twin.result(), "shape", ()))
    except Exception:  # noqa: BLE001 - a metric may want other rows, and the user's own may raise anything
        return ()
