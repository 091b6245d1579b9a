"""Labels to evaluate with: one array, or rows that are counted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cerebro_nas.data import Faults
from cerebro_nas.errors import ConfigError
from cerebro_nas.results import OutputSpec
from cerebro_nas.results._labels import to_labels

NAMES = OutputSpec("y", "binary", ("None", "pos"))
NUMBER = OutputSpec("y", "values")
PAIR = OutputSpec("y", "values", (), 2)


@pytest.mark.parametrize(
    ("values", "output", "counts"),
    [
        (pd.Series([None, "None", None]), NAMES, {"null": 2}),
        (np.array([[None], ["pos"]], dtype=object), NAMES, {"null": 1}),
        (pd.Series(["pos", pd.NA], dtype="string"), NAMES, {"null": 1}),
        (np.array([1.0, np.nan]), NAMES, {"NaN or infinite": 1}),
        (np.array([1.0, np.nan, np.inf]), NUMBER, {"NaN or infinite": 2}),
        (np.array([[1.0, np.nan], [np.nan, np.nan], [1.0, 2.0]]), PAIR, {"NaN or infinite": 2}),
        (np.array([1, None], dtype=object), NUMBER, {"null": 1}),
        (pd.Series([None, [1.0, np.inf], [1.0, 2.0]]), PAIR, {"null": 1, "NaN or infinite": 1}),
        (pd.Series([None, None]), NUMBER, {"null": 2}),
    ],
)
def test_rows_without_a_label_are_counted(values: Any, output: OutputSpec, counts: dict[str, int]) -> None:
    faults = Faults()
    to_labels(values, output, faults)
    assert faults.counts == counts


def test_nulls_that_are_known_are_not_told_as_numbers() -> None:
    faults = Faults()
    to_labels(pd.Series([np.nan, np.nan, 1.0]), NUMBER, faults, 7, np.array([False, True, False]))
    # Those that follow a null count from the first row as well.
    assert faults.examples == {"null": [8], "NaN or infinite": [7]}


@pytest.mark.parametrize(
    ("values", "output", "expected"),
    [
        (pd.Series(["pos", "None"]), NAMES, ["pos", "None"]),
        (pd.Series([Decimal("1.5"), Decimal(2)]), NUMBER, [1.5, 2.0]),
        (np.array([1e39]), NUMBER, [1e39]),
        (pd.Series([[1.0, 2.0], np.array([3.0, 4.0])]), PAIR, [[1.0, 2.0], [3.0, 4.0]]),
        (np.array([], dtype=object), NAMES, []),
        (np.array(["abc"], dtype=object), NUMBER, ["abc"]),
    ],
)
def test_labels_stay_as_they_are(values: Any, output: OutputSpec, expected: list[Any]) -> None:
    faults = Faults()
    assert to_labels(values, output, faults).tolist() == expected
    assert faults == Faults()


def test_rows_of_differing_length() -> None:
    with pytest.raises(ConfigError, match="Labels should be rows of one length, .* in 'y'"):
        to_labels(pd.Series([[1.0], [1.0, 2.0]]), PAIR, Faults())
