from __future__ import annotations

import logging
from typing import Any

import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.testing import TunerContract
from cerebro_nas.testing import play
from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners._tpe import TPEOracle

LOSS = keras_tuner.Objective("loss", "min")


class TestContract(TunerContract):
    examples = 4

    def make_oracle(
        self,
        space: keras_tuner.HyperParameters,
        seed: int,
        objective: keras_tuner.Objective,
        max_trials: int | None,
        **kwargs: Any,
    ) -> keras_tuner.Oracle:
        return TPEOracle(
            hyperparameters=space, seed=seed, objective=objective, max_trials=max_trials, n_startup_jobs=4, **kwargs
        )


def branches() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["a", "b", "c"])
    hps.Float("rate", 1e-4, 1.0, sampling="log")
    for kind in ("a", "b", "c"):
        with hps.conditional_scope("kind", [kind]):
            hps.Int(f"{kind}/size", 0, 19)
    return hps


def loss(values: dict[str, Any]) -> float:
    size = values[f"{values['kind']}/size"]
    return float((values["kind"] != "b") + ((size - 14) / 20) ** 2 + (np.log10(values["rate"]) + 2) ** 2 / 16)


def search(oracle: keras_tuner.Oracle, trials: int, *, workers: int = 1) -> list[dict[str, Any]]:
    return play(Tuner(oracle, max_trials=trials), loss, workers=workers).values


def make(oracle: type[keras_tuner.Oracle], seed: int, **kwargs: Any) -> keras_tuner.Oracle:
    return oracle(hyperparameters=branches(), objective=LOSS, seed=seed, max_trials=60, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 8])
def test_it_beats_random_search(workers: int) -> None:
    def late(oracle: type[keras_tuner.Oracle]) -> float:
        runs = [search(make(oracle, seed), 45, workers=workers)[25:] for seed in range(4)]
        return float(np.mean([loss(values) for run in runs for values in run]))

    assert late(TPEOracle) < 0.75 * late(RandomOracle)


def test_the_branch_that_is_good_is_gone_into() -> None:
    trials = search(make(TPEOracle, 4, n_startup_jobs=6, n_ei_candidates=50, gamma=0.9), 30)

    assert sum(values["kind"] == "b" for values in trials[15:]) > 9


@pytest.mark.parametrize(("max_trials", "startup"), [(None, 20), (200, 20), (50, 10), (3, 0)])
def test_it_begins_with_no_more_than_a_fifth_of_all_trials(max_trials: int | None, startup: int) -> None:
    oracle = TPEOracle(hyperparameters=branches(), objective=LOSS, seed=0, max_trials=max_trials)

    assert oracle.n_startup_jobs == startup


def test_what_runs_is_not_proposed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    near = {}
    for told in (True, False):
        oracle = TPEOracle(hyperparameters=hps, objective=LOSS, seed=1, n_startup_jobs=5)
        if not told:
            monkeypatch.setattr(oracle, "pending", list)
        tuner = Tuner(oracle, max_trials=60)
        for _ in range(20):
            trial = tuner.ask()
            assert isinstance(trial, TrialSuggestion)
            tuner.report(trial.trial_id, 0, {"loss": (trial.values["x"] - 0.5) ** 2})
            tuner.finish(trial.trial_id, "COMPLETED")
        running = [tuner.ask() for _ in range(20)]
        near[told] = np.std([trial.values["x"] for trial in running if isinstance(trial, TrialSuggestion)])
        tuner.close()

    assert near[True] > 1.5 * near[False]


def test_failures_are_avoided() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    oracle = TPEOracle(hyperparameters=hps, objective=LOSS, seed=2, n_startup_jobs=6, gamma=0.9)
    tuner = Tuner(oracle, max_trials=40)
    late = []
    for number in range(40):
        trial = tuner.ask()
        assert isinstance(trial, TrialSuggestion)
        works = trial.values["x"] > 0.6
        if works:
            tuner.report(trial.trial_id, 0, {"loss": (trial.values["x"] - 0.8) ** 2})
        tuner.finish(trial.trial_id, "COMPLETED" if works else "FAILED")
        late += [works] if number >= 20 else []
    tuner.close()

    assert sum(late) >= 14  # of 20; 8 by chance


@settings(max_examples=30)
@given(st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=1, max_size=700), st.floats(0.01, 0.99))
def test_hyperopt_is_given_the_good_ones_and_the_latest(losses: list[float | None], gamma: float) -> None:
    oracle = TPEOracle(objective=LOSS, gamma=gamma)
    rows = [(np.inf if value is None else value, {"row": float(n)}) for n, value in enumerate(losses)]
    done = sum(value is not None for value in losses)

    kept, good = oracle._split(rows)

    assert good <= min(done, 25)
    assert sorted(row[0] for row in rows)[:good] == sorted(row[0] for row in kept)[:good]
    assert len(kept) == min(len(rows), 500 + good)
    assert [row[1]["row"] for row in kept] == sorted(row[1]["row"] for row in kept)


@pytest.mark.slow
def test_many_candidates_choose_better_than_one() -> None:
    def mean(candidates: int) -> float:
        trials = [search(make(TPEOracle, seed, n_ei_candidates=candidates), 45)[25:] for seed in range(4)]
        return float(np.mean([loss(values) for run in trials for values in run]))

    assert mean(24) < mean(1)


@pytest.mark.slow
def test_a_heavy_prior_explores() -> None:
    def spread(weight: float) -> float:
        trials = search(make(TPEOracle, 1, prior_weight=weight, n_startup_jobs=10, n_ei_candidates=1), 60)[30:]
        return len({values["kind"] for values in trials}) + float(np.std([np.log10(v["rate"]) for v in trials]))

    assert spread(50.0) > spread(0.01)


def test_nothing_is_printed_or_logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        search(make(TPEOracle, 0, n_startup_jobs=3), 8)

    assert [record for record in caplog.records if record.name.startswith("hyperopt")] == []
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("gamma", 0.0),
        ("gamma", float("nan")),
        ("gamma", "much"),
        ("prior_weight", 0),
        ("prior_weight", float("inf")),
        ("n_ei_candidates", 0),
        ("n_startup_jobs", -1),
        ("n_startup_jobs", True),
    ],
)
def test_wrong_options_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Argument `{option}` should be .* Received: {option}="):
        TPEOracle(objective=LOSS, **{option: value})
