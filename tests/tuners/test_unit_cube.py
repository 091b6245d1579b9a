from __future__ import annotations

from typing import Any

import keras_tuner
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners import TrialSuggestion
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners._unit_cube import CubeOracle
from cerebro_nas.tuners._unit_cube import make_cube


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Int("linear", -3, 9)
    hps.Int("stepped", 6, 13, step=3)
    hps.Int("doubled", 2, 64, step=2, sampling="log")
    hps.Int("log", 1, 300, sampling="log")
    hps.Int("reverse", 1, 30, sampling="reverse_log")
    hps.Float("tenths", 0.0, 0.7, step=0.1)
    hps.Float("powers", 1e-4, 1.0, step=10, sampling="log")
    hps.Float("mirrored", 1.0, 100.0, step=10, sampling="reverse_log")
    hps.Float("real", -1.0, 2.0)
    hps.Float("rate", 1e-5, 1.0, sampling="log")
    hps.Float("decay", 0.9, 0.999, sampling="reverse_log")
    hps.Choice("ordered", [64, 16, 32])
    hps.Choice("unordered", ["a", "b", "c"])
    hps.Boolean("flag")
    hps.Fixed("fixed", 3)
    hps.Int("only", 5, 5)
    with hps.conditional_scope("flag", [True]):
        hps.Choice("inner", ["p", "q"])
        with hps.conditional_scope("inner", ["q"]):
            hps.Float("deep", 0.0, 1.0)
    return hps


@settings(max_examples=30)
@given(st.integers(0, 100_000))
def test_codes_of_a_configuration_give_it_back(seed: int) -> None:
    oracle = RandomOracle(objective=keras_tuner.Objective("loss", "min"), hyperparameters=space(), seed=seed)
    values = oracle.complete_randomly({})
    cube = make_cube(space())

    codes = cube.codes(values)
    found = cube.walk(lambda axis: codes[axis.key])

    assert list(found) == list(values)
    for name, value in values.items():
        assert found[name] == (pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value), name
    assert [type(value) for value in found.values()] == [type(value) for value in values.values()]
    assert cube.part(codes)[1] == []


@given(st.floats(0, 1))
def test_every_place_is_near_the_place_of_its_value(place: float) -> None:
    for axis in make_cube(space()).free:
        code = axis.at(place)
        assert axis.low <= code <= axis.high
        assert axis.at(axis.place(code)) == pytest.approx(code)
        if axis.kind in ("steps", "category"):
            assert abs(axis.place(code) - place) <= 0.5 / axis.size + 1e-9


def test_all_values_of_a_finite_range_have_codes_in_order() -> None:
    for axis in make_cube(space()).free:
        if axis.size and axis.hp.name != "unordered":
            values = [axis.decode(axis.low + index) for index in range(axis.size)]
            assert values in (sorted(set(values)), sorted(set(values), reverse=True)), axis.key
            assert [axis.encode(value) for value in values] == [axis.low + index for index in range(axis.size)]


def test_floats_in_steps_are_not_rounded_down() -> None:
    axis = next(axis for axis in make_cube(space()).axes if axis.key == "tenths")

    assert axis.encode(0.3) == 3 and axis.encode(0.1 * 3) == 3


def test_what_a_configuration_leaves_out_was_built_with_its_default() -> None:
    codes = make_cube(space()).codes({"flag": True})

    assert (codes["linear"], codes["ordered"], codes["inner"]) == (0, 2, 0)
    assert "deep" not in codes


def test_parts_ask_for_what_is_active_and_not_known() -> None:
    cube = make_cube(space())

    assert {"inner", "deep", "fixed", "only"}.isdisjoint(axis.key for axis in cube.part({})[1])
    known: dict[str, float] = {axis.key: axis.low for axis in cube.part({})[1]} | {"flag": 1}
    assert [axis.key for axis in cube.part(known)[1]] == ["inner"]
    assert [axis.key for axis in cube.part(known | {"inner": 1})[1]] == ["deep"]


def test_one_name_under_two_conditions_is_two_axes() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["x", "y"])
    hps.Int("size", 1, 4, parent_name="kind", parent_values=["x"])
    hps.Int("size", 10, 40, parent_name="kind", parent_values=["y"])
    cube = make_cube(hps)

    assert [axis.key for axis in cube.axes] == ["kind", "size", "size#2"]
    assert cube.codes({"kind": "y", "size": 12}) == {"kind": 1, "size#2": 2}
    assert cube.walk(lambda axis: axis.high) == {"kind": "y", "size": 40}


class Stubborn(CubeOracle):
    def propose(self) -> dict[str, Any] | None:
        return self.settle({"a": 0, "b": 0})


def test_what_was_tried_is_changed_in_one_place() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Choice("a", [0, 1, 2])
    hps.Choice("b", [0, 1, 2])
    oracle = Stubborn(objective=keras_tuner.Objective("loss", "min"), hyperparameters=hps, seed=1)
    tuner = Tuner(oracle, max_trials=20)
    found = [answer.values for _ in range(10) if isinstance(answer := tuner.ask(), TrialSuggestion)]
    tuner.close()

    assert found[0] == {"a": 0, "b": 0}
    assert all(0 in values.values() for values in found[1:5])
    assert len({tuple(values.items()) for values in found}) == len(found) == 9
