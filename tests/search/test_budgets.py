"""Durations as people write them, and when a search has used up what it may."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.search._budgets import Budgets
from cerebro_nas.search._budgets import parse_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("4h", 14400),
        ("90m", 5400),
        ("1h30m", 5400),
        ("45s", 45),
        ("2d", 172800),
        ("1d2h3m4s", 93784),
        ("1.5h", 5400),
        (" 1 h 30 m ", 5400),
        ("4H", 14400),
        ("0h90m", 5400),
        (3600, 3600),
        (0.5, 0.5),
        (np.int64(60), 60),
        (np.float32(1.5), 1.5),
        (timedelta(hours=1, milliseconds=500), 3600.5),
    ],
)
def test_durations(value: Any, seconds: float) -> None:
    found = parse_duration(value)
    assert found == seconds
    assert type(found) is float


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "h",
            "4",
            "3600",
            "4 hours",
            "30m1h",
            "1h1h",
            "-4h",
            "1:30",
            "4h!",
            "1.h",
            ".5h",
            "٤h",
            "1e3s",
            "0s",
            "4w",
        ),
        *(0, -1, True, False, float("nan"), float("inf"), None, [4], b"4h", 1j, timedelta(0), timedelta(-1)),
    ],
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="`limit` must be a duration.*Received: limit="):
        parse_duration(value, "limit")


@given(st.integers(0, 50), st.integers(0, 100), st.integers(0, 100), st.integers(1, 1000), st.sampled_from(["", " "]))
def test_parts_add_up(days: int, hours: int, minutes: int, seconds: int, space: str) -> None:
    text = space.join([f"{days}d", f"{hours}h", f"{minutes}m", f"{seconds}s"])
    assert parse_duration(text) == timedelta(days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()


def test_without_limits_nothing_is_used_up() -> None:
    assert Budgets.make().spent(1e9, 10**9, 1e9, "max") is None
    assert Budgets.make() == Budgets(None, None, None)


def test_time() -> None:
    budgets = Budgets.make(time_budget="1h30m")
    assert budgets.spent(5399.9, 0, None, "max") is None
    assert budgets.spent(5400, 0, None, "max") == "the time budget of 1:30:00 is used up"


def test_epochs() -> None:
    budgets = Budgets.make(max_epochs_total=np.int64(100))
    assert budgets.spent(0, 99, 0.5, "min") is None
    assert budgets.spent(0, 100, 0.5, "min") == "the budget of 100 epochs over all trials is used up"
    assert budgets.spent(0, 101, 0.5, "min") is not None


@pytest.mark.parametrize(
    ("direction", "best", "reached"),
    [
        ("max", 0.89, False),
        ("max", 0.9, True),
        ("max", 0.91, True),
        ("min", 0.91, False),
        ("min", 0.9, True),
        ("min", 0.89, True),
        ("max", None, False),
        ("max", float("nan"), False),
        ("min", float("nan"), False),
    ],
)
def test_target(direction: str, best: float | None, reached: bool) -> None:
    reason = Budgets.make(target=0.9).spent(0, 0, best, direction)
    assert (reason is not None) == reached
    assert reason is None or reason == f"the target is reached: the best value, {best}, is at 0.9 or better"


def test_a_target_of_zero_is_one() -> None:
    assert Budgets.make(target=0).spent(0, 0, 0.0, "max") is not None


def test_a_reached_target_is_named_before_a_spent_budget() -> None:
    budgets = Budgets.make(time_budget=1, max_epochs_total=1, target=0.5)
    assert "target" in str(budgets.spent(2, 2, 0.6, "max"))
    assert "time" in str(budgets.spent(2, 2, 0.4, "max"))
    assert "epochs" in str(budgets.spent(0.5, 2, 0.4, "max"))


def test_limits_survive_the_record() -> None:
    budgets = Budgets.make(time_budget=timedelta(hours=4), max_epochs_total=200, target=0.99)
    saved = json.loads(json.dumps(budgets.to_dict()))
    assert saved == {"time_budget": 14400.0, "max_epochs_total": 200, "target": 0.99}
    assert Budgets(**saved) == budgets


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_budget", "soon"),
        ("max_epochs_total", 0),
        ("max_epochs_total", 1.5),
        ("max_epochs_total", True),
        ("target", "0.9"),
        ("target", float("inf")),
        ("target", True),
    ],
)
def test_wrong_limits_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` must be .*Received: {name}="):
        Budgets.make(**{name: value})
