from __future__ import annotations

from typing import Any

import keras_tuner

from cerebro_nas.testing import Played
from cerebro_nas.testing import play
from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners import Tuner


def _played(score: Any, **options: int) -> Played:
    hps = keras_tuner.HyperParameters()
    hps.Int("n", 0, 1000)
    objective = keras_tuner.Objective("loss", "min")
    oracle = RandomOracle(objective=objective, hyperparameters=hps, seed=2, max_trials=12)
    return play(Tuner(oracle, max_trials=12), score, **options)


def _n(values: dict[str, Any]) -> float:
    return float(values["n"])


def test_one_at_a_time_ends_as_it_began() -> None:
    played = _played(_n)
    assert played.ended == played.begun
    assert played.scores == [values["n"] for values in played.values]
    assert len(set(played.scores)) == 12


def test_those_that_run_end_in_an_order_that_follows_from_its_seed() -> None:
    played, again, other = (_played(_n, workers=4, order=order) for order in (0, 0, 1))
    assert played.scores == again.scores
    assert played.scores != other.scores
    assert sorted(played.scores) == sorted(_n(values) for values in played.values)
    # Nobody ends of whom at most three others were asked for before.
    places = {trial.trial_id: place for place, trial in enumerate(played.begun)}
    assert all(places[trial.trial_id] < place + 4 for place, trial in enumerate(played.ended))


def test_a_trial_without_a_score_fails() -> None:
    played = _played(lambda values: None if values["n"] < 500 else _n(values), workers=2)
    failed = [trial for trial in played.begun if trial.values["n"] < 500]
    assert len(played.ended) == 12
    assert len(played.scores) == 12 - len(failed) < 12
