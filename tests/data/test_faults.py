"""Rows that cannot be used: counted, and told with the first few."""

from __future__ import annotations

import numpy as np
import pytest

from cerebro_nas.data import Faults
from cerebro_nas.data import usable


def test_faults_are_told_with_the_first_few_rows() -> None:
    faults = Faults()
    faults.add("null", np.arange(4))
    faults.merge(Faults({"null": 3}, {"null": [0, 1, 2]}), shift=10)
    assert faults.told("a", "null", 20) == "column 'a': null in 7 of 20 rows, for example rows [0, 1, 2, 3, 10]"
    assert faults.told("a", "null", 20, " (so)").endswith("in 7 of 20 rows (so), for example rows [0, 1, 2, 3, 10]")


@pytest.mark.parametrize(
    ("dtype", "wide", "expected"),
    [
        ("float64", False, [True, False, False, False]),
        ("float64", True, [True, False, False, True]),
        ("float32", False, [True, False, False, False]),
    ],
)
def test_numbers_are_usable_that_can_be_stored(dtype: str, wide: bool, expected: list[bool]) -> None:
    values = np.array([1.0, np.nan, -np.inf, 1e39])
    with np.errstate(over="ignore"):
        assert usable(values.astype(dtype), wide=wide).tolist() == expected


def test_whole_numbers_are_usable() -> None:
    assert usable(np.arange(3)).tolist() == [True] * 3
