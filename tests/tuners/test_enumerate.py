from __future__ import annotations

import contextlib
import itertools
from typing import Any

import keras_tuner
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.tuners._enumerate import next_values
from cerebro_nas.tuners._enumerate import ordered_values


@st.composite
def spaces(draw: st.DrawFn) -> keras_tuner.HyperParameters:
    """Spaces of up to five choices; each may depend on one value of an earlier one."""
    hps = keras_tuner.HyperParameters()
    for number in range(draw(st.integers(1, 5))):
        values = list(range(draw(st.integers(1, 3))))
        parent = draw(st.sampled_from([None, *hps.space]))
        if parent is None:
            hps.Choice(f"hp{number}", values)
        else:
            with contextlib.ExitStack() as scopes:
                for condition in parent.conditions:
                    scopes.enter_context(hps.conditional_scope(condition.name, condition.values))
                wanted = [draw(st.sampled_from(parent.values))]
                hps.Choice(f"hp{number}", values, parent_name=parent.name, parent_values=wanted)
    return hps


def everything(hps: keras_tuner.HyperParameters) -> set[tuple[tuple[str, Any], ...]]:
    """Every configuration, the slow way: the full product, cut down to what is active."""
    found = set()
    for combination in itertools.product(*(hp.values for hp in hps.space)):
        values: dict[str, Any] = {}
        for hp, value in zip(hps.space, combination, strict=True):
            if all(condition.is_active(values) for condition in hp.conditions):
                values[hp.name] = value
        found.add(tuple(values.items()))
    return found


def walk(hps: keras_tuner.HyperParameters) -> list[tuple[tuple[str, Any], ...]]:
    found = []
    values = next_values(hps, None)
    while values is not None:
        found.append(tuple(values.items()))
        values = next_values(hps, values)
    return found


@settings(max_examples=60, deadline=None)
@given(spaces())
def test_walk_visits_every_configuration_exactly_once(hps: keras_tuner.HyperParameters) -> None:
    visited = walk(hps)

    assert len(visited) == len(set(visited))
    assert set(visited) == everything(hps)


def test_the_last_hyperparameter_varies_fastest() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Choice("a", [1, 2])
    hps.Boolean("b")

    assert walk(hps) == [(("a", a), ("b", b)) for a in (1, 2) for b in (True, False)]


def test_one_name_under_two_conditions_is_one_hyperparameter() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["x", "y"])
    hps.Choice("size", [1, 2], parent_name="kind", parent_values=["x"])
    hps.Choice("size", [3], parent_name="kind", parent_values=["y"])

    assert [dict(values) for values in walk(hps)] == [
        {"kind": "x", "size": 1},
        {"kind": "x", "size": 2},
        {"kind": "y", "size": 3},
    ]


def test_ranges_are_in_order() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("rate", 0.0, 1.0)
    hps.Int("size", 2, 8, step=3)
    rate, size = hps.space

    assert len(ordered_values(rate)) == 10
    assert ordered_values(rate) == sorted(ordered_values(rate))
    assert list(ordered_values(size)) == [2, 5, 8]


def test_a_huge_range_is_not_listed() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Int("size", 0, 2**40)
    assert next_values(hps, {"size": 2**40 - 1}) == {"size": 2**40}
    assert next_values(hps, {"size": 2**40}) is None
