from __future__ import annotations

from typing import Any

import keras_tuner
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.tuners._tree import active_entries
from cerebro_nas.tuners._tree import admits
from cerebro_nas.tuners._tree import configure
from cerebro_nas.tuners._tree import from_unit
from cerebro_nas.tuners._tree import is_ordered
from cerebro_nas.tuners._tree import number_of_values
from cerebro_nas.tuners._tree import to_unit
from cerebro_nas.tuners._tree import tree


def entry(kind: str, *args: Any, **kwargs: Any) -> Any:
    hps = keras_tuner.HyperParameters()
    getattr(hps, kind)("a", *args, **kwargs)
    return hps.space[0]


ENTRIES = {
    "int": entry("Int", 3, 9),
    "int_step": entry("Int", 1, 100, step=7),
    "int_log": entry("Int", 2, 64, step=2, sampling="log"),
    "int_log_free": entry("Int", 1, 500, sampling="log"),
    "int_reverse": entry("Int", 1, 64, step=2, sampling="reverse_log"),
    "float": entry("Float", -1.0, 2.0),
    "float_step": entry("Float", 0.0, 1.0, step=0.1),
    "float_log": entry("Float", 1e-5, 1e-1, sampling="log"),
    "float_log_step": entry("Float", 1e-4, 1.0, step=10, sampling="log"),
    "float_reverse": entry("Float", 0.1, 10.0, sampling="reverse_log"),
    "choice": entry("Choice", ["x", "y", "z"]),
    "numbers": entry("Choice", [3, 5, 7]),
    "boolean": entry("Boolean"),
    "fixed": entry("Fixed", 7),
    "one": entry("Int", 4, 4),
}


def test_the_tree_follows_the_parts_of_the_names() -> None:
    nodes = tree(["a/b/x", "a/b/y", "a/c", "d", "d/e"])

    below = [tuple(node.names()) for node in nodes]
    assert below[0] == ("a/b/x", "a/b/y", "a/c", "d", "d/e")
    assert sorted(below[1:]) == sorted(
        [("a/b/x", "a/b/y", "a/c"), ("a/b/x", "a/b/y"), ("a/b/x",), ("a/b/y",), ("a/c",), ("d", "d/e"), ("d/e",)]
    )
    assert tree([]) == []


@pytest.mark.parametrize("name", ENTRIES)
@settings(max_examples=40)
@given(where=st.floats(0.0, 1.0))
def test_places_and_values_agree(name: str, where: float) -> None:
    hp = ENTRIES[name]
    value = from_unit(hp, where)
    place = to_unit(hp, value)

    assert admits(hp, value)
    assert 0.0 <= place <= 1.0
    count = number_of_values(hp)
    if count is not None:
        assert from_unit(hp, place) == value
        assert abs(place - min(where, 1 - 1e-9)) <= 0.5 / count + 1e-9 or count == 1
    elif isinstance(value, float):
        assert from_unit(hp, place) == pytest.approx(value)


@pytest.mark.parametrize("name", ENTRIES)
def test_what_lies_beyond_the_ends_is_the_value_at_the_end(name: str) -> None:
    hp = ENTRIES[name]

    assert from_unit(hp, -3.0) == from_unit(hp, 0.0)
    assert from_unit(hp, 3.0) == from_unit(hp, 1.0)


@pytest.mark.parametrize("name", ["int", "int_step", "int_log", "int_reverse", "float_step", "float_log_step"])
def test_every_value_of_a_range_with_steps_has_its_own_place(name: str) -> None:
    hp = ENTRIES[name]
    values = list(hp.values)

    assert number_of_values(hp) == len(values)
    places = [to_unit(hp, value) for value in values]
    assert places == pytest.approx([(i + 0.5) / len(values) for i in range(len(values))])


def test_numbers_of_values_and_order() -> None:
    assert {name: number_of_values(ENTRIES[name]) for name in ("choice", "boolean", "fixed", "one", "float")} == {
        "choice": 3,
        "boolean": 2,
        "fixed": 1,
        "one": 1,
        "float": None,
    }
    assert [name for name, hp in ENTRIES.items() if not is_ordered(hp)] == ["choice", "boolean", "fixed"]


def conditional() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["x", "y", "none"])
    hps.Int("size", 1, 3, parent_name="kind", parent_values=["x"])
    hps.Int("size", 10, 30, parent_name="kind", parent_values=["y"])
    hps.Boolean("deep")
    hps.Float("rate", 0.0, 1.0, parent_name="deep", parent_values=[True])
    return hps


def test_the_active_entry_is_the_one_whose_conditions_hold() -> None:
    space = conditional()

    assert active_entries(space, {"kind": "y", "size": 12, "deep": False})["size"] is space.space[2]
    # Of another space: the value is outside of the range, its parent is missing.
    assert set(active_entries(space, {"kind": "y", "size": 2, "rate": 0.5})) == {"kind"}


def test_of_two_active_entries_with_one_name_the_first_counts() -> None:
    space = keras_tuner.HyperParameters()
    space.Choice("kind", ["x", "y"])
    space.Int("size", 1, 5, parent_name="kind", parent_values=["x", "y"])
    space.Int("size", 3, 9, parent_name="kind", parent_values=["y"])

    assert active_entries(space, {"kind": "y", "size": 4})["size"] is space.space[1]
    assert configure(space, lambda hp: list(hp.values)[-1]) == {"kind": "y", "size": 5}


def test_only_what_is_active_is_chosen() -> None:
    chosen = {"kind": "x", "size": 2, "deep": False}

    assert configure(conditional(), lambda hp: chosen[hp.name]) == chosen
