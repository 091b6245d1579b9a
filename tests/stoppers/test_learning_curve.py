"""Stopping by extrapolation: what is expected of a curve, whom that stops, what it saves; nothing breaks it."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cerebro_nas.errors import ConfigError
from cerebro_nas.stoppers import Curve
from cerebro_nas.stoppers import LearningCurveStopper
from cerebro_nas.stoppers._extrapolate import Forecast
from cerebro_nas.stoppers._extrapolate import forecast

Array = NDArray[np.float64]
NAN = float("nan")
_EPOCHS = np.arange(1, 21.0)


def _power(start: float, end: float, rate: float) -> Array:
    shape = (_EPOCHS**-rate - 20.0**-rate) / (1 - 20.0**-rate)
    return np.asarray(end - (end - start) * shape)


def _exponential(start: float, end: float, rate: float) -> Array:
    return np.asarray(end - (end - start) * np.exp(-rate * (_EPOCHS - 1)))


def _sigmoid(start: float, end: float, middle: float) -> Array:
    return np.asarray(end - (end - start) / (1 + (_EPOCHS / middle) ** 2))


def _of(values: Array, seen: int, centre: float = 0.6) -> Forecast:
    return forecast(np.arange(1, seen + 1), values[:seen], 20, centre=centre, scale=0.4)


def _others(*bests: float, epochs: int = 20, direction: str = "max") -> dict[str, Curve]:
    sign = 1 if direction == "max" else -1
    curves = {str(n): tuple((sign * _exponential(0.1, best, 0.4)[:epochs]).tolist()) for n, best in enumerate(bests)}
    return {name: Curve(values, True, direction, 20) for name, values in curves.items()}


def _stops(values: Array | tuple[float, ...], others: dict[str, Curve], **options: Any) -> bool:
    trial = Curve(tuple(map(float, values)), planned=20)
    return LearningCurveStopper(**options).should_stop(trial, others) is not None


# --- what is expected -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "curve",
    [
        _power(0.1, 0.8, 0.6),
        _power(0.1, 0.5, 1.2),
        _exponential(0.1, 0.7, 0.3),
        _sigmoid(0.1, 0.8, 3),
        _power(0.5, 0.5, 1),
    ],
)
def test_the_end_of_a_clean_curve_is_foretold(curve: Array) -> None:
    errors = [abs(_of(curve, seen).mean - curve[-1]) for seen in (8, 16)]
    assert errors[0] < 0.05
    assert errors[1] < 0.02


def test_more_epochs_make_the_forecast_sharper() -> None:
    curve = _exponential(0.1, 0.7, 0.2)
    odds = [_of(curve, seen).chance_above(0.8) for seen in (3, 6, 12, 18)]
    assert odds[0] > 0.05 > odds[1] > odds[2]
    assert odds[3] < 1e-3


def test_forecasts_are_calibrated() -> None:
    """Of events that were given a chance of about p, about p came true: curves of three families, with noise."""
    rng = np.random.default_rng(0)
    given_chances, came_true = [], []
    for _ in range(300):
        family = (_power, _exponential, _sigmoid)[rng.integers(3)]
        rate = rng.uniform(2, 6) if family is _sigmoid else rng.uniform(0.2, 1)
        curve = family(rng.uniform(0.05, 0.2), rng.uniform(0.4, 0.9), rate) + rng.normal(0, 0.01, 20)
        bar = curve[-1] + rng.normal(0, 0.05)
        given_chances.append(_of(curve, int(rng.integers(4, 12))).chance_above(bar))
        came_true.append(curve[-1] > bar)
    chances, truth = np.array(given_chances), np.array(came_true)
    assert truth[chances < 0.05].mean() < 0.1
    assert truth[chances > 0.95].mean() > 0.9
    assert np.mean((chances - truth) ** 2) < 0.2, "no better than to say 1/2 each time would be 0.25"


def test_weights_are_a_distribution() -> None:
    found = _of(_power(0.1, 0.8, 0.6), 5)
    assert found.weights.sum() == pytest.approx(1)
    assert (found.weights >= 0).all() and (found.deviations > 0).all()
    assert found.chance_above(-100) == pytest.approx(1) and found.chance_above(100) == pytest.approx(0)


# --- whom it stops ----------------------------------------------------------------------------------------------------


def test_one_that_levels_off_below_the_best_is_stopped() -> None:
    assert _stops(_exponential(0.1, 0.4, 0.5)[:6], _others(0.6, 0.7, 0.9))
    assert not _stops(_exponential(0.1, 0.95, 0.2)[:6], _others(0.6, 0.7, 0.9)), "it is slow, and goes further"


def test_one_that_learns_nothing_is_stopped() -> None:
    assert _stops(np.full(6, 0.1), _others(0.6, 0.7, 0.9))


def test_the_best_goes_on() -> None:
    flat = np.full(8, 0.95)
    assert not _stops(flat, _others(0.6, 0.7, 0.9))
    assert not _stops((0.95, *np.full(8, 0.1)), _others(0.6, 0.7, 0.9)), "its best value counts, whatever came after"


def test_minimising_mirrors_maximising() -> None:
    losses = _others(0.6, 0.7, 0.9, direction="min")
    for end, rate in ((0.4, 0.5), (0.95, 0.2)):
        values = _exponential(0.1, end, rate)[:6]
        loss = Curve(tuple((-values).tolist()), direction="min", planned=20)
        mirrored = LearningCurveStopper().should_stop(loss, losses) is not None
        assert mirrored == _stops(values, _others(0.6, 0.7, 0.9)) == (end == 0.4)


def test_a_lower_threshold_stops_later() -> None:
    curve, others = _exponential(0.1, 0.7, 0.2), _others(0.6, 0.7, 0.8)
    stopped = [
        next(n for n in range(2, 20) if _stops(curve[:n], others, threshold=threshold, min_epochs=2))
        for threshold in (0.1, 0.01, 1e-6)
    ]
    assert stopped[0] < stopped[1] < stopped[2]


def test_nobody_is_judged_too_early() -> None:
    hopeless, others = np.full(9, 0.1), _others(0.6, 0.7, 0.9)
    judged = [n for n in range(1, 10) if _stops(hopeless[:n], others, min_epochs=5, interval=2)]
    assert judged == [5, 7, 9]
    assert not _stops((0.1, 0.1, NAN, 0.1, 0.1), others, min_epochs=5)
    assert not _stops(hopeless, _others(0.6, 0.9)), "fewer others than min_trials"
    assert not _stops(hopeless, _others(0.6, 0.7, 0.9, epochs=8)), "none has come as far"


def test_without_a_last_epoch_there_is_nothing_to_foretell() -> None:
    others = _others(0.6, 0.7, 0.9)
    for planned in (None, 6):
        assert LearningCurveStopper().should_stop(Curve((0.1,) * 6, planned=planned), others) is None
    assert LearningCurveStopper().should_stop(Curve((0.1,) * 6, planned=7), others) is not None


def test_the_reason_is_in_words() -> None:
    trial = Curve(tuple((-np.full(6, 0.1)).tolist()), direction="min", planned=20)
    reason = LearningCurveStopper().should_stop(trial, _others(0.6, 0.7, 0.9, direction="min"))
    assert reason is not None
    assert reason.startswith("after 6 epochs the chance that it ends, at epoch 20, better than the best value of the")
    assert "others, -0.89" in reason
    assert reason.endswith("below 0.05")


_values = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 0.5, NAN, math.inf, 1e-300])), min_size=1, max_size=12
).map(tuple)


@given(_values, st.lists(_values, min_size=1, max_size=5), st.integers(1, 1000), st.booleans())
def test_nothing_breaks_it(
    values: tuple[float, ...], others: list[tuple[float, ...]], planned: int, maximise: bool
) -> None:
    direction = "max" if maximise else "min"
    curves = {str(n): Curve(other, True, direction, planned) for n, other in enumerate(others)}
    trial = Curve(values, False, direction, planned)
    stopper = LearningCurveStopper(min_epochs=2, min_trials=1)
    with np.errstate(all="raise", under="ignore"):
        reason = stopper.should_stop(trial, curves)
    assert reason == stopper.should_stop(trial, curves)
    assert reason is None or "nan" not in reason


def test_a_decision_takes_little_time() -> None:
    rng = np.random.default_rng(0)
    curves = [_exponential(0.1, end, 0.3) for end in rng.uniform(0.4, 0.9, 1000)]
    others = {str(n): Curve(tuple(curve.tolist()), True, planned=20) for n, curve in enumerate(curves)}
    trial, stopper = Curve(tuple(_exponential(0.1, 0.4, 0.3)[:10].tolist()), planned=20), LearningCurveStopper()
    took = []
    for _ in range(5):
        begun = time.thread_time()
        assert stopper.should_stop(trial, others) is not None
        took.append(time.thread_time() - begun)
    assert min(took) < 0.02


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"threshold": 0}, "threshold"),
        ({"threshold": 1.0}, "threshold"),
        ({"min_epochs": 1}, "min_epochs"),
        ({"min_epochs": 0}, "min_epochs"),
        ({"min_trials": 0}, "min_trials"),
        ({"interval": "2"}, "interval"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` must be .*Received: {name}="):
        LearningCurveStopper(**options)


def test_half_of_the_epochs_is_saved_and_the_best_found_all_the_same() -> None:
    stopper, results = LearningCurveStopper(), []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        families = [(_power, _exponential, _sigmoid)[kind] for kind in rng.integers(0, 3, 64)]
        rates = [rng.uniform(2, 6) if family is _sigmoid else rng.uniform(0.2, 1) for family in families]
        curves = [family(0.1, end, rate) for family, end, rate in zip(families, rng.beta(5, 2, 64), rates, strict=True)]
        noisy = np.array(curves) + rng.normal(0, 0.01, (64, 20))
        done: dict[str, Curve] = {}
        for number, curve in enumerate(noisy.tolist()):
            seen = 1
            while seen < 20 and not stopper.should_stop(Curve(tuple(curve[:seen]), planned=20), done):
                seen += 1
            done[str(number)] = Curve(tuple(curve[:seen]), True, planned=20)
        saved = 1 - sum(curve.epochs for curve in done.values()) / noisy.size
        results.append((saved, noisy.max() - max(curve.best or 0 for curve in done.values())))
    saved_each, lost = np.array(results).T
    assert saved_each.min() > 0.4
    assert lost.mean() < 0.005


def test_heirs_of_trained_weights_are_not_judged() -> None:
    values = tuple(0.3 - 0.2 / (epoch + 1) for epoch in range(8))
    others = {str(i): Curve(tuple(0.9 - 0.3 / (epoch + 1) for epoch in range(20)), ended=True) for i in range(5)}
    stopper = LearningCurveStopper()
    assert stopper.should_stop(Curve(values, planned=20), others)
    assert stopper.should_stop(Curve(values, planned=20, inherited=5), others) is None
