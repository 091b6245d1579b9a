from __future__ import annotations

import importlib.util
from typing import Any

import keras_tuner
import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.testing import TunerContract
from cerebro_nas.testing import play
from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners._multivariate_tpe import MultivariateTPEOracle

optuna = pytest.importorskip("optuna")

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
        return MultivariateTPEOracle(
            hyperparameters=space, seed=seed, objective=objective, max_trials=max_trials, n_startup_trials=4, **kwargs
        )


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["a", "b", "c"])
    hps.Float("x", 0.0, 1.0)
    hps.Float("y", 0.0, 1.0)
    for kind in ("a", "b", "c"):
        with hps.conditional_scope("kind", [kind]):
            hps.Int(f"{kind}/size", 1, 64, sampling="log")
    return hps


def loss(values: dict[str, Any]) -> float:
    # A narrow valley across both axes: neither of x and y tells much by itself.
    valley = 10 * (values["x"] + values["y"] - 1.0) ** 2 + (values["x"] - 0.3) ** 2
    size = values[f"{values['kind']}/size"]
    return float(valley + (values["kind"] != "b") + ((np.log2(size) - 4) / 6) ** 2)


def make(seed: int, oracle: type[keras_tuner.Oracle] = MultivariateTPEOracle, **kwargs: Any) -> keras_tuner.Oracle:
    return oracle(objective=LOSS, seed=seed, **({"hyperparameters": space()} | kwargs))


def search(oracle: keras_tuner.Oracle, trials: int, *, workers: int = 1, worth: Any = loss) -> list[dict[str, Any]]:
    return play(Tuner(oracle, max_trials=trials), worth, workers=workers).values


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 8])
def test_it_beats_random_search(workers: int) -> None:
    def late(oracle: type[keras_tuner.Oracle]) -> float:
        runs = [search(make(seed, oracle), 50, workers=workers)[25:] for seed in range(4)]
        return float(np.mean([loss(values) for run in runs for values in run]))

    assert late(MultivariateTPEOracle) < 0.5 * late(RandomOracle)


def test_what_goes_together_is_learnt() -> None:
    trials = search(make(1), 50)
    early, late = (
        np.mean([abs(values["x"] + values["y"] - 1.0) for values in part]) for part in (trials[:10], trials[30:])
    )

    assert late < early / 2


def test_failures_are_avoided() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    oracle = make(2, hyperparameters=hps, n_startup_trials=4)
    trials = search(oracle, 40, worth=lambda values: None if values["x"] < 0.6 else (values["x"] - 0.8) ** 2)

    assert sum(values["x"] >= 0.6 for values in trials[20:]) >= 15  # of 20; 8 by chance


def test_what_runs_is_not_proposed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    spread = {}
    for told in (True, False):
        oracle = make(1, hyperparameters=hps)
        if not told:
            monkeypatch.setattr(oracle, "pending", list)
        tuner = Tuner(oracle, max_trials=60)
        for _ in range(20):
            trial = tuner.ask()
            assert isinstance(trial, TrialSuggestion)
            tuner.report(trial.trial_id, 0, {"loss": (trial.values["x"] - 0.5) ** 2})
            tuner.finish(trial.trial_id, "COMPLETED")
        running = [tuner.ask() for _ in range(20)]
        spread[told] = np.std([trial.values["x"] for trial in running if isinstance(trial, TrialSuggestion)])
        tuner.close()

    assert spread[True] > 1.5 * spread[False]


def test_many_failures_push_no_failure_among_the_good() -> None:
    oracle = make(0)
    observations = [
        type("Item", (), {"trial_id": str(n), "loss": 1.0 if n < 10 else None, "values": {}})() for n in range(200)
    ]

    assert [trial.state.name for trial in oracle._finished(observations, most_failed=10)] == (
        ["COMPLETE"] * 10 + ["PRUNED"] * 10
    )


def test_nothing_is_printed_or_warned_of_and_optunas_verbosity_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    for level in (optuna.logging.INFO, optuna.logging.WARNING):
        optuna.logging.set_verbosity(level)
        search(make(0, n_startup_trials=2), 8)  # pytest makes errors of warnings

        assert optuna.logging.get_verbosity() == level
    assert "".join(capfd.readouterr()) == ""


def test_options_reach_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    real = optuna.samplers.TPESampler

    def sampler(**kwargs: Any) -> Any:
        seen.append(kwargs)
        return real(**kwargs)

    monkeypatch.setattr(optuna.samplers, "TPESampler", sampler)
    search(make(0, n_startup_trials=6, n_ei_candidates=7), 9)

    assert len(seen) == 3
    assert {kwargs["n_ei_candidates"] for kwargs in seen} == {7}
    assert len({kwargs["seed"] for kwargs in seen}) == 3


def test_without_optuna_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ImportError, match=r"pip install -e '\.\[optuna\]'"):
        make(0)


@pytest.mark.parametrize(("option", "value"), [("n_startup_trials", 0), ("n_ei_candidates", 2.5)])
def test_wrong_options_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Argument `{option}` should be .* Received: {option}="):
        make(0, **{option: value})
