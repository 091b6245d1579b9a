"""Labels, losses and outputs: what fits together, what becomes of the labels, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from cerebro_nas.data import ColumnStatistics
from cerebro_nas.errors import ConfigError
from cerebro_nas.keras._parts import Family
from cerebro_nas.keras._targets import Output
from cerebro_nas.worker import ColumnSpec


def _target(
    family: Family, width: int, classes: tuple[Any, ...] = (), shape: tuple[int, ...] = (), ends: Any = None
) -> dict[str, Any]:
    numbers = classes and not isinstance(classes[0], str)
    low, high = ends or ((float(min(classes)), float(max(classes))) if numbers else (None, None))
    counts = (1,) * len(classes)
    statistics = ColumnStatistics("y", 9, 0, low, high, (0.0,), (1.0,), classes, counts)
    return Output("out", width, family).target(ColumnSpec("y", shape, "float32", "scalar"), statistics)


def _classes(how: str, *classes: Any) -> dict[str, Any]:
    return {"kind": "classes", "classes": list(classes), "as": how}


VALUES = {"kind": "values"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (_target("categorical", 3, (0, 1, 2)), _classes("onehot", 0, 1, 2)),
        (_target("categorical", 2, ("cat", "dog")), _classes("onehot", "cat", "dog")),
        (_target("categorical", 3, (), (3,), (0.0, 1.0)), VALUES),
        (_target("binary", 1, ("no", "yes")), _classes("binary", "no", "yes")),
        (_target("binary", 1, (1, 2)), _classes("binary", 1, 2)),
        (_target("binary", 1, (0.0, 0.3, 1.0)), VALUES),
        (_target("binary", 3, (0, 1, 2)), _classes("onehot", 0, 1, 2)),
        (_target("binary", 4, (), (4,), (0.0, 1.0)), VALUES),
        (_target("logits", 1, (0, 1)), VALUES),
        (_target("values", 1, (-1, 1)), VALUES),
        (_target("values", 1, (), (), (-3.0, 8.5)), VALUES),
        (_target("values", 2, (), (2,), (-3.0, 8.5)), VALUES),
    ],
)
def test_what_fits(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("categorical", 4, (0, 1, 2)), r"a column of 4 classes, or of one-hot vectors of 4 .*with 3 classes: \[0, 1"),
        (("categorical", 4, (), (), (0.0, 1e5)), r"Received: column 'y' with too many classes"),
        (("categorical", 4, (), (3,), (0.0, 1.0)), r"with vectors of shape \(3,\)"),
        (("binary", 1, ("a", "b", "c")), r"a column of 2 classes, or of numbers from 0 to 1 .*3 strings: \['a'"),
        (("binary", 1, (0, 1, 2)), r"with numbers from 0 to 2"),
        (("binary", 3, (0, 1)), r"a column of 3 classes, or of vectors of 3 numbers"),
        (("logits", 1, ("no", "yes")), r"a column of numbers from 0 to 1 .*2 strings"),
        (("logits", 1, (1, 2)), r"numbers from 1 to 2"),
        (("values", 1, ("a", "b")), r"must name a column of numbers for the output 'out'.*2 strings"),
        # Keras would stretch the label over the output, and train nonsense.
        (("values", 10, (0, 1, 2)), r"vectors of 10 numbers .*Received: column 'y' with one number a row"),
        (("values", 1, (), (3,), (0.0, 1.0)), r"a column of numbers .*vectors of shape \(3,\)"),
    ],
)
def test_what_does_not_fit(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _target(*arguments)
