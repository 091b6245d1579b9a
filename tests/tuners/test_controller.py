from __future__ import annotations

from typing import Any

import keras_tuner
import numpy as np
import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.tuners._controller import SKIPPED
from cerebro_nas.tuners._controller import Controller
from cerebro_nas.tuners._controller import Floats
from cerebro_nas.tuners._controller import Ints
from cerebro_nas.tuners._controller import Pull
from cerebro_nas.tuners._controller_training import Method
from cerebro_nas.tuners._controller_training import Optimiser
from cerebro_nas.tuners._controller_training import advantages
from cerebro_nas.tuners._controller_training import decoded
from cerebro_nas.tuners._controller_training import encoded
from cerebro_nas.tuners._controller_values import Outcomes

SIZES = [3, 1, 4, 2]
DECISIONS = np.array(
    [[0, SKIPPED, 3, 1], [2, SKIPPED, SKIPPED, 0], [SKIPPED, SKIPPED, 1, 1], [1, SKIPPED, 2, SKIPPED]], np.int64
)


def controller(temperature: float | None = None, tanh_const: float | None = None, spread: float = 0.7) -> Controller:
    made = Controller(5, temperature, tanh_const, seed=3)
    made.grow(SIZES)
    made.weights = np.random.default_rng(0).normal(size=made.weights.shape) * spread
    return made


@pytest.mark.parametrize(("temperature", "tanh_const"), [(None, None), (2.0, 2.25), (5.0, None), (None, 1.5)])
def test_the_gradient_is_that_of_finite_differences(temperature: float | None, tanh_const: float | None) -> None:
    policy = controller(temperature, tanh_const)
    draws = np.random.default_rng(1)
    push = draws.normal(size=DECISIONS.shape)
    pulls = [Pull(0.3, draws.normal(size=size)) for size in SIZES]

    def objective(weights: Floats) -> float:
        policy.weights = weights
        done = policy.run(DECISIONS)
        strains = (pulls[s.head].weight * s.log_p - pulls[s.head].target for s in done.steps)
        drawn = sum(float((np.exp(s.log_p) * strain).sum()) for s, strain in zip(done.steps, strains, strict=True))
        return float((push * done.log_p).sum()) - drawn

    weights = policy.weights.copy()
    gradient = policy.gradient(policy.run(DECISIONS), push, pulls)
    nudges = np.eye(len(weights)) * 1e-6
    numeric = np.array([(objective(weights + nudge) - objective(weights - nudge)) / 2e-6 for nudge in nudges])

    assert np.abs(gradient).max() > 0.1
    np.testing.assert_allclose(gradient, numeric, atol=1e-7)


def draw(policy: Controller, rows: int, flatten: float = 1.0) -> Ints:
    taken = np.full((rows, len(policy.sizes)), SKIPPED, np.int64)

    def take(head: int, which: Ints, numbers: Ints) -> None:
        taken[which, head] = numbers

    policy.sample(rows, lambda head: np.arange(rows), take, np.random.default_rng(0), flatten)
    return taken


def test_draws_follow_the_probabilities_that_run_tells() -> None:
    policy = controller(spread=1.0)
    sequences, counts = np.unique(draw(policy, 20_000), axis=0, return_counts=True)

    told = np.exp(policy.run(sequences).log_p.sum(axis=1))

    assert told.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(counts / 20_000, told, atol=0.015)


def test_flattening_makes_draws_more_alike() -> None:
    policy = controller(spread=2.0)

    assert len(np.unique(draw(policy, 500, 8.0), axis=0)) > len(np.unique(draw(policy, 500), axis=0)) + 3


def test_a_later_decision_depends_on_an_earlier_one() -> None:
    policy = controller()
    log_p = policy.run(np.array([[0, 0, 1, 1], [1, 0, 1, 1]], np.int64)).log_p

    assert abs(log_p[0, 2] - log_p[1, 2]) > 1e-3


def test_what_is_not_decided_has_no_log_probability_and_changes_nothing_after_it() -> None:
    policy = controller()
    whole = policy.run(np.array([[1, SKIPPED, SKIPPED, 1]], np.int64)).log_p[0]
    policy.grow([7])
    longer = policy.run(np.array([[1, SKIPPED, SKIPPED, 1, SKIPPED]], np.int64)).log_p[0]

    assert whole[1] == whole[2] == 0.0
    assert whole[0] < 0.0
    np.testing.assert_array_equal(longer[:4], whole)


def test_temperature_and_tanh_bound_how_sure_the_controller_is() -> None:
    sure = controller(spread=50.0).run(DECISIONS).log_p.min()
    bounded = controller(tanh_const=2.25, spread=50.0).run(DECISIONS).log_p.min()
    warm = controller(temperature=1e6, spread=50.0).run(DECISIONS).log_p

    assert sure < -20
    assert -4.5 - np.log(4) <= bounded < -2
    np.testing.assert_allclose(warm[0, [0, 2, 3]], -np.log([3, 4, 2]), atol=1e-2)


def test_new_hyperparameters_begin_alike_whenever_they_come() -> None:
    once, twice = Controller(4, None, None, 9), Controller(4, None, None, 9)
    once.grow([2, 3])
    twice.grow([2])
    twice.grow([3])

    np.testing.assert_array_equal(once.weights, twice.weights)
    other = Controller(4, None, None, 10)
    other.grow([2, 3])
    assert not np.array_equal(other.weights, once.weights)


# --- rewards ---------------------------------------------------------------------------------------------------------


def test_advantages_are_best_for_the_lowest_loss_and_have_no_unit() -> None:
    losses = [0.9, 0.5, 0.1, 0.6, None]
    plain = advantages(losses, 16, 0.9)
    scaled = advantages([None if loss is None else 1e6 * loss - 3e6 for loss in losses], 16, 0.9)

    assert np.argsort(-plain[:4]).tolist() == [2, 1, 3, 0]
    assert plain[4] == min(plain) <= -1.0
    np.testing.assert_allclose(scaled, plain, rtol=1e-6)


@example([0.0, 8.9e287, 3.3e-21], 3, 1.0)
@given(
    st.lists(st.none() | st.floats(-1e300, 1e300), min_size=1, max_size=30),
    st.integers(1, 20),
    st.floats(0.01, 1.0),
)
def test_advantages_are_bounded_whatever_the_losses(losses: list[float | None], latest: int, decay: float) -> None:
    found = advantages(losses, latest, decay)

    assert len(found) == min(latest, len(losses))
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 3.0


def test_an_absurd_loss_leaves_the_others_in_their_order() -> None:
    found = advantages([1.0, 2.0, 3.0, 4.0, 1e30], 16, 0.9)

    assert found[0] > found[1] + 0.3 > found[2] + 0.6


def test_the_baseline_follows_the_rewards_at_the_speed_of_the_decay() -> None:
    losses = [10.0] * 20 + [1.0] * 10 + [0.9, 1.1]

    assert advantages(losses, 8, 0.5)[0] < advantages(losses, 8, 1.0)[0]


def test_equal_losses_teach_nothing_nor_do_failures_alone() -> None:
    assert not advantages([2.0] * 5, 16, 0.9).any()
    assert not advantages([None] * 5, 16, 0.9).any()


# --- optimisers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "rate"), [("sgd", 0.3), ("momentum", 0.03), ("adam", 0.1)])
def test_every_optimiser_climbs_and_goes_on_from_its_state(method: Method, rate: float) -> None:
    top = np.array([1.0, -2.0])

    def climb(optimiser: Optimiser, weights: Floats, steps: int) -> Floats:
        for _ in range(steps):
            weights = optimiser.step(weights, top - weights)
        return weights

    whole = climb(Optimiser(method, rate), np.zeros(2), 300)
    first, second = Optimiser(method, rate), Optimiser(method, rate)
    half = climb(first, np.zeros(2), 100)
    second.set_state(first.get_state())

    np.testing.assert_allclose(whole, top, atol=0.05)
    np.testing.assert_array_equal(climb(second, half, 200), whole)


@pytest.mark.parametrize("method", ["sgd", "momentum", "adam"])
def test_weights_may_grow_between_steps(method: Method) -> None:
    optimiser = Optimiser(method, 0.1)
    optimiser.step(np.zeros(2), np.ones(2))

    assert (optimiser.step(np.zeros(4), np.ones(4)) > 0).all()


def test_a_huge_gradient_makes_a_step_of_bounded_length() -> None:
    assert np.linalg.norm(Optimiser("sgd", 0.5).step(np.zeros(3), np.full(3, 1e9))) == pytest.approx(0.5)


def test_numbers_come_back_from_text_bit_by_bit() -> None:
    numbers = np.random.default_rng(0).normal(size=100)

    np.testing.assert_array_equal(decoded(encoded(numbers)), numbers)


# --- outcomes --------------------------------------------------------------------------------------------------------

hp = keras_tuner.engine.hyperparameters
RANGES = [
    hp.Float("x", -1.0, 1.0),
    hp.Float("x", 1e-5, 1.0, sampling="log"),
    hp.Float("x", 1e-3, 1.0, sampling="reverse_log"),
    hp.Float("x", 0.0, 1.0, step=0.1),
    hp.Float("x", 0.0, 10.0, step=0.25),
    hp.Float("x", 1e-20, 1.0, step=10, sampling="log"),
    hp.Int("x", 1, 7),
    hp.Int("x", 0, 10**9),
    hp.Int("x", 1, 5, sampling="log"),
    hp.Int("x", 1, 1000, sampling="log"),
    hp.Int("x", 1, 1000, sampling="reverse_log"),
    hp.Int("x", 3, 100, step=7),
    hp.Int("x", 2, 2**20, step=2, sampling="log"),
    hp.Int("x", 2, 2**20, step=2, sampling="reverse_log"),
]


@settings(deadline=None)
@given(
    index=st.integers(0, len(RANGES) - 1), bins=st.integers(2, 16), u=st.floats(0, 1, exclude_max=True), data=st.data()
)
def test_a_value_belongs_to_the_outcome_it_was_drawn_from(index: int, bins: int, u: float, data: Any) -> None:
    outcomes = Outcomes(RANGES[index], bins)
    number = data.draw(st.integers(0, outcomes.size - 1))
    value = outcomes.draw(number, u)

    assert outcomes.size <= bins
    assert RANGES[index].min_value <= value <= RANGES[index].max_value
    assert outcomes.number_of(value) == number
    if RANGES[index].step not in (None, 1):
        assert value in set(RANGES[index].values)


@pytest.mark.parametrize("entry", RANGES, ids=str)
def test_every_value_that_keras_tuner_samples_has_an_outcome(entry: Any) -> None:
    outcomes = Outcomes(entry, 10)
    numbers = [outcomes.number_of(entry.prob_to_value(u / 997)) for u in range(997)]

    assert set(numbers) == set(range(outcomes.size))


def test_steps_are_exact_and_few_values_are_outcomes_of_their_own() -> None:
    stepped = hp.Int("x", 3, 1000, step=7)
    outcomes = Outcomes(stepped, 10)
    drawn = {outcomes.draw(number, u / 50) for number in range(10) for u in range(50)}

    assert drawn == set(range(3, 1001, 7))
    small = Outcomes(hp.Float("x", 0.0, 1.0, step=0.25), 10)
    assert [small.draw(number, 0.9) for number in range(small.size)] == [0, 0.25, 0.5, 0.75, 1.0]


def test_parts_are_even_on_the_logarithmic_scale() -> None:
    outcomes = Outcomes(hp.Float("x", 1e-5, 1.0, sampling="log"), 5)

    assert [outcomes.draw(number, 0.0) for number in range(5)] == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1])


def test_choices_number_their_values_however_many() -> None:
    outcomes = Outcomes(hp.Choice("x", [f"op{i}" for i in range(106)]), 10)

    assert outcomes.size == 106
    assert outcomes.number_of("op105") == 105
    assert outcomes.number_of("none of them") == SKIPPED
    assert Outcomes(hp.Fixed("x", 3), 10).size == 1
    assert Outcomes(hp.Boolean("x"), 10).size == 2
    assert Outcomes(hp.Float("x", 0.0, 1.0), 10).number_of(1.5) == 9
