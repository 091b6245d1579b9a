"""The tuners that evolve a population, beside random search."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import keras_tuner
import numpy as np
import pytest

from cerebro_nas.testing import play
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners._differential_evolution import DifferentialEvolutionOracle
from cerebro_nas.tuners._evolution import EvolutionOracle

Score = Callable[[dict[str, Any]], float]

OPS = "abcdef"

TRIALS = 120


@pytest.fixture(autouse=True)
def _no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the time that KerasTuner takes to write each trial down."""
    monkeypatch.setattr(keras_tuner.Oracle, "save", lambda self: None)
    monkeypatch.setattr(keras_tuner.Oracle, "_save_trial", lambda self, trial: None)


def search(
    kind: type[keras_tuner.Oracle], space: keras_tuner.HyperParameters, seed: int, score: Score, at_a_time: int
) -> list[dict[str, Any]]:
    """The configurations tried, in the order in which they ended: any of those that run may be the next."""
    objective = keras_tuner.Objective("score", "max")
    tuner = Tuner(kind(objective=objective, hyperparameters=space, seed=seed, max_trials=TRIALS), max_trials=TRIALS)
    return [trial.values for trial in play(tuner, score, workers=at_a_time).ended]


def numbers() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    for i in range(6):
        hps.Float(f"x{i}", 0.0, 1.0)
    return hps


def hartmann(values: dict[str, Any]) -> float:
    a = np.array(
        [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
    )
    p = np.array(
        [
            [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
            [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
            [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
            [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
        ]
    )
    x = np.array([values[f"x{i}"] for i in range(6)])
    return float(np.array([1, 1.2, 3, 3.2]) @ np.exp(-(a * (x - p) ** 2).sum(1)))


def layers() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    for layer in range(6):
        hps.Choice(f"layer_{layer}/op", list(OPS))
        for earlier in range(layer):
            hps.Boolean(f"layer_{layer}/skip_{earlier}")
    return hps


def additive(seed: int) -> tuple[Score, Score]:
    """The reward of a macro architecture from 0 to 1, without and with noise."""
    rng = np.random.default_rng(seed)
    ops, skips = rng.random((6, len(OPS))), rng.normal(0, 0.3, 15)
    low = ops.min(1).sum() + np.minimum(skips, 0).sum()
    high = ops.max(1).sum() + np.maximum(skips, 0).sum()

    def reward(values: dict[str, Any]) -> float:
        total = sum(ops[layer, OPS.index(values[f"layer_{layer}/op"])] for layer in range(6))
        bits = [values[f"layer_{layer}/skip_{earlier}"] for layer in range(6) for earlier in range(layer)]
        return float((total + skips @ np.array(bits, float) - low) / (high - low))

    return reward, lambda values: reward(values) + float(rng.normal(0, 0.02))


def chance(space: keras_tuner.HyperParameters, score: Score, draws: int, best_of: int = 1) -> float:
    """What random search comes to: the expected best of so many trials."""
    rng = random.Random(0)
    scores = sorted(score({hp.name: hp.prob_to_value(rng.random()) for hp in space.space}) for _ in range(draws))
    # The probability that the largest of `best_of` is the one of each rank.
    ranks = np.arange(draws + 1) / draws
    return float(np.diff(ranks**best_of) @ np.array(scores))


# How many trials run at a time, and over how many seeds the mean is taken.
SETUPS = [(4, 2), *(pytest.param(number, 12, marks=pytest.mark.slow) for number in (1, 4, 16))]


@pytest.mark.parametrize("kind", [EvolutionOracle, DifferentialEvolutionOracle])
@pytest.mark.parametrize(("at_a_time", "seeds"), SETUPS)
def test_it_beats_random_search_on_numbers(kind: type[keras_tuner.Oracle], at_a_time: int, seeds: int) -> None:
    found = []
    for seed in range(seeds):
        tried = search(kind, numbers(), seed, hartmann, at_a_time)
        found.append(max(hartmann(values) for values in tried))

    assert np.mean(found) > chance(numbers(), hartmann, 4000, best_of=TRIALS) + 0.2


@pytest.mark.parametrize(("kind", "gain"), [(EvolutionOracle, 0.2), (DifferentialEvolutionOracle, 0.1)])
@pytest.mark.parametrize(("at_a_time", "seeds"), SETUPS)
def test_it_beats_random_search_on_architectures(
    kind: type[keras_tuner.Oracle], gain: float, at_a_time: int, seeds: int
) -> None:
    gains = []
    for seed in range(seeds):
        reward, noisy = additive(seed)
        tried = search(kind, layers(), seed, noisy, at_a_time)
        gains.append(np.mean([reward(values) for values in tried[-30:]]) - chance(layers(), reward, 300))

    assert np.mean(gains) > gain
