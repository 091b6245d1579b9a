"""Classes that occur in validation rows only are named."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from cerebro_nas.data import ColumnStatistics
from cerebro_nas.data._classes import warn_of_unseen
from cerebro_nas.data._write import classes_in

pytestmark = pytest.mark.case(30)


def _statistics(classes: tuple[Any, ...], counts: tuple[int, ...]) -> dict[str, ColumnStatistics]:
    return {"y": ColumnStatistics("y", sum(counts), 0, None, None, (), (), classes, counts)}


def _shard(split: str, *classes: Any) -> dict[str, Any]:
    return {"split": split, "classes": {"y": list(classes)}}


def _warned(caplog: pytest.LogCaptureFixture, statistics: dict[str, ColumnStatistics], *shards: Any) -> list[str]:
    with caplog.at_level(logging.WARNING, "cerebro_nas"):
        warn_of_unseen(["y"], statistics, shards)
    return [record.message for record in caplog.records]


def test_a_class_of_validation_rows_only(caplog: pytest.LogCaptureFixture) -> None:
    statistics = _statistics(("a", "b", "c"), (5, 4, 1))
    (text,) = _warned(caplog, statistics, _shard("train", "a"), _shard("train", "b"), _shard("valid", "a", "c"))
    assert text.startswith("Label column 'y': 'c' (1 row) occurs in validation rows only")


def test_many_of_them_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    (text,) = _warned(caplog, _statistics(tuple(range(30)), (2,) * 30), _shard("train", 0), _shard("valid", *range(30)))
    assert "1 (2 rows), 2 (2 rows)" in text
    assert "and 19 more occur in" in text


@pytest.mark.parametrize("classes", [(0, 1), (False, True), (0.5, 1.5)])
def test_classes_that_training_rows_have_are_no_matter(classes: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert _warned(caplog, _statistics(classes, (1, 1)), _shard("train", *classes), _shard("valid", classes[0])) == []


def test_a_class_without_rows_and_numbers_to_regress_on(caplog: pytest.LogCaptureFixture) -> None:
    assert _warned(caplog, _statistics((0, 1), (3, 0)), _shard("train", 0), _shard("valid", 0)) == []
    assert _warned(caplog, _statistics((), ()), _shard("train", 0.5), _shard("valid", 7.5)) == []


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (np.array([3, 1, 3]), [1, 3]),
        (np.array(["b", "a"], dtype=object), ["a", "b"]),
        (np.array([[0, 1, 0], [0, 0, 1]], dtype="u1"), [1, 2]),
    ],
)
def test_classes_of_rows(values: Any, classes: list[Any]) -> None:
    assert classes_in(values) == classes
