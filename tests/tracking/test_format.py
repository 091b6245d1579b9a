from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.tracking import TrialCounts
from cerebro_nas.tracking import format_duration
from cerebro_nas.tracking import format_metric
from cerebro_nas.tracking import short_hyperparameters
from cerebro_nas.tracking._format import format_count
from cerebro_nas.tracking._format import short_names


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (723, "12:03"), (3723, "1:02:03"), (183840, "2d 03:04"), (None, "-")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_what_is_no_duration(seconds: float) -> None:
    assert format_duration(seconds) == "-"


@pytest.mark.parametrize(
    ("value", "text"), [(0.9, "0.9000"), (0.0, "0.0000"), (1e-5, "1.000e-05"), (math.nan, "nan"), (None, "-")]
)
def test_metrics(value: float | None, text: str) -> None:
    assert format_metric(value) == text


@pytest.mark.parametrize(("count", "text"), [(950, "950"), (12345, "12.3k"), (4.5e6, "4.5M"), (2e9, "2.0G")])
def test_counts(count: float, text: str) -> None:
    assert format_count(count) == text


def test_short_hyperparameters() -> None:
    values = {"block_1/rate": 0.001, "optimizer": "adam", "deep": True}
    assert short_hyperparameters(values) == "rate=0.001, optimizer=adam, deep=True"
    assert short_hyperparameters(values, 22) == "rate=0.001, ..."


@given(st.sets(st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map("/".join), max_size=8))
@settings(max_examples=50, deadline=None)
def test_short_names_stay_apart(names: set[str]) -> None:
    short = short_names(names)
    assert set(short) == names
    assert all(name.endswith(tail) for name, tail in short.items())
    assert len(set(short.values())) == len(names)


def test_counts_of_statuses() -> None:
    counts = TrialCounts.of(["RUNNING", "WAITING", "COMPLETED", "STOPPED", "FAILED", "REJECTED"])
    assert counts == TrialCounts(running=1, waiting=1, done=2, failed=1, rejected=1)
    assert counts.final == 4
