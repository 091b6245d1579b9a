from __future__ import annotations

from typing import Any

import keras_tuner
import numpy as np

from cerebro_nas.testing import TunerContract
from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners._sobol import SobolOracle

LOSS = keras_tuner.Objective("loss", "min")


class TestContract(TunerContract):
    def make_oracle(
        self,
        space: keras_tuner.HyperParameters,
        seed: int,
        objective: keras_tuner.Objective,
        max_trials: int | None,
        **kwargs: Any,
    ) -> keras_tuner.Oracle:
        return SobolOracle(hyperparameters=space, seed=seed, objective=objective, max_trials=max_trials, **kwargs)


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    hps.Float("y", 1e-4, 1.0, sampling="log")
    hps.Choice("c", ["a", "b", "c", "d"])
    return hps


def asked(oracle: keras_tuner.Oracle, trials: int) -> list[TrialSuggestion]:
    tuner = Tuner(oracle, max_trials=trials)
    found = [answer for _ in range(trials) if isinstance(answer := tuner.ask(), TrialSuggestion)]
    tuner.close()
    return found


def make(seed: int, oracle: type[keras_tuner.Oracle] = SobolOracle, **kwargs: Any) -> keras_tuner.Oracle:
    return oracle(objective=LOSS, seed=seed, **({"hyperparameters": space()} | kwargs))


def test_every_part_of_the_space_has_its_share() -> None:
    # Of 64 points of a (t, m, s)-net each eighth of a range, and each fourth of the choices, has exactly its share.
    for seed in range(2):
        trials = asked(make(seed), 64)
        x = np.histogram([t.values["x"] for t in trials], 8, (0, 1))[0]
        y = np.histogram([np.log10(t.values["y"]) for t in trials], 8, (-4, 0))[0]
        assert x.tolist() == y.tolist() == [8] * 8
        assert sorted([t.values["c"] for t in trials].count(c) for c in "abcd") == [16] * 4


def test_gaps_are_smaller_than_those_of_random_points() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    hps.Float("y", 0.0, 1.0)
    grid = np.stack(np.meshgrid(*[np.linspace(0.02, 0.98, 25)] * 2), -1).reshape(-1, 1, 2)

    def gap(oracle: type[keras_tuner.Oracle], seed: int) -> float:
        trials = asked(make(seed, oracle, hyperparameters=hps), 32)
        points = np.array([[t.values["x"], t.values["y"]] for t in trials])
        return float(np.linalg.norm(grid - points, axis=2).min(axis=1).max())

    assert np.mean([gap(SobolOracle, s) for s in range(4)]) < 0.8 * np.mean([gap(RandomOracle, s) for s in range(4)])


def test_the_sequence_goes_on_where_it_was() -> None:
    points = [trial.note["point"] for trial in asked(make(1), 20)]

    assert points == list(range(20))


def test_seeds_scramble_differently() -> None:
    first, second = (asked(make(seed), 16) for seed in (0, 1))

    assert {t.values["x"] for t in first}.isdisjoint({t.values["x"] for t in second})


def test_starting_points_use_up_none_of_the_sequence() -> None:
    trials = asked(make(2, initial_hps=[{"x": 0.5}]), 9)

    assert [t.values for t in trials[1:]] == [t.values for t in asked(make(2), 8)]


def test_tried_points_are_passed_over() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Int("n", 0, 9)
    trials = asked(make(3, hyperparameters=hps), 20)

    assert sorted(t.values["n"] for t in trials) == list(range(10))


def test_a_space_that_grows_is_gone_on_with() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    oracle = make(0, hyperparameters=hps)
    tuner = Tuner(oracle, max_trials=40)
    first = tuner.ask()
    tuner.update_space(space())
    rest = [answer.values for _ in range(32) if isinstance(answer := tuner.ask(), TrialSuggestion)]
    tuner.close()

    assert isinstance(first, TrialSuggestion) and set(first.values) == {"x"}
    assert len({values["c"] for values in rest}) == 4 and len({values["y"] for values in rest}) == 32
