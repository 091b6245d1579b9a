from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cerebro_nas.data._types import ColumnStatistics
from cerebro_nas.data._types import PreparedData
from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import ShardSpec

Prepare = Callable[..., PreparedData]


def _statistics(spec: ColumnSpec, classes: tuple[Any, ...], rows: int, moments: tuple[Any, Any]) -> ColumnStatistics:
    size = spec.shape[-1] if spec.shape else 1
    mean, variance = moments
    return ColumnStatistics(
        name=spec.name,
        rows=rows,
        nulls=0,
        minimum=0.0,
        maximum=1.0,
        mean=tuple(mean) if mean is not None else (0.5,) * size,
        variance=tuple(variance) if variance is not None else (0.25,) * size,
        classes=classes,
        class_counts=(rows // max(1, len(classes)),) * len(classes),
    )


@pytest.fixture
def prepare() -> Prepare:
    """Makes a description of prepared data without preparing any."""

    def make(
        shape: tuple[int, ...] = (8, 8),
        classes: tuple[Any, ...] = (0, 1, 2),
        *,
        features: tuple[ColumnSpec, ...] | None = None,
        label_shape: tuple[int, ...] = (),
        label_dtype: str = "int64",
        labels: int = 1,
        rows: int = 320,
        mean: Any = None,
        variance: Any = None,
    ) -> PreparedData:
        features = features or (ColumnSpec("features", shape, "uint8", "npy"),)
        columns = tuple(ColumnSpec(f"label{i or ''}", label_shape, label_dtype, "scalar") for i in range(labels))
        statistics = {c.name: _statistics(c, (), rows, (mean, variance)) for c in features}
        statistics |= {c.name: _statistics(c, classes, rows, (None, None)) for c in columns}
        shards = (ShardSpec("train", 0, "a", rows, 1), ShardSpec("valid", 0, "b", 10, 1))
        return PreparedData("url", "print", features, columns, shards, statistics, {})

    return make
