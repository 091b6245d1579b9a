from __future__ import annotations

import statistics
import time
from typing import Any

import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners import Exhausted
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import Wait
from cerebro_nas.tuners._asha import AshaOracle
from cerebro_nas.tuners._bohb import AsyncBohbOracle
from cerebro_nas.tuners._bohb import BohbOracle
from cerebro_nas.tuners._encoding import Encoding
from cerebro_nas.tuners._hyperband import HyperbandOracle
from cerebro_nas.tuners._kde import Density
from cerebro_nas.tuners._kde import impute
from cerebro_nas.tuners._pareto import comparable
from cerebro_nas.tuners._rungs import RungedOracle
from cerebro_nas.tuners._stages import Dismissal


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    hps.Float("rate", 1e-4, 1.0, sampling="log")
    hps.Choice("kind", ["a", "b", "c"])
    hps.Int("b/units", 1, 64, parent_name="kind", parent_values=["b"])
    hps.Fixed("fixed", 3)
    return hps


def loss(values: dict[str, Any]) -> float:
    """Best at x = 0.7, rate = 0.01, kind = b with 40 units."""
    found = abs(values["x"] - 0.7) + abs(np.log10(values["rate"]) + 2) / 4
    found += {"a": 1.0, "b": 0.0, "c": 0.6}[values["kind"]] + abs(values.get("b/units", 40) - 40) / 64
    return float(found)


def make(kind: type[RungedOracle], max_trials: int, direction: str = "min", **options: Any) -> Tuner:
    arguments: dict[str, Any] = {"hyperparameters": space(), "max_resource": 9, "seed": 0, "max_trials": max_trials}
    oracle = kind(objective=keras_tuner.Objective("score", direction), **{**arguments, **options})
    # Writing files is most of the time that KerasTuner takes.
    oracle.save = oracle._save_trial = lambda *_: None
    return Tuner(oracle, max_trials=max_trials)


def play(tuner: Tuner, failing: str = "") -> list[dict[str, Any]]:
    """One worker; what is proposed, in that order."""
    found = []
    while not isinstance(reply := tuner.ask(), Exhausted):
        assert not isinstance(reply, Wait)
        if isinstance(reply, Dismissal):
            tuner.finish(reply.trial_id, "STOPPED")
            continue
        if isinstance(reply, TrialSuggestion):
            found.append(reply.values)
        stage = reply.stage
        assert stage is not None
        values = tuner.oracle.trials[reply.trial_id].hyperparameters.values
        sign = 1 if tuner.objective.direction == "min" else -1
        if values["kind"] == failing:
            tuner.finish(reply.trial_id, "FAILED")
            continue
        tuner.report(reply.trial_id, stage.until - 1, {"score": sign * (loss(values) + 1 / stage.until)})
        if stage.last:
            tuner.finish(reply.trial_id, "COMPLETED")
        else:
            tuner.pause(reply.trial_id)
    tuner.close()
    return found


PAIRS = [(BohbOracle, HyperbandOracle), (AsyncBohbOracle, AshaOracle)]


@pytest.mark.parametrize(("ours", "without"), PAIRS)
@pytest.mark.parametrize("direction", ["min", "max"])
def test_later_proposals_are_better_than_random_ones(
    ours: type[RungedOracle], without: type[RungedOracle], direction: str
) -> None:
    def late(kind: type[RungedOracle], seed: int) -> float:
        return statistics.mean(map(loss, play(make(kind, 70, direction, seed=seed))[30:]))

    assert all(late(ours, seed) < late(without, seed) - 0.15 for seed in range(2))


@pytest.mark.parametrize(("ours", "without"), PAIRS)
def test_a_random_fraction_of_one_is_the_schedule_alone(ours: type[RungedOracle], without: type[RungedOracle]) -> None:
    every: list[tuple[type[RungedOracle], dict[str, Any]]] = [
        (ours, {"random_fraction": 1.0}),
        (without, {}),
        (ours, {}),
    ]
    kinds = [statistics.mean(map(loss, play(make(kind, 60, **options)))) for kind, options in every]

    assert abs(kinds[0] - kinds[1]) < 0.2
    assert kinds[2] < min(kinds[:2]) - 0.1


def test_what_fails_is_avoided() -> None:
    values = play(make(BohbOracle, 80, random_fraction=0.2), failing="b")

    assert sum(item["kind"] == "b" for item in values[40:]) < 12


@pytest.mark.parametrize("max_trials", [4, 40])
def test_the_highest_rung_with_enough_trials_is_the_model(max_trials: int) -> None:
    tuner = make(BohbOracle, max_trials, min_points=2)
    play(tuner)
    oracle = tuner.oracle
    assert isinstance(oracle, BohbOracle)
    results = oracle.results()

    split = oracle._split(4)
    enough = [level for level, found in results.items() if len(found) >= 4]
    assert split is not None
    good, others = split
    assert set(good) | set(others) == set(results[max(enough)])
    assert len(good) >= 2
    assert len(others) >= 2
    losses = comparable(results[max(enough)])
    assert max(losses[name] for name in good) <= min(losses[name] for name in others)
    assert oracle._split(0) is None
    oracle.min_points = 50
    assert oracle._split(4) is None


def test_fifteen_in_a_hundred_are_good_ones() -> None:
    tuner = make(AsyncBohbOracle, 60, max_resource=1)
    play(tuner)
    oracle = tuner.oracle
    assert isinstance(oracle, AsyncBohbOracle)
    oracle.min_points = 2

    good, others = oracle._split(4) or ([], [])
    assert (len(good), len(others)) == (9, 51)
    tuner.close()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("random_fraction", 1.1),
        ("top_n_percent", 0),
        ("num_samples", 0),
        ("bandwidth_factor", 0),
        ("min_bandwidth", 0.0),
        ("min_points", 1),
        ("random_fraction", True),
    ],
)
def test_wrong_options_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Argument `{option}` should be .*Received: {option}="):
        make(BohbOracle, 3, **{option: value})


# --- densities --------------------------------------------------------------------------------------------------------

_SIZES = np.array([0.0, 3.0])


def _rows(generator: np.random.Generator, number: int) -> Any:
    return np.column_stack([generator.random(number), generator.integers(3, size=number)]).astype(float)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), number=st.integers(2, 30))
def test_a_density_integrates_to_one(seed: int, number: int) -> None:
    density = Density(_rows(np.random.default_rng(seed), number), _SIZES, 0.02)
    grid = np.linspace(-3, 4, 3001)
    points = np.array([(x, choice) for choice in range(3) for x in grid], float)

    assert np.exp(density.log(points)).sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)
    # Of one alone too.
    alone = np.array([(np.nan, choice) for choice in range(3)], float)
    assert np.exp(density.log(alone)).sum() == pytest.approx(1)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), number=st.integers(2, 30), stretch=st.floats(0.1, 10))
def test_samples_are_in_range(seed: int, number: int, stretch: float) -> None:
    generator = np.random.default_rng(seed)
    points = Density(_rows(generator, number), _SIZES, 1e-3).sample(50, stretch, generator)

    assert ((points[:, 0] >= 0) & (points[:, 0] <= 1)).all()
    assert set(points[:, 1]) <= {0, 1, 2}


def test_density_is_highest_where_the_rows_are() -> None:
    density = Density(np.array([[0.2, 1], [0.22, 1], [0.25, 1], [0.21, 2]], float), _SIZES, 1e-3)
    near, far, other = density.log(np.array([[0.22, 1], [0.9, 1], [0.22, 0]], float))

    assert near > far
    assert near > other


def test_rows_that_agree_leave_the_least_bandwidth() -> None:
    density = Density(np.full((5, 2), 1.0), _SIZES, 0.01)

    assert density.bandwidths.tolist() == [0.01, 0.01]


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_what_is_missing_is_taken_from_other_rows(seed: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    rows = _rows(generator, 12)
    holes = generator.random(rows.shape) < share
    given = np.where(holes, np.nan, rows)
    full = impute(given, _SIZES, generator)

    assert np.isnan(given).sum() == holes.sum()
    assert not np.isnan(full).any()
    assert (full[~holes] == rows[~holes]).all()
    for place in range(2):
        known = set(rows[~holes[:, place], place])
        assert set(full[:, place]) <= (known or set(full[:, place]))
        assert known or place == 0 or set(full[:, place]) <= {0, 1, 2}


def test_a_proposal_takes_little_time_after_a_thousand_trials() -> None:
    hps = keras_tuner.HyperParameters()
    for place in range(15):
        hps.Float(f"float_{place}", 0.0, 1.0)
    for place in range(5):
        hps.Choice(f"choice_{place}", ["a", "b", "c"])
        hps.Int(f"int_{place}", 1, 100, parent_name=f"choice_{place}", parent_values=["a", "b"])
    tuner = make(AsyncBohbOracle, 2000, hyperparameters=hps, max_resource=1, random_fraction=0.0)
    oracle = tuner.oracle
    assert isinstance(oracle, AsyncBohbOracle)
    # As if they had been played, which takes longer.
    encoding = Encoding(hps.space)
    rows = encoding.settle(np.random.default_rng(0).random((1000, len(encoding.dimensions))))
    for number, row in enumerate(rows):
        trial = keras_tuner.engine.trial.Trial(keras_tuner.HyperParameters(), str(number), "COMPLETED")
        trial.hyperparameters.values = encoding.values(row)
        oracle.trials[str(number)] = trial
        oracle._send(str(number), 0, 0)
        oracle._brackets[0][0].losses[str(number)] = float(number % 97)
    started = time.process_time()
    assert oracle._modelled_values() is not None
    assert time.process_time() - started < 1.0
    tuner.close()
