"""The median stopping rule: whom it compares with, by what, and what it saves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.stoppers import Curve
from cerebro_nas.stoppers import MedianStopper

NAN = float("nan")
_OTHERS = ((0.1, 0.9), (0.2, 0.4), (0.3, 0.5), (0.4, 0.6), (0.5, 0.7))


def _ended(*curves: tuple[float, ...], direction: str = "max") -> dict[str, Curve]:
    return {str(number): Curve(values, ended=True, direction=direction) for number, values in enumerate(curves)}


def _stops(stopper: MedianStopper, values: tuple[float, ...], others: dict[str, Curve]) -> bool:
    direction = next((other.direction for other in others.values()), "max")
    return stopper.should_stop(Curve(values, direction=direction), others) is not None


@pytest.mark.parametrize(
    ("average", "reference", "bar"),
    [
        ("none", "median", 0.6),
        ("none", "mean", 0.62),
        ("running", "median", 0.5),  # of 0.5, 0.3, 0.4, 0.5, 0.6
        ("running", "mean", 0.46),
        ("start", "median", 0.3),
        ("start", "mean", 0.3),
    ],
)
def test_what_a_trial_is_compared_with(average: str, reference: str, bar: float) -> None:
    stopper = MedianStopper(min_trials=5, start_epoch=1, average=average, reference=reference)
    others = _ended(*_OTHERS)
    assert _stops(stopper, (0.0, bar - 0.001), others)
    assert not _stops(stopper, (0.0, bar + 0.001), others)
    assert not _stops(stopper, (bar + 0.001, 0.0), others), "its best value counts, not its last"


def test_equal_to_the_median_is_not_worse() -> None:
    others = _ended((0.25,), (0.5,), (0.75,))
    stopper = MedianStopper(min_trials=3, start_epoch=1)
    assert not _stops(stopper, (0.5,), others)
    assert _stops(stopper, (0.4999,), others)


def test_a_median_is_not_moved_by_one_that_diverged() -> None:
    others = _ended((0.5,), (0.6,), (1e9,), direction="min")
    assert _stops(MedianStopper(min_trials=3, start_epoch=1), (0.7,), others)
    assert not _stops(MedianStopper(min_trials=3, start_epoch=1, reference="mean"), (0.7,), others)


def test_minimising_mirrors_maximising() -> None:
    stopper = MedianStopper(min_trials=3, start_epoch=1)
    losses = _ended((0.1,), (0.2,), (0.3,), direction="min")
    assert _stops(stopper, (0.25,), losses)
    assert not _stops(stopper, (0.15,), losses)


def test_fewer_than_min_trials_judge_nobody() -> None:
    others = _ended((0.5, 0.5), (0.6, 0.6), (0.7, 0.7))
    assert _stops(MedianStopper(min_trials=3, start_epoch=1), (0.0, 0.0), others)
    assert not _stops(MedianStopper(min_trials=4, start_epoch=1), (0.0, 0.0), others)


def test_only_those_that_came_as_far_are_compared_with() -> None:
    stopper = MedianStopper(min_trials=3, start_epoch=1)
    short = _ended((0.5, 0.5), (0.6, 0.6), (0.7,))
    assert not _stops(stopper, (0.0, 0.0), short)
    assert _stops(stopper, (0.0,), short)
    assert _stops(stopper, (0.0, 0.0), _ended((0.5, 0.5), (0.6, 0.6), (0.7, 0.7, 0.1)))


def test_running_trials_count_only_where_asked_for() -> None:
    others = {str(n): Curve((0.5,), ended=n < 2) for n in range(3)}
    assert not _stops(MedianStopper(min_trials=3, start_epoch=1), (0.1,), others)
    assert _stops(MedianStopper(min_trials=3, start_epoch=1, among="all"), (0.1,), others)


def test_epochs_between_judgements_and_before_the_first() -> None:
    others = _ended(*[(0.5,) * 9] * 3)
    stopper = MedianStopper(min_trials=3, start_epoch=3, interval=2)
    assert [n for n in range(1, 10) if _stops(stopper, (0.1,) * n, others)] == [3, 5, 7, 9]


@pytest.mark.parametrize("average", ["none", "running", "start"])
def test_values_that_are_not_finite_are_left_out(average: str) -> None:
    stopper = MedianStopper(min_trials=3, start_epoch=2, average=average)
    others = _ended((0.5, 0.5), (0.6, 0.6), (NAN, 0.7), (NAN, NAN))
    assert _stops(stopper, (0.1, NAN), others)
    assert not _stops(stopper, (NAN, NAN), others), "whether it failed is not for this rule to say"
    assert not _stops(MedianStopper(min_trials=4, start_epoch=2, average=average), (0.1, 0.1), others)


def test_katib() -> None:
    """Means of the first four reports, of which the arithmetic mean; at every later report too."""
    katib = MedianStopper(min_trials=3, start_epoch=4, reference="mean", average="start")
    others = _ended((0, 1, 2, 3, 99), (1, 2, 3, 4, 99), (2, 3, 4, 8, 99))  # 1.5, 2.5, 4.25: mean 2.75
    assert _stops(katib, (0, 0, 0, 2.7), others)
    assert not _stops(katib, (0, 0, 0, 2.8), others)
    assert not _stops(katib, (0, 0, 0, 2.8, 0), others)
    assert not _stops(katib, (0, 0, 2.7), others)


def test_the_reason_is_in_words() -> None:
    reason = MedianStopper(min_trials=3, start_epoch=1).should_stop(Curve((0.25,)), _ended((0.5,), (0.5,), (0.75,)))
    assert reason == "after 1 epoch its best value, 0.25, is worse than the median of 3 other trials, 0.5"


_curves = st.lists(st.lists(st.floats(-100, 100), min_size=1, max_size=6).map(tuple), min_size=1, max_size=8)


@given(
    _curves,
    st.lists(st.floats(-100, 100), min_size=1, max_size=6).map(tuple),
    st.sampled_from(["none", "running", "start"]),
    st.sampled_from(["median", "mean"]),
    st.booleans(),
)
def test_the_best_trial_is_never_stopped(
    others: list[tuple[float, ...]], trial: tuple[float, ...], average: str, reference: str, maximise: bool
) -> None:
    direction = "max" if maximise else "min"
    stopper = MedianStopper(min_trials=1, start_epoch=1, average=average, reference=reference)
    if _stops(stopper, trial, _ended(*others, direction=direction)):
        best = max if maximise else min
        assert best(trial) != best(value for values in (trial, *others) for value in values)


@given(_curves, st.lists(st.floats(-100, 100), min_size=1, max_size=6).map(tuple))
def test_directions_are_mirror_images(others: list[tuple[float, ...]], trial: tuple[float, ...]) -> None:
    stopper = MedianStopper(min_trials=2, start_epoch=1)
    mirrored = _ended(*(tuple(-value for value in values) for values in others), direction="min")
    assert _stops(stopper, trial, _ended(*others)) == _stops(stopper, tuple(-value for value in trial), mirrored)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"min_trials": 0}, "min_trials"),
        ({"start_epoch": 0}, "start_epoch"),
        ({"interval": 1.5}, "interval"),
        ({"reference": "mode"}, "reference"),
        ({"average": True}, "average"),
        ({"among": "finished"}, "among"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` must be .*Received: {name}="):
        MedianStopper(**options)


# --- what it saves ----------------------------------------------------------------------------------------------------


def _search(curves: np.ndarray[Any, Any], stopper: MedianStopper, workers: int) -> tuple[float, float]:
    """Train 64 trials, some at a time: the share of epochs saved, and by how much the best value fell."""
    seen: dict[str, Curve] = {}
    live: list[int] = []
    waiting, spent = list(range(len(curves))), 0
    while waiting or live:
        while waiting and len(live) < workers:
            live.append(waiting.pop(0))
        for number in list(live):
            values = tuple(curves[number, : seen[str(number)].epochs + 1 if str(number) in seen else 1].tolist())
            spent += 1
            trial, others = Curve(values), {name: curve for name, curve in seen.items() if name != str(number)}
            over = len(values) == curves.shape[1] or stopper.should_stop(trial, others) is not None
            seen[str(number)] = Curve(values, ended=over)
            if over:
                live.remove(number)
    best = max(curve.best or 0 for curve in seen.values())
    return 1 - spent / curves.size, float(curves.max()) - best


@pytest.mark.parametrize(
    ("stopper", "loss"),
    [(MedianStopper(), 0.005), (MedianStopper(min_trials=10, start_epoch=1, average="running"), 0.02)],
)
def test_a_third_of_the_epochs_is_saved_and_the_best_found_all_the_same(stopper: MedianStopper, loss: float) -> None:
    results = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        end, rate, start = rng.beta(5, 2, (64, 1)), rng.uniform(0.5, 2, (64, 1)), rng.uniform(0, 0.3, (64, 1))
        epochs = np.arange(1, 21.0)
        shape = np.where(rng.random((64, 1)) < 0.5, epochs**-rate, np.exp(-0.35 * rate * (epochs - 1)))
        curves = end * (1 - (1 - start) * shape) + rng.normal(0, 0.01, (64, 20))
        results.append(_search(curves, stopper, workers=2))
    saved, lost = np.array(results).T
    assert saved.min() > 0.3
    assert lost.mean() <= loss
    assert _search(curves, MedianStopper(min_trials=64), workers=2) == (0, 0)


@pytest.mark.parametrize("average", ["none", "running", "start"])
def test_epochs_are_those_of_the_weights(average: str) -> None:
    """A newcomer is not compared with what heirs of trained weights have after as many epochs of their own."""
    heirs = {str(i): Curve((0.9, 0.95, 0.97), ended=True, inherited=4) for i in range(5)}
    stopper = MedianStopper(start_epoch=2, average=average)
    newcomer = Curve((0.1, 0.4, 0.6))
    assert stopper.should_stop(newcomer, heirs) is None
    assert stopper.should_stop(newcomer, {name: replace(heir, inherited=0) for name, heir in heirs.items()})


def test_an_heir_is_compared_with_what_others_had_when_they_were_trained_for_as_long() -> None:
    others = {str(i): Curve((0.1, 0.2, 0.5, 0.7), ended=True) for i in range(5)}
    stopper = MedianStopper(start_epoch=1)
    assert stopper.should_stop(Curve((0.6,), inherited=2), others) is None
    assert stopper.should_stop(Curve((0.4,), inherited=2), others)
