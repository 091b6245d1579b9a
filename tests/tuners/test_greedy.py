from __future__ import annotations

from typing import Any

import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.testing import play
from cerebro_nas.tuners import GreedyOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import make_tuner

BLOCKS = ("conv_block_1", "dense_block_1")


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    for block in BLOCKS:
        for name in ("a", "b", "c"):
            hps.Choice(f"{block}/{name}", list(range(10)))
    hps.Fixed("learning_rate", 0.001)
    hps.Choice("optimizer", ["adam", "sgd", "rmsprop"])
    return hps


def score(values: dict[str, Any]) -> float:
    return float(sum(value for name, value in values.items() if "/" in name))


def search(tuner: Tuner) -> list[dict[str, Any]]:
    """The configurations that one trial at a time proposes; the score is the sum of the values."""
    return play(tuner, score).values


def greedy(max_trials: int = 15, **kwargs: Any) -> Tuner:
    options = {"objective": "val_accuracy", "hyperparameters": space(), "seed": 3, **kwargs}
    return make_tuner("greedy", max_trials=max_trials, **options)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.integers(0, 100))
def test_equal_seeds_give_equal_trials_whatever_numpy_draws(seed: int, noise: int) -> None:
    np.random.seed(0)
    first = search(greedy(10, seed=seed))
    np.random.seed(noise)
    np.random.rand(noise)

    assert (search(greedy(10, seed=seed))) == first
    assert (search(greedy(10, seed=seed + 1))) != first


def test_exploiting_varies_one_subtree_of_the_best() -> None:
    trials = search(greedy(40, exploration=0.0))

    local = 0
    for number, values in enumerate(trials[5:], start=5):
        best = max(trials[:number], key=score)
        changed = {name for name in values if values[name] != best[name]}
        assert changed
        local += len({name.split("/")[0] for name in changed}) == 1
    # Only the root of the tree, the least probable of its ten nodes, changes more than one block.
    assert local > 25


def test_greedy_beats_pure_exploration() -> None:
    def best(exploration: float) -> float:
        return sum(max(map(score, search(greedy(100, exploration=exploration, seed=seed)))) for seed in range(3))

    assert best(0.1) > best(1.0) + 6


def centred() -> keras_tuner.HyperParameters:
    """A space whose defaults are far from where random values are."""
    hps = keras_tuner.HyperParameters()
    for block in BLOCKS:
        for name in ("a", "b", "c"):
            hps.Choice(f"{block}/{name}", list(range(100)), default=50)
    return hps


def test_it_begins_with_the_default_values_and_varies_half_of_the_trials_that_nothing_is_known_for() -> None:
    tuner = greedy(60, hyperparameters=centred(), exploration=0.0)
    asked = [tuner.ask() for _ in range(60)]
    first, *others = [suggestion.values for suggestion in asked if isinstance(suggestion, TrialSuggestion)]

    assert set(first.values()) == {50}
    varied = [{name.split("/")[0] for name, value in values.items() if value != 50} for values in others]
    # The root of the tree, the least probable of its nine nodes, changes both blocks too.
    assert 18 < sum(len(blocks) == 1 for blocks in varied) < 40
    tuner.close()


def test_the_first_result_is_exploited_already() -> None:
    first, second, *_ = search(greedy(4, hyperparameters=centred(), exploration=0.0))

    assert sum(first[name] == second[name] for name in first) >= 3


@pytest.mark.parametrize("seed", range(5))
def test_the_first_trial_is_the_default_one_however_much_is_explored(seed: int) -> None:
    first, second, *_ = search(greedy(4, hyperparameters=centred(), exploration=1.0, seed=seed))

    assert set(first.values()) == {50}
    assert sum(value == 50 for value in second.values()) <= 2


@pytest.mark.parametrize("seed", range(5))
def test_what_was_not_varied_yet_has_its_turn_though_it_has_two_values(seed: int) -> None:
    hps = keras_tuner.HyperParameters()
    for name in "abcdefgh":
        hps.Choice(name, list(range(10)))
    hps.Boolean("z", default=False)
    # Every trial is better than all before it: what was tried must be known though the best trial is another each time.
    tuner = greedy(20, hyperparameters=hps, exploration=0.0, seed=seed)
    tried = []
    while isinstance(suggestion := tuner.ask(), TrialSuggestion):
        tried.append(suggestion.values)
        tuner.report(suggestion.trial_id, 0, {"val_accuracy": float(len(tried))})
        tuner.finish(suggestion.trial_id, "COMPLETED")
    tuner.close()

    assert {values["z"] for values in tried} == {0, 1}
    assert min(len({values[name] for values in tried}) for name in "abcdefgh") > 1


def test_a_cold_start_is_random() -> None:
    for values in search(greedy(5, hyperparameters=centred(), exploration=0.0, cold_start=5)):
        assert sum(value == 50 for value in values.values()) <= 2


def test_initial_configurations_stand_for_the_defaults() -> None:
    wanted = {"conv_block_1/a": 7}
    first, second, *_ = search(greedy(3, hyperparameters=centred(), initial_hps=[wanted], exploration=0.0))

    assert first["conv_block_1/a"] == 7
    assert set(second.values()) != {50}


def test_defaults_that_failed_are_no_result() -> None:
    def after_a_failure(seed: int) -> int:
        tuner = greedy(2, hyperparameters=centred(), exploration=0.0, seed=seed)
        first = tuner.ask()
        assert isinstance(first, TrialSuggestion)
        tuner.finish(first.trial_id, "FAILED")
        second = tuner.ask()
        assert isinstance(second, TrialSuggestion)
        tuner.close()
        return sum(value != 50 for value in second.values.values())

    changed = [after_a_failure(seed) for seed in range(12)]
    assert min(changed) in (1, 2, 3)
    assert max(changed) > 3


def test_a_default_that_is_a_whole_number_is_not_varied_to_the_same_number() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Choice("dropout", [0.0, 0.25, 0.5], default=0)
    hps.Choice("a", [1, 2])
    for seed in range(10):
        first, second = search(greedy(2, hyperparameters=hps, exploration=0.0, seed=seed))
        assert first != second


def test_fixed_values_stay_fixed() -> None:
    assert {values["learning_rate"] for values in search(greedy(20))} == {0.001}


def test_integer_exploration_counts_per_round() -> None:
    tuner = greedy(5 + 12, exploration=1, parallelism=4, cold_start=5)
    oracle = tuner.oracle

    assert [oracle._explores(number) for number in range(8)] == [True, False, False, False] * 2
    tuner.close()


def test_initial_configurations_come_first_and_take_defaults() -> None:
    wanted = {"conv_block_1/a": 7, "optimizer": "sgd"}
    first, second, *_ = search(greedy(6, initial_hps=[wanted]))

    assert first["conv_block_1/a"] == 7
    assert first["optimizer"] == "sgd"
    assert first["dense_block_1/b"] == 0
    assert second != first


def test_asks_do_not_wait_for_results() -> None:
    tuner = greedy(12)
    suggestions = [tuner.ask() for _ in range(12)]

    ids = {s.trial_id for s in suggestions if isinstance(s, TrialSuggestion)}
    assert len(ids) == 12
    tuner.close()


def test_a_new_conditional_part_is_sampled_whole() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["x", "y"])
    for kind in ("x", "y"):
        hps.Choice(f"{kind}/size", list(range(50)), parent_name="kind", parent_values=[kind])
    for values in search(greedy(30, hyperparameters=hps, exploration=0.0)):
        assert set(values) == {"kind", f"{values['kind']}/size"}


def test_state_goes_on_where_it_stopped(tmp_path: Any) -> None:
    whole = search(greedy(14))
    first = greedy(7, directory=tmp_path)
    begun = search(first)

    rest = search(greedy(14, directory=tmp_path, resume=True, seed=99))

    assert begun + rest == whole


@pytest.mark.parametrize("exploration", [1.0, 0.0])
def test_a_small_space_is_used_up_without_repetition(exploration: float) -> None:
    hps = keras_tuner.HyperParameters()
    hps.Choice("a", [0, 1, 2])
    hps.Boolean("b")
    trials = search(greedy(100, hyperparameters=hps, exploration=exploration))

    assert len(trials) == 6
    assert len({tuple(values.items()) for values in trials}) == 6


@pytest.mark.parametrize(
    "options",
    [
        {"exploration": 7.5},
        {"exploration": -0.1},
        {"exploration": True},
        {"exploration": "0.2"},
        {"exploration": float("nan")},
        {"exploration": 2},
        {"exploration": 3, "parallelism": 2},
        {"cold_start": -3},
        {"parallelism": 0},
    ],
)
def test_the_class_refuses_wrong_options(options: dict[str, Any]) -> None:
    name = next(iter(options))
    with pytest.raises(ConfigError, match=f"Argument `{name}` should be .*Received: {name}="):
        GreedyOracle(objective="val_loss", **options)
    GreedyOracle(objective="val_loss", exploration=2, parallelism=2, cold_start=0)
