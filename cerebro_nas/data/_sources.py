"""The rows of whatever the user hands over."""

from __future__ import annotations

from typing import Any

from cerebro_nas.data._rows import Rows


def rows_of(data: Any) -> Rows:
    """The rows of a DataFrame; rows are returned as they are."""
    if isinstance(data, Rows):
        return data
    from cerebro_nas.data._spark_rows import SparkRows

    return SparkRows(data)
