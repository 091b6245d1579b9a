from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cerebro_nas.data._summary import MAX_CLASSES
from cerebro_nas.data._summary import Classes
from cerebro_nas.data._summary import Moments

_VALUES = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 30), st.integers(1, 4)),
    elements=st.floats(-1e6, 1e6, allow_nan=False, width=32),
)


@given(_VALUES, st.lists(st.integers(1, 29), max_size=5))
def test_parts_merge_to_the_statistics_of_the_whole(values: Any, cuts: list[int]) -> None:
    merged = Moments()
    for part in np.split(values, sorted(cut for cut in cuts if cut < len(values))):
        if len(part):
            merged = merged.merge(Moments.of(part))
    assert merged.rows == merged.count == len(values)
    assert (merged.minimum, merged.maximum) == (values.min(), values.max())
    assert np.allclose(merged.mean, values.mean(axis=0), rtol=1e-9, atol=1e-6)
    assert np.allclose(merged.variance, values.var(axis=0), rtol=1e-6, atol=1e-3)
    assert merged.integral == bool((values == np.floor(values)).all())


def test_nothing_cancels_far_from_zero() -> None:
    values = 1e9 + np.arange(1000.0).reshape(-1, 1)
    merged = Moments()
    for part in np.split(values, 10):
        merged = merged.merge(Moments.of(part))
    assert merged.variance == pytest.approx((values.var(),), rel=1e-9)


def test_moments_are_per_entry_of_the_last_axis() -> None:
    images = np.random.default_rng(0).integers(0, 255, (7, 4, 5, 3))
    found = Moments.of(images)
    assert np.allclose(found.mean, images.mean(axis=(0, 1, 2)))
    assert np.allclose(found.variance, images.var(axis=(0, 1, 2)))
    assert (found.rows, found.count) == (7, 140)


@pytest.mark.parametrize(
    ("rows", "onehot"), [([[1, 0], [0, 1]], True), ([[1, 1], [0, 1]], False), ([[0, 0]], False), ([[0.5, 0.5]], False)]
)
def test_onehot_rows_are_known(rows: list[list[float]], onehot: bool) -> None:
    assert Moments.of(np.array(rows, dtype=np.float64)).onehot is onehot


def test_classes_are_counted_and_sorted() -> None:
    one, other = Classes(), Classes()
    one.add(np.array([3, 1, 3]))
    other.add(np.array([2, 3]))
    assert one.merge(other).sorted() == [(1, 1), (2, 1), (3, 3)]


def test_too_many_values_are_no_classes() -> None:
    many = Classes()
    many.add(np.arange(MAX_CLASSES))
    assert len(many.sorted()) == MAX_CLASSES
    one = Classes()
    one.add(np.array([-1]))
    for merged in (many.merge(one), one.merge(many), many.merge(one).merge(one)):
        assert merged.overflow
        assert merged.sorted() == []
