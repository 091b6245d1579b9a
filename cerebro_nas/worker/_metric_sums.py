"""States of metrics that add up: what metrics say of all rows, where each part of the rows was measured elsewhere.

A mean over parts is right for means alone. R2, a root of a mean or an area under a curve does not follow from those of
the parts, but from what Keras' metrics keep: counts and totals, which are sums over rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def metric_sums(model: keras.Model, most: int) -> dict[str, NDArray[np.float64]]:
    """What the metrics of a compiled model have counted since they were reset, each flat, by the name of its result.

    Losses are not among them, which are means over rows, nor metrics whose states may not add up: those of a class of
    the user's own, but for subclasses of Keras' metrics. Nor are those that would make it more than `most` numbers.
    """
    found: dict[str, NDArray[np.float64]] = {}
    for name, metric in _additive(model).items():
        size = sum(math.prod(variable.shape) for variable in metric.variables)
        if size <= most:
            most -= size
            found[name] = np.concatenate([np.asarray(v, dtype=np.float64).ravel() for v in metric.variables])
    return found


def metrics_of_sums(model: keras.Model, sums: Mapping[str, Sequence[float] | NDArray[np.float64]]) -> dict[str, float]:
    """What those metrics say of all rows, given the sums of what `metric_sums` gave for parts; resets the metrics."""
    metrics = {name: metric for name, metric in _additive(model).items() if name in sums}
    for name, metric in metrics.items():
        _fill(metric, np.asarray(sums[name], dtype=np.float64))
    found = {name: float(np.asarray(metric.result())) for name, metric in metrics.items()}
    model.reset_metrics()
    return found


def _fill(metric: keras.metrics.Metric, values: NDArray[np.float64]) -> None:
    sizes = [math.prod(variable.shape) for variable in metric.variables]
    if sum(sizes) != len(values):
        raise ValueError(
            f"The state of metric {metric.name!r} should be {sum(sizes)} numbers. Received: {len(values)}. They are of "
            "another model, or of another version of Keras."
        )
    for variable, part in zip(metric.variables, np.split(values, np.cumsum(sizes)[:-1]), strict=True):
        variable.assign(part.reshape(variable.shape).astype(variable.dtype))


def _additive(model: keras.Model) -> dict[str, Any]:
    """Compiled metrics whose states add up, by the names that Keras gives their results."""
    compiled = next((metric for metric in model.metrics if metric.name == "compile_metrics"), None)
    if compiled is None or not compiled.variables:
        return {}
    # Keras makes the names (of outputs, of equal metrics) on the way to the results, which have the metrics' order.
    names, metrics = list(compiled.result()), compiled.metrics
    if len(names) != len(metrics):
        return {}
    return {name: metric for name, metric in zip(names, metrics, strict=True) if _adds_up(metric)}


def _adds_up(metric: keras.metrics.Metric) -> bool:
    base = next((kind for kind in type(metric).__mro__ if _is_of_keras(kind)), keras.metrics.Metric)
    sums = all(getattr(variable, "aggregation", "sum") == "sum" for variable in metric.variables)
    return base is not keras.metrics.Metric and bool(metric.variables) and sums


def _is_of_keras(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "keras"
