"""Loss and metrics of a head, checked when the user gives it: candidates would fail for them one by one."""

from __future__ import annotations

from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space._adapter import names_of_metrics
from cerebro_nas.search_space._known import is_of_shapes
from cerebro_nas.search_space._known import known_part
from cerebro_nas.search_space._known import tellable_metric
from cerebro_nas.search_space._one_number import check_one_number
from cerebro_nas.search_space._own import check_own


def check_head(head: Any) -> None:
    """Refuse a loss or metrics that no candidate could have; a single metric becomes a list of it, as in Keras.

    Args:
        head: a head of AutoKeras.

    Raises:
        ConfigError: Keras does not know one, or it does not suit a head.
    """
    owner = f" of the head {head.name!r}"
    if head.loss is not None and not is_of_shapes("loss", head.loss):
        _refuse_class("loss", head.loss)
        known_part("loss", head.loss, owner)
    head.metrics = _listed(head.metrics)
    for metric in head.metrics:
        _check_metric(metric, owner)
    head.metrics = [tellable_metric(metric) for metric in head.metrics]


def _listed(metrics: Any) -> list[Any]:
    if metrics is None:
        return []
    # AutoKeras itself would take a name letter by letter when it saves a graph.
    return list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]


def _check_metric(metric: Any, owner: str) -> None:
    if is_of_shapes("metrics", metric):
        return
    _refuse_class("metrics", metric)
    found = known_part("metrics", metric, owner)
    name = metric if isinstance(metric, str) else getattr(found, "__name__", type(found).__name__)
    if name in names_of_metrics() and name.lower().startswith("sparse"):
        raise ConfigError(
            f"Argument `metrics`{owner} should suit one-hot targets, which is what labels are encoded to. "
            f"Received: metrics={metric!r}. Use the metric of this name without 'sparse'."
        )
    check_one_number("metrics", found, owner)


def _refuse_class(argument: str, item: Any) -> None:
    if isinstance(item, type):
        check_own(argument, item)
