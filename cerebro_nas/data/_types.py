"""What is known of a data set once it is prepared. Plain values, saved beside the shards as `statistics.json`."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cerebro_nas.worker import ColumnSpec
from cerebro_nas.worker import ShardSpec

Label = str | int | float

Shapes = Sequence[int] | Mapping[str, Sequence[int]] | None
"""Shape of a row of the single feature column, or shapes by the name of the column."""


@dataclass(frozen=True)
class ColumnStatistics:
    """Statistics of one column over *all* rows (training and validation), from one Spark pass.

    Attributes:
        name: the column.
        rows: number of rows.
        nulls: number of nulls (0 in any data set that was accepted).
        minimum: smallest element, None for strings; `maximum` likewise.
        mean: per entry of the tensor's last axis (length 1 for a scalar), float64; empty for strings.
        variance: population variance, same shape as `mean`.
        classes: distinct values in sorted order, for label columns that hold classes (of a one-hot column: the
            indices `0..k-1`) and for columns of categories; the words of a column of texts, most frequent first; empty
            otherwise.
        class_counts: rows of each class, in the order of `classes`; of a word, the rows that have it (its document
            frequency).
    """

    name: str
    rows: int
    nulls: int
    minimum: float | None
    maximum: float | None
    mean: tuple[float, ...]
    variance: tuple[float, ...]
    classes: tuple[Label, ...] = ()
    class_counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class PreparedData:
    """A data set in the store, ready to be trained on.

    Attributes:
        url: its directory.
        fingerprint: hash of schema, rows and settings; `fit_on_prepared_data` compares it.
        features: stored feature columns, in the order given by the user.
        labels: stored label columns.
        shards: training and validation shards.
        statistics: by column name.
        settings: what it was prepared with (seed, validation, number of shards, input shape).
        weights: stored column of sample weights, or None.
    """

    url: str
    fingerprint: str
    features: tuple[ColumnSpec, ...]
    labels: tuple[ColumnSpec, ...]
    shards: tuple[ShardSpec, ...]
    statistics: dict[str, ColumnStatistics]
    settings: dict[str, object]
    weights: ColumnSpec | None = None

    @property
    def train_rows(self) -> int:
        """Rows of the training split."""
        return sum(s.rows for s in self.shards if s.split == "train")

    @property
    def valid_rows(self) -> int:
        """Rows of the validation split."""
        return sum(s.rows for s in self.shards if s.split == "valid")


def plain_shapes(input_shape: Shapes) -> Any:
    """The shapes that the user gave, as JSON values."""
    if isinstance(input_shape, Mapping):
        return {name: list(shape) for name, shape in input_shape.items()}
    return None if input_shape is None else list(input_shape)
