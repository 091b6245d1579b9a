from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel
from sklearn.gaussian_process.kernels import Matern

from cerebro_nas.errors import ConfigError
from cerebro_nas.testing import play
from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners._bayesian import BayesianOracle
from cerebro_nas.tuners._bayesian import _last_fitted
from cerebro_nas.tuners._bayesian import _spread_out
from cerebro_nas.tuners._bayesian_candidates import expected_improvement
from cerebro_nas.tuners._bayesian_candidates import neighbours
from cerebro_nas.tuners._bayesian_models import Forest
from cerebro_nas.tuners._bayesian_models import Process
from cerebro_nas.tuners._bayesian_models import _Posterior
from cerebro_nas.tuners._bayesian_models import fit_scales
from cerebro_nas.tuners._bayesian_targets import targets
from cerebro_nas.tuners._encoding import Encoding

Values = dict[str, Any]
FAILS = None


def plane() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", -5.0, 10.0)
    hps.Float("y", 0.0, 15.0)
    return hps


def branin(values: Values) -> float:
    x, y = values["x"], values["y"]
    valley = (y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6) ** 2
    return float(valley + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10)


def mixed() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["mlp", "cnn"])
    hps.Float("rate", 1e-5, 1e-1, sampling="log")
    hps.Choice("optimizer", ["adam", "sgd", "rmsprop"])
    hps.Int("layers", 1, 6, parent_name="kind", parent_values=["mlp"])
    hps.Choice("kernel", [1, 3, 5, 7], parent_name="kind", parent_values=["cnn"])
    hps.Float("dropout", 0.0, 0.8, parent_name="kind", parent_values=["cnn"])
    return hps


def mixed_loss(values: Values) -> float:
    loss = 0.3 * (math.log10(values["rate"]) + 3) ** 2 + {"adam": 0.0, "sgd": 0.2, "rmsprop": 0.1}[values["optimizer"]]
    if values["kind"] == "mlp":
        return float(loss + 0.5 + 0.1 * abs(values["layers"] - 3))
    return float(loss + 0.1 * abs(values["kernel"] - 3) + (values["dropout"] - 0.4) ** 2)


def tuner(oracle: type[Any] = BayesianOracle, max_trials: int = 25, **kwargs: Any) -> Tuner:
    directory = {name: kwargs.pop(name) for name in ("directory", "resume") if name in kwargs}
    options = {"objective": keras_tuner.Objective("loss", "min"), "seed": 3, "max_trials": max_trials, **kwargs}
    options.setdefault("hyperparameters", plane())
    return Tuner(oracle(**options), max_trials=max_trials, **directory)


def finish(search: Tuner, suggestion: TrialSuggestion, loss: float) -> None:
    if math.isfinite(loss):
        search.report(suggestion.trial_id, 0, {"loss": loss})
    search.finish(suggestion.trial_id, "COMPLETED")


def tried(search: Tuner, objective: Callable[[Values], float | None], workers: int = 1) -> list[Values]:
    return play(search, objective, workers=workers).values


def best(search: Tuner, objective: Callable[[Values], float], workers: int = 1) -> float:
    return min(map(objective, tried(search, objective, workers)))


# --- how good it is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
def test_finds_a_valley_that_chance_does_not(workers: int) -> None:
    ours = [best(tuner(seed=seed, max_trials=30), branin, workers) for seed in (1, 2, 3)]
    chance = [best(tuner(RandomOracle, seed=seed, max_trials=30), branin) for seed in (1, 2, 3)]

    assert np.median(ours) < 0.398 + 0.2
    assert np.median(chance) > 0.398 + 0.3


@pytest.mark.parametrize("surrogate", ["gp", "forest"])
def test_finds_the_right_branch_of_a_mixed_space(surrogate: str) -> None:
    search = tuner(hyperparameters=mixed(), surrogate=surrogate, max_trials=30, num_candidates=300)
    trials = tried(search, mixed_loss, workers=2)

    found = min(trials, key=mixed_loss)

    assert (found["kind"], found["kernel"]) == ("cnn", 3)
    assert mixed_loss(found) < 0.3
    # The search went there, and not by chance.
    assert sum(values["kind"] == "cnn" for values in trials[20:]) >= 6


def test_noise_does_not_keep_it_at_a_lucky_trial() -> None:
    def noisy(values: Values) -> float:
        return branin(values) + rng.gauss(0.0, 3.0)

    rng = random.Random(4)
    last: list[Values] = []
    for seed in (4, 5, 6):
        last += tried(tuner(seed=seed, max_trials=30, num_candidates=500), noisy)[-8:]

    # Half of all configurations lose more than 35.
    assert np.median([branin(values) for values in last]) < 6.0


def test_a_region_that_fails_is_avoided() -> None:
    def half_fails(values: Values) -> float | None:
        return FAILS if values["x"] > 2.0 else branin(values)

    trials = tried(tuner(max_trials=30), half_fails)

    assert sum(values["x"] > 2.0 for values in trials[:4]) > 0
    assert sum(values["x"] > 2.0 for values in trials[15:]) <= 4


def test_a_search_of_failures_goes_on() -> None:
    assert len(tried(tuner(max_trials=15), lambda values: FAILS)) == 15


def test_an_objective_that_is_to_be_maximised() -> None:
    search = tuner(objective=keras_tuner.Objective("loss", "max"), max_trials=25)
    trials = tried(search, lambda values: -branin(values))

    assert min(map(branin, trials)) < 1.0


# --- what is asked of every tuner -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pending", ["believer", "cl_min", "cl_mean", "cl_max", "qucb"])
def test_running_trials_keep_new_ones_away(pending: str) -> None:
    search = tuner(max_trials=40, pending=pending, num_initial_points=5, num_candidates=300)
    for _ in range(8):
        suggestion = search.ask()
        assert isinstance(suggestion, TrialSuggestion)
        finish(search, suggestion, branin(suggestion.values))

    asked = [search.ask() for _ in range(8)]

    points = np.array([[a.values["x"], a.values["y"]] for a in asked if isinstance(a, TrialSuggestion)])
    search.close()
    assert len(np.unique(points.round(6), axis=0)) == 8
    # An oracle that forgot what runs would give one point, time after time.
    assert points.std(axis=0).max() > 0.3


def test_more_trials_than_results_at_the_start() -> None:
    search = tuner(max_trials=20)
    asked = [search.ask() for _ in range(20)]

    assert all(isinstance(suggestion, TrialSuggestion) for suggestion in asked)
    search.close()


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_equal_seeds_give_equal_trials_whatever_numpy_draws(seed: int) -> None:
    def run(seed: int) -> list[Values]:
        return tried(tuner(seed=seed, max_trials=10, hyperparameters=mixed(), num_candidates=50), mixed_loss, 3)

    first = run(seed)
    np.random.rand(7)

    assert run(seed) == first
    assert run(seed + 1) != first


@pytest.mark.parametrize("options", [{}, {"surrogate": "forest"}, {"pending": "qucb"}])
def test_a_search_goes_on_as_if_never_interrupted(options: dict[str, Any]) -> None:
    options = {"max_trials": 27, "num_candidates": 50, "num_initial_points": 20, **options}
    trials = tried(tuner(**options), branin)
    resumed = tuner(**options)
    for number, values in enumerate(trials[:24]):
        resumed.readmit(f"{number:02d}", values)
        resumed.report(f"{number:02d}", 0, {"loss": branin(values)})
        resumed.finish(f"{number:02d}", "COMPLETED")

    assert tried(resumed, branin) == trials[24:]


def test_a_saved_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = tried(tuner(max_trials=12, num_candidates=100), branin)
    begun = tried(tuner(max_trials=8, num_candidates=100, directory=tmp_path), branin)

    rest = tried(tuner(max_trials=12, num_candidates=100, directory=tmp_path, resume=True, seed=9), branin)

    assert [tuple(values.values()) for values in begun + rest] == [tuple(values.values()) for values in whole]


@pytest.mark.parametrize("surrogate", ["gp", "forest"])
def test_a_small_space_is_used_up_without_repetition(surrogate: str) -> None:
    hps = keras_tuner.HyperParameters()
    hps.Choice("a", ["p", "q", "r"])
    hps.Boolean("b")
    hps.Int("c", 1, 3, parent_name="b", parent_values=[True])
    search = tuner(hyperparameters=hps, max_trials=100, surrogate=surrogate, num_candidates=20)
    trials = tried(search, lambda values: float(len(values)), workers=2)

    assert len(trials) == 12
    assert len({tuple(values.items()) for values in trials}) == 12


def test_a_space_of_one_configuration() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Fixed("a", 1)

    assert tried(tuner(hyperparameters=hps), lambda values: 0.0) == [{"a": 1}]


def test_the_space_may_grow_while_trials_run() -> None:
    search = tuner(max_trials=25, num_candidates=100)
    running = search.ask()
    for _ in range(8):
        suggestion = search.ask()
        assert isinstance(suggestion, TrialSuggestion)
        finish(search, suggestion, branin(suggestion.values))
    more = plane()
    more.Choice("kind", ["a", "b"])
    more.Float("z", 0.0, 1.0, parent_name="kind", parent_values=["b"])

    search.update_space(more)

    assert isinstance(running, TrialSuggestion)
    trials = tried(search, branin)
    assert {"x", "y", "kind"} <= set(trials[0])
    assert any("z" in values for values in trials)


def test_starting_configurations_come_first() -> None:
    first, *_ = tried(tuner(initial_hps=[{"x": 1.5}], max_trials=5), branin)

    assert first == {"x": 1.5, "y": 0.0}


def test_the_initial_design_spreads_out() -> None:
    trials = tried(tuner(max_trials=16, num_initial_points=16), branin)

    # As many points of a Sobol sequence lie in each quarter as in every other.
    quarters = np.histogram2d([v["x"] for v in trials], [v["y"] for v in trials], bins=2, range=[[-5, 10], [0, 15]])[0]
    assert quarters.tolist() == [[4, 4], [4, 4]]


@pytest.mark.parametrize(
    "options",
    [
        {"surrogate": "tree"},
        {"pending": "liar"},
        {"acquisition": "pi"},
        {"acquisition": "ei", "pending": "qucb"},
        {"num_initial_points": 0},
        {"num_initial_points": True},
        {"num_candidates": 1.5},
        {"kappa": -1.0},
        {"kappa": math.nan},
        {"xi": "0"},
        {"kappa": 1.0},
        {"kappa": 1.0, "acquisition": "ei"},
        {"xi": 0.0, "acquisition": "lcb"},
        {"xi": 0.1, "pending": "qucb"},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    argument, value = next(iter(options.items()))
    with pytest.raises(ConfigError, match=rf"`{argument}` should be .*Received: {argument}="):
        BayesianOracle(objective="val_loss", **options)
    assert value is not None


def test_kappa_and_xi_are_taken_with_what_they_belong_to() -> None:
    found = [
        BayesianOracle(objective="val_loss", **options)
        for options in ({}, {"xi": 0.2}, {"kappa": 1.0, "pending": "qucb"}, {"kappa": 0.0, "acquisition": "lcb"})
    ]

    assert [(item.acquisition, item.kappa, item.xi) for item in found] == [
        ("ei", 1.96, 0.0),
        ("ei", 1.96, 0.2),
        ("lcb", 1.0, 0.0),
        ("lcb", 0.0, 0.0),
    ]


def test_kappa_and_xi_have_an_effect() -> None:
    def third(**options: Any) -> Values:
        return tried(tuner(max_trials=7, num_initial_points=6, num_candidates=200, **options), branin)[-1]

    assert third(acquisition="lcb", kappa=0.0) != third(acquisition="lcb", kappa=5.0)
    assert third(xi=0.0) != third(xi=2.0)
    assert third(pending="qucb") != third(acquisition="lcb")


# --- parts ------------------------------------------------------------------------------------------------------------


def test_the_gradient_of_the_posterior_is_right() -> None:
    encoding = Encoding(mixed().space)
    rng = np.random.default_rng(0)
    rows = encoding.settle(rng.random((25, len(encoding.dimensions))))
    posterior = _Posterior(encoding.features(rows), rng.normal(size=25), encoding.groups, len(encoding.free))

    for seed in range(3):
        logs = np.random.default_rng(seed).normal(size=len(encoding.free) + 2) * 0.5 - 1.0
        error = check_grad(lambda x: posterior(x)[0], lambda x: posterior(x)[1], logs)
        assert error < 1e-3 * np.linalg.norm(posterior(logs)[1])


def test_the_likelihood_is_that_of_scikit_learn() -> None:
    encoding = Encoding(plane().space)
    rng = np.random.default_rng(1)
    rows, losses = rng.random((20, 2)), rng.normal(size=20)
    losses -= losses.mean()
    logs = np.log([0.3, 0.8, 0.05, 1.7])
    kernel = ConstantKernel(1.7) * Matern([0.3, 0.8], nu=2.5)
    peer = GaussianProcessRegressor(kernel, alpha=0.05, optimizer=None).fit(rows, losses)

    ours = _Posterior(rows, losses, encoding.groups, 2)._likelihood(logs)[0]

    assert ours - 10 * math.log(2 * math.pi) == pytest.approx(peer.log_marginal_likelihood_value_)


def test_length_scales_tell_what_matters_and_noise_is_seen() -> None:
    encoding = Encoding(plane().space)
    rng = np.random.default_rng(2)
    rows = rng.random((80, 2))
    clean = np.sin(6 * rows[:, 0])
    scales = fit_scales(encoding, rows, targets(list(clean)))
    noisy = fit_scales(encoding, rows, targets(list(clean + rng.normal(size=80))))

    assert scales.lengths[1] > 5 * scales.lengths[0]
    assert scales.noise < 1e-3
    assert noisy.noise > 0.1


@pytest.mark.parametrize("kind", ["gp", "forest"])
def test_models_follow_their_observations_and_are_less_sure_away_from_them(kind: str) -> None:
    encoding = Encoding(mixed().space)
    rows = encoding.settle(np.random.default_rng(0).random((80, len(encoding.dimensions))))
    losses = targets([mixed_loss(encoding.values(row)) for row in rows])
    known, rest = slice(0, 60), slice(60, 80)
    model = (
        Forest(encoding, rows[known], losses[known], 0)
        if kind == "forest"
        else Process(encoding, rows[known], losses[known], fit_scales(encoding, rows[known], losses[known]))
    )

    mean, deviation = model.predict(rows)

    assert np.corrcoef(mean[rest], losses[rest])[0, 1] > 0.7
    assert deviation[known].mean() < deviation[rest].mean()


def test_expected_improvement_is_exact_and_tells_the_hopeless_apart() -> None:
    mean, deviation = np.array([0.0, 1.0, -2.0, 3.0]), np.array([1.0, 0.5, 0.1, 2.0])
    z = (0.3 - 0.1 - mean) / deviation
    exact = deviation * (z * norm.cdf(z) + norm.pdf(z))

    assert np.exp(expected_improvement(mean, deviation, 0.3, 0.1)) == pytest.approx(exact)
    far = expected_improvement(np.array([50.0, 60.0, 5000.0]), np.ones(3), 0.0, 0.0)
    assert np.isfinite(far).all()
    assert far[0] > far[1] > far[2]


@settings(max_examples=30, deadline=None)
@given(
    losses=st.lists(
        st.none() | st.floats(-1e9, 1e9) | st.integers(0, 3).map(float),
        min_size=1,
    ).filter(lambda losses: any(loss is not None for loss in losses))
)
def test_targets_keep_the_order_and_put_failures_last(losses: list[float | None]) -> None:
    found = targets(losses)

    assert np.isfinite(found).all()
    assert np.abs(found).max() < 50
    known = [(loss, place) for place, loss in enumerate(losses) if loss is not None]
    for (low, here), (high, there) in zip(sorted(known), sorted(known)[1:], strict=False):
        assert found[here] <= found[there] + 1e-9
        assert low <= high
    assert all(found[place] == found.max() for place, loss in enumerate(losses) if loss is None)


def test_one_trial_that_diverged_leaves_the_others_their_differences() -> None:
    found = targets([0.1, 0.2, 0.3, 0.4, 0.5, 1e12])

    assert found[4] - found[0] > 0.7


def test_neighbours_are_near_new_and_valid() -> None:
    encoding = Encoding(mixed().space)
    rng = np.random.default_rng(0)
    parent = encoding.row({"kind": "cnn", "rate": 1e-3, "optimizer": "sgd", "kernel": 3, "dropout": 0.4})
    found = neighbours(encoding, parent[None], 300, 0.05, rng)
    values = [encoding.values(row) for row in found]

    assert {item["kind"] for item in values} == {"mlp", "cnn"}
    assert all(("layers" in item) == (item["kind"] == "mlp") for item in values)
    assert {item.get("kernel") for item in values} >= {1, 3, 5}
    assert np.nanmedian(np.abs(found[:, 1] - parent[1])) < 0.05
    assert (np.nansum(found != parent, axis=1) > 0).mean() > 0.8


def test_length_scales_are_fitted_now_and_then() -> None:
    assert [_last_fitted(count) for count in (3, 19, 20)] == [3, 19, 20]
    fitted = {_last_fitted(count) for count in range(20, 1001)}
    assert len(fitted) < 50
    assert all(0.85 * count < _last_fitted(count) <= count for count in range(20, 1001))


def test_the_best_and_some_of_the_others_are_kept() -> None:
    losses = np.random.default_rng(0).normal(size=1000)
    kept = _spread_out(losses, 100)

    assert len(set(kept)) == 100
    assert set(np.argsort(losses)[:50]) <= set(kept)
    assert len(_spread_out(losses[:30], 100)) == 30
