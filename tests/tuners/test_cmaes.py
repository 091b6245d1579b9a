from __future__ import annotations

from typing import Any
from typing import Literal

import keras_tuner
import numpy as np
import pytest

from cerebro_nas.errors import ConfigError
from cerebro_nas.testing import TunerContract
from cerebro_nas.testing import play
from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners._cmaes import CmaEsOracle

LOSS = keras_tuner.Objective("loss", "min")


class TestContract(TunerContract):
    examples = 4
    trials = 20

    def make_oracle(
        self,
        space: keras_tuner.HyperParameters,
        seed: int,
        objective: keras_tuner.Objective,
        max_trials: int | None,
        **kwargs: Any,
    ) -> keras_tuner.Oracle:
        return CmaEsOracle(
            hyperparameters=space,
            seed=seed,
            objective=objective,
            max_trials=max_trials,
            population_size=4,
            startup_trials=3,
            **kwargs,
        )


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    hps.Float("y", 1e-4, 1.0, sampling="log")
    hps.Int("n", 0, 30)
    hps.Choice("c", ["a", "b", "c"])
    with hps.conditional_scope("c", ["b"]):
        hps.Int("units", 1, 64, sampling="log")
    return hps


def loss(values: dict[str, Any]) -> float:
    near = (values["x"] - 0.3) ** 2 + ((np.log10(values["y"]) + 1) / 4) ** 2 + ((values["n"] - 20) / 30) ** 2
    return float(near + ((np.log2(values["units"]) - 4) / 6) ** 2 / 2 if "units" in values else near + 0.3)


def make(seed: int, oracle: type[keras_tuner.Oracle] = CmaEsOracle, **kwargs: Any) -> keras_tuner.Oracle:
    return oracle(objective=LOSS, seed=seed, **({"hyperparameters": space()} | kwargs))


def search(oracle: keras_tuner.Oracle, trials: int, *, workers: int = 1, worth: Any = loss) -> list[TrialSuggestion]:
    return play(Tuner(oracle, max_trials=trials), worth, workers=workers).begun


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 8])
def test_it_beats_random_search(workers: int) -> None:
    def best(oracle: type[keras_tuner.Oracle]) -> float:
        runs = [search(make(seed, oracle), 120, workers=workers) for seed in range(4)]
        return float(np.mean([min(loss(trial.values) for trial in run) for run in runs]))

    assert best(CmaEsOracle) < best(RandomOracle) / 3


def test_a_generation_follows_on_as_many_results_as_the_population_has() -> None:
    trials = search(make(0, population_size=5, startup_trials=0), 21)

    assert [trial.note["generation"] for trial in trials] == [n // 5 for n in range(21)]


@pytest.mark.parametrize(("startup", "trials"), [(None, 10), (7, 7)])
def test_the_distribution_begins_around_the_best_of_the_first_trials(startup: int | None, trials: int) -> None:
    found = search(make(0, population_size=5, startup_trials=startup, sigma=0.001), trials + 3)
    best = min(found[:trials], key=lambda trial: loss(trial.values))

    assert [bool(trial.note) for trial in found] == [False] * trials + [True] * 3
    assert len({trial.values["x"] for trial in found[:trials]}) == trials
    for trial in found[trials:]:
        assert trial.values["x"] == pytest.approx(best.values["x"], abs=0.01)
        assert trial.values["n"] == pytest.approx(best.values["n"], abs=1)


def test_a_starting_configuration_is_one_of_the_first_trials() -> None:
    start = {"x": 0.3, "y": 0.1, "n": 20, "c": "b", "units": 16}
    found = search(make(0, initial_hps=[start], startup_trials=2, sigma=0.001), 5)

    assert found[0].values == start
    assert [trial.values["n"] for trial in found[2:]] == [20] * 3


def test_it_begins_in_the_middle_if_no_trial_succeeds() -> None:
    found = search(make(0, startup_trials=3, sigma=0.001), 5, worth=lambda _: None)

    assert [trial.values["n"] for trial in found[3:]] == [15] * 2


def test_random_trials_that_end_late_count_too() -> None:
    found = search(make(3, population_size=50, startup_trials=4, sigma=0.001), 60, workers=16)
    random_ones = [trial for trial in found if not trial.note]
    best = min(random_ones, key=lambda trial: loss(trial.values))

    # The first 16 begin together, and one more for each that ends until 4 have ended.
    assert len(random_ones) == 19
    assert random_ones.index(best) > 4
    assert found[-1].note["generation"] == 0
    assert found[-1].values["x"] == pytest.approx(best.values["x"], abs=0.01)
    assert found[-1].values["n"] == pytest.approx(best.values["n"], abs=1)


def test_around_the_best_of_many_random_trials_it_begins_narrower() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    hps.Float("y", 0.0, 1.0)

    def spread(startup: int) -> float:
        oracle = make(0, hyperparameters=hps, startup_trials=startup, population_size=40)
        found = search(oracle, startup + 40, worth=lambda values: values["x"])
        return float(np.std([trial.values["y"] for trial in found[startup:]]))

    # Half the distance between points of which there are n in a square: 1 / 4 for 4, which is more than `sigma`.
    assert 0.025 < spread(100) < 0.075
    assert 0.12 < spread(4) < 0.21


def test_more_trials_than_the_population_has_may_run() -> None:
    trials = search(make(0, population_size=4, startup_trials=0), 40, workers=16)
    generations = [trial.note["generation"] for trial in trials]

    assert generations[:16] == [0] * 16
    assert generations == sorted(generations)
    # All results are counted in, late ones too.
    assert generations[-1] == 24 // 4


def test_asking_leaves_the_distribution_as_it_was() -> None:
    oracle = make(3, population_size=4, startup_trials=4)
    alone = search(oracle, 28)
    tuner = Tuner(make(3, population_size=4, startup_trials=4), max_trials=28)
    for trial in alone:
        # Without `propose`, which has a cache: what it would have kept must not matter.
        tuner.readmit(trial.trial_id, trial.values, trial.parent, trial.note)
        tuner.report(trial.trial_id, 0, {"loss": loss(trial.values)})
        tuner.finish(trial.trial_id, "COMPLETED")
    replayed, other = tuner.oracle._folded(), oracle._folded()
    tuner.close()

    assert replayed.generation == other.generation == 6
    assert list(replayed.draws(1)) == list(other.draws(1))


def test_failures_are_avoided() -> None:
    def worth(values: dict[str, Any]) -> float | None:
        return None if values["x"] < 0.6 else (values["x"] - 0.8) ** 2

    trials = search(make(1), 80, worth=worth)

    assert sum(trial.values["x"] >= 0.6 for trial in trials[40:]) > 32


@pytest.mark.parametrize(("strategy", "restarts"), [("ipop", 1), (None, 0)])
def test_a_flat_function_makes_it_begin_anew_with_twice_the_population(
    strategy: Literal["ipop"] | None, restarts: int
) -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    hps.Float("y", 0.0, 1.0)
    oracle = make(2, hyperparameters=hps, population_size=12, startup_trials=0, restart_strategy=strategy)
    trials = search(oracle, 12 * 16 + 2, workers=12, worth=lambda _: 1.0)

    assert max(trial.note["restart"] for trial in trials) == restarts
    assert oracle._folded()._cma.population_size == 12 * 2**restarts


def test_sigma_is_how_far_the_first_ones_are_apart() -> None:
    spread = {
        sigma: np.std([trial.values["x"] for trial in search(make(0, sigma=sigma, startup_trials=0), 40, workers=40)])
        for sigma in (0.02, 0.2)
    }

    assert 0.01 < spread[0.02] < 0.03
    assert 0.14 < spread[0.2] < 0.26


def test_integers_and_choices_are_not_settled_on_for_good() -> None:
    trials = search(make(5), 120)

    assert len({trial.values["n"] for trial in trials[-30:]}) > 1
    assert {trial.values["c"] for trial in trials[-60:]} > {"b"}


def test_a_space_that_grows_is_gone_on_with() -> None:
    small = keras_tuner.HyperParameters()
    small.Float("x", 0.0, 1.0)
    small.Float("y", 1e-4, 1.0, sampling="log")
    tuner = Tuner(make(0, hyperparameters=small, startup_trials=0), max_trials=40)
    first = tuner.ask()
    tuner.update_space(space())
    second = tuner.ask()
    for trial in (first, second):
        assert isinstance(trial, TrialSuggestion)
        tuner.report(trial.trial_id, 0, {"loss": 1.0})
        tuner.finish(trial.trial_id, "COMPLETED")
    third = tuner.ask()
    tuner.close()

    assert isinstance(second, TrialSuggestion) and isinstance(third, TrialSuggestion)
    assert {"x", "y", "n", "c"} <= set(third.values)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("sigma", 0),
        ("sigma", "wide"),
        ("population_size", 3),
        ("population_size", 8.0),
        ("startup_trials", -1),
        ("startup_trials", 2.0),
        ("restart_strategy", "bipop"),
    ],
)
def test_wrong_options_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Argument `{option}` should be .* Received: {option}="):
        make(0, **{option: value})


def test_one_number_is_too_few() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0)
    hps.Choice("c", ["a", "b"])
    hps.Int("only", 3, 3)

    with pytest.raises(ConfigError, match=r"at least two numeric hyperparameters .* Received: x\."):
        make(0, hyperparameters=hps)
    late = make(0, hyperparameters=None)
    late.update_space(hps)
    with pytest.raises(ConfigError, match="at least two numeric"):
        late.propose()
