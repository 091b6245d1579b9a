"""What `hp_choice` and its like mean: values, bounds, distributions, and what they refuse."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.errors import ConfigError
from cerebro_nas.tune import hp_choice
from cerebro_nas.tune import hp_loguniform
from cerebro_nas.tune import hp_qloguniform
from cerebro_nas.tune import hp_quniform
from cerebro_nas.tune import hp_uniform
from cerebro_nas.tune._hyperparameters import ParameterSpace
from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners._enumerate import ordered_values

DRAWS = 400


def drawn(entries: dict[str, Any], count: int = DRAWS, seed: int = 0) -> list[dict[str, Any]]:
    """What the user's function is given in a random search."""
    space = ParameterSpace(entries)
    found = []
    for number in range(count):
        oracle = RandomOracle(objective=None, max_trials=1, hyperparameters=space.space(), seed=seed + number)
        found.append(space.params(oracle.complete_randomly({})))
    return found


def values(entry: Any, count: int = DRAWS) -> list[Any]:
    return [params["x"] for params in drawn({"x": entry}, count)]


# --- choices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        [1, 2, 3],
        [0.1, 0.01],
        ["relu", "tanh"],
        [True, False],
        [1, 2.5],
        [None, "l2"],
        [(64, 32), (128,)],
        [[3, 3], [5, 5]],
        [{"units": 3}, {"units": 5}],
        [True, 1, 1.0, "1"],
        range(3),
    ],
)
def test_a_choice_gives_its_options_as_they_are(options: Any) -> None:
    found = values(hp_choice(options), 60)
    assert {repr(value) for value in found} == {repr(value) for value in options}


def test_numpys_numbers_are_numbers() -> None:
    found = values(hp_choice(list(np.array([16, 32]))), 20)
    assert set(found) == {16, 32}
    assert all(type(value) is int for value in found)


def test_a_choice_is_what_a_journal_can_hold() -> None:
    space = ParameterSpace({"x": hp_choice([None, (1, 2), 0.5])}).space()
    assert json.loads(json.dumps(space.values)) == space.values


def test_an_option_that_is_given_twice_is_one() -> None:
    space = ParameterSpace({"x": hp_choice([1, 2, 1])}).space()
    assert space.space[0].values == [1, 2]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], r"options=\[\]"),
        ("adam", "options='adam'"),
        (3, "options=3"),
        ([len], "built-in function len"),
        ([math.nan], "nan"),
        ([[1, object]], "object"),
    ],
)
def test_choices_that_are_none(options: Any, shown: str) -> None:
    with pytest.raises(ConfigError, match=rf"`hp_choice` must be .*Received: .*{shown}"):
        hp_choice(options)


# --- ranges -----------------------------------------------------------------------------------------------------------


def test_uniform_covers_its_range_evenly() -> None:
    found = values(hp_uniform(-1, 3))
    assert all(type(value) is float for value in found)
    assert -1 <= min(found) < -0.9 < 2.9 < max(found) <= 3
    assert np.mean(found) == pytest.approx(1, abs=0.2)


def test_loguniform_takes_exponents_of_ten() -> None:
    found = values(hp_loguniform(-4, -1))
    assert 1e-4 <= min(found) < 2e-4
    assert 5e-2 < max(found) <= 1e-1 * (1 + 1e-9)
    assert np.median(found) == pytest.approx(10**-2.5, rel=0.5)
    # A third of the values lies in each power of ten.
    assert np.mean(np.array(found) < 1e-3) == pytest.approx(1 / 3, abs=0.08)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (hp_quniform(16, 64, 16), [16, 32, 48, 64]),
        (hp_quniform(10, 50, 16), [16, 32, 48]),
        (hp_quniform(-2, 2, 2), [-2, 0, 2]),
        (hp_quniform(0.1, 0.5, 0.1), [0.1, 0.2, 0.3, 0.4, 0.5]),
        (hp_quniform(0, 1, 0.25), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (hp_quniform(3, 5, 4), [4]),
        (hp_qloguniform(1, 2, 25), [25, 50, 75, 100]),
        (hp_qloguniform(-1, 0, 0.25), [0.25, 0.5, 0.75, 1.0]),
        (hp_qloguniform(0, 0.5, 1), [1, 2, 3]),
        (hp_qloguniform(-3, 0.31, 1), [1, 2]),
    ],
)
def test_quantised_values_are_multiples_within_the_range(entry: Any, expected: list[float]) -> None:
    found = values(entry, 200)
    assert sorted(set(found)) == expected
    assert all(type(value) is type(expected[0]) for value in found)


def test_qloguniform_draws_small_multiples_more_often() -> None:
    found = np.array(values(hp_qloguniform(1, 3, 10)))
    assert set(found % 10) == {0}
    assert found.min() == 10
    assert np.mean(found <= 100) == pytest.approx(0.55, abs=0.1)


def test_a_leaderboard_says_what_the_multiples_are_of() -> None:
    space = ParameterSpace({"units": hp_qloguniform(1, 3, 10), "rate": hp_quniform(0, 1, 0.5)})
    assert {hp.name for hp in space.space().space} == {"units (x 10)", "rate"}
    assert space.params({"units (x 10)": 7, "rate": 0.5}) == {"units": 70, "rate": 0.5}


@settings(max_examples=60)
@given(st.integers(-50, 50), st.integers(1, 80), st.integers(1, 9), st.integers(0, 10**6))
def test_any_range_of_whole_numbers_keeps_its_bounds(low: int, width: int, q: int, seed: int) -> None:
    if math.ceil(low / q) > math.floor((low + width) / q):
        return
    (params,) = drawn({"x": hp_quniform(low, low + width, q)}, 1, seed)
    assert low <= params["x"] <= low + width
    assert params["x"] % q == 0


@settings(max_examples=100)
@given(st.integers(-40, 40), st.integers(1, 30), st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.7, 1.1, 2.5]))
def test_every_multiple_of_a_fraction_is_among_the_values(first: int, count: int, q: float) -> None:
    multiples = [float(f"{number * q:.12g}") for number in range(first, first + count + 1)]
    entry = hp_quniform(multiples[0], multiples[-1], q)
    (hp,) = ParameterSpace({"x": entry}).space().space
    assert sorted({entry.value(value) for value in ordered_values(hp)}) == multiples
    assert [entry.value(hp.prob_to_value(place)) for place in (0.0, 1 - 1e-9)] == [multiples[0], multiples[-1]]


@pytest.mark.parametrize("make", [hp_uniform, hp_loguniform, lambda a, b: hp_quniform(a, b, 1)])
@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (math.nan, 1), (0, math.inf), ("0", 1), (True, 2)])
def test_ranges_that_are_none(make: Callable[[Any, Any], Any], low: Any, high: Any) -> None:
    with pytest.raises(ConfigError, match=r"must be finite numbers, the first below the second\. Received: min="):
        make(low, high)


def test_exponents_are_told_from_the_numbers_themselves() -> None:
    with pytest.raises(ConfigError, match="must be exponents of 10"):
        hp_loguniform(0.001, 1000)


@pytest.mark.parametrize("q", [0, -1, math.nan, "1", None, True])
def test_steps_that_are_none(q: Any) -> None:
    with pytest.raises(ConfigError, match=r"`q` of `hp_quniform` must be a number above 0\. Received: q="):
        hp_quniform(0, 1, q)


def test_a_step_that_no_multiple_of_fits() -> None:
    with pytest.raises(ConfigError, match=r"must have a multiple of `q` between its ends, 5 and 7\. Received: q=8"):
        hp_quniform(5, 7, 8)


# --- spaces -----------------------------------------------------------------------------------------------------------


def test_dimensions_are_independent() -> None:
    """Cerebro drew each from the same random numbers, so that its random search walked along a diagonal."""
    entries = {"a": hp_uniform(0, 1), "b": hp_uniform(0, 1), "c": hp_loguniform(-3, 0), "d": hp_quniform(0, 100, 1)}
    table = np.array([[params[name] for name in entries] for params in drawn(entries)])
    found = np.corrcoef(table, rowvar=False) - np.eye(4)
    assert np.abs(found).max() < 0.2


def test_equal_seeds_give_equal_values() -> None:
    entries = {"a": hp_uniform(0, 1), "b": hp_choice(["x", "y", "z"])}
    assert drawn(entries, 20) == drawn(entries, 20)
    assert drawn(entries, 20) != drawn(entries, 20, seed=1000)


def test_a_space_describes_itself_as_the_user_wrote_it() -> None:
    space = ParameterSpace({"lr": hp_loguniform(-4, -1), "act": hp_choice(["relu"]), "n": hp_quniform(1, 5, 2)})
    assert space.describe() == {
        "lr": "hp_loguniform(-4, -1)",
        "act": "hp_choice(['relu'])",
        "n": "hp_quniform(1, 5, 2)",
    }


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, r"at least one. Received: search_space=\{\}"),
        ([hp_uniform(0, 1)], r"must be a dict .*of type list"),
        ({1: hp_uniform(0, 1)}, "must have names as keys. Received: 1"),
        ({"lr": [0.1, 0.2]}, r"Received: lr=\[0.1, 0.2\] .*Pass `hp_choice\(\[0.1, 0.2\]\)`"),
        ({"lr": 0.1}, r"Received: lr=0.1 .*Pass `hp_choice\(\[0.1\]\)`"),
    ],
)
def test_search_spaces_that_are_none(entries: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ParameterSpace(entries)
