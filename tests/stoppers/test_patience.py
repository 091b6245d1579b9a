"""Rules that look at the trial alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.stoppers import Curve
from cerebro_nas.stoppers import PatienceStopper
from cerebro_nas.stoppers import ThresholdStopper

NAN = float("nan")


def _stops_after(stopper: PatienceStopper, values: list[float], direction: str = "max") -> int | None:
    """The first epoch after which the rule says stop."""
    for epoch in range(1, len(values) + 1):
        if stopper.should_stop(Curve(tuple(values[:epoch]), direction=direction), {}) is not None:
            return epoch
    return None


@pytest.mark.parametrize(
    ("patience", "values", "epoch"),
    [
        (1, [0.1, 0.2, 0.2], 3),
        (2, [0.1, 0.2, 0.2, 0.2], 4),
        (2, [0.1, 0.2, 0.2, 0.3, 0.2], None),
        (2, [0.5, 0.1, 0.2], 3),  # better than the epoch before is not enough
        (2, [0.1, NAN, NAN], 3),
        (2, [NAN, NAN], 2),
        (2, [NAN, 0.1, 0.1], None),
    ],
)
def test_patience(patience: int, values: list[float], epoch: int | None) -> None:
    assert _stops_after(PatienceStopper(patience), values) == epoch
    assert _stops_after(PatienceStopper(patience), [-value for value in values], "min") == epoch


@pytest.mark.parametrize("direction", ["max", "min"])
def test_small_improvements_do_not_count(direction: str) -> None:
    sign = 1 if direction == "max" else -1
    creeping = [sign * value for value in (0.5, 0.625, 0.75, 0.875)]
    assert _stops_after(PatienceStopper(2), creeping, direction) is None
    # Measured from the best that counted: two small steps in one direction make a large one.
    assert _stops_after(PatienceStopper(2, 0.125), creeping, direction) is None
    assert _stops_after(PatienceStopper(2, 0.25), creeping, direction) == 3
    assert _stops_after(PatienceStopper(1, 0.125), creeping, direction) == 2


@given(st.lists(st.floats(-5, 5), max_size=12), st.integers(1, 5))
def test_patience_is_counted_from_the_first_best(values: list[float], patience: int) -> None:
    stopped = PatienceStopper(patience).should_stop(Curve(tuple(values)), {}) is not None
    since = len(values) - 1 - values.index(max(values)) if values else 0
    assert stopped == (since >= patience)


def test_the_reason_is_in_words() -> None:
    reason = PatienceStopper(1).should_stop(Curve((0.25, 0.25)), {})
    assert reason == "it did not improve on 0.25 for 1 epoch"
    assert PatienceStopper(2).should_stop(Curve((NAN, NAN)), {}) == "it had no finite value for 2 epochs"


@pytest.mark.parametrize(
    ("values", "direction", "stops"),
    [
        ((0.1, 0.1), "max", False),  # too early
        ((0.1, 0.1, 0.1), "max", True),
        ((0.1, 0.1, 0.1, 0.1), "max", True),
        ((0.5, 0.1, 0.1), "max", False),  # it had come so far; exactly as far is enough
        ((0.9, 0.8, 0.6), "min", True),
        ((0.9, 0.8, 0.5), "min", False),
        ((NAN, NAN, NAN), "max", True),
    ],
)
def test_threshold(values: tuple[float, ...], direction: str, stops: bool) -> None:
    reason = ThresholdStopper(0.5, epoch=3).should_stop(Curve(values, direction=direction), {})
    assert (reason is not None) == stops
    assert reason is None or reason.startswith(f"after {len(values)} epochs it")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: PatienceStopper(0), "patience"),
        (lambda: PatienceStopper(True), "patience"),
        (lambda: PatienceStopper(2.0), "patience"),  # type: ignore[arg-type]
        (lambda: PatienceStopper(2, -0.1), "min_delta"),
        (lambda: PatienceStopper(2, NAN), "min_delta"),
        (lambda: ThresholdStopper(NAN, 3), "value"),
        (lambda: ThresholdStopper("0.5", 3), "value"),  # type: ignore[arg-type]
        (lambda: ThresholdStopper(0.5, 0), "epoch"),
    ],
)
def test_wrong_settings_are_refused(make: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` must be .*Received: {name}="):
        make()
