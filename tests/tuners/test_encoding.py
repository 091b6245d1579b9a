from __future__ import annotations

import itertools
from typing import Any

import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners._encoding import Dimension
from cerebro_nas.tuners._encoding import Encoding


def space() -> keras_tuner.HyperParameters:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["mlp", "cnn", "tree"])
    hps.Float("rate", 1e-5, 1e-1, sampling="log")
    with hps.conditional_scope("kind", ["mlp", "cnn"]):
        hps.Boolean("deep")
        with hps.conditional_scope("deep", [True]):
            hps.Int("layers", 1, 4)
            hps.Int("extra", 1, 9, parent_name="layers", parent_values=[3, 4])
    hps.Choice("kernel", [1, 3, 5, 7], parent_name="kind", parent_values=["cnn"])
    hps.Int("filters", 8, 512, sampling="log", parent_name="kind", parent_values=["cnn"])
    hps.Int("units", 16, 256, step=2, sampling="log")
    hps.Float("dropout", 0.0, 0.5, step=0.125)
    hps.Float("momentum", 0.5, 0.99, sampling="reverse_log")
    hps.Int("width", 1, 100_000)
    hps.Fixed("version", 3)
    return hps


def configuration(seed: int, hps: keras_tuner.HyperParameters | None = None) -> dict[str, Any]:
    return RandomOracle(hyperparameters=hps or space(), objective="val_loss", seed=seed).complete_randomly({})


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_row_stands_for_its_configuration(seed: int) -> None:
    encoding = Encoding(space().space)
    values = configuration(seed)

    again = encoding.values(encoding.row(values))

    assert list(again) == list(values)
    for name, value in values.items():
        assert type(again[name]) is type(value)
        assert again[name] == (pytest.approx(value) if isinstance(value, float) else value)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_settled_rows_obey_the_conditions(seed: int) -> None:
    hps = space()
    encoding = Encoding(hps.space)
    rows = encoding.settle(np.random.default_rng(seed).random((12, len(encoding.dimensions))))

    for row in rows:
        values = encoding.values(row)
        # Along the conditions, as KerasTuner knows them.
        assert set(values) == set(RandomOracle(hyperparameters=hps, seed=1).complete(values))
        np.testing.assert_allclose(encoding.row(values), row, atol=1e-5)  # whole numbers of `width`
    np.testing.assert_array_equal(encoding.settle(np.where(np.isnan(rows), 0.3, rows)), rows)


def test_random_units_reach_every_configuration_of_a_small_space() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Boolean("a")
    hps.Choice("b", [1, 2, 3], parent_name="a", parent_values=[True])
    hps.Int("c", 1, 3, sampling="log")
    encoding = Encoding(hps.space)
    rows = encoding.settle(np.random.default_rng(0).random((400, 3)))

    found = {tuple(sorted(encoding.values(row).items())) for row in rows}

    assert len(found) == (1 + 3) * 3


@pytest.mark.parametrize("step", [0.1, 0.05, 0.3])
def test_steps_of_a_float_survive_the_way_there_and_back(step: float) -> None:
    hps = keras_tuner.HyperParameters()
    hps.Float("x", 0.0, 1.0, step=step)
    item = Dimension(hps.space[0])

    for value in hps.space[0].values:
        assert item.value(item.unit(value)) == value


def test_unit_one_is_a_value_of_the_range() -> None:
    encoding = Encoding(space().space)
    ones = encoding.values(encoding.settle(np.ones((1, len(encoding.dimensions))))[0])
    hps = {hp.name: hp for hp in space().space}

    assert ones["width"] == 100_000
    assert ones["units"] == 256
    assert hps["momentum"].min_value <= ones["momentum"] <= hps["momentum"].max_value


def test_values_of_an_unordered_choice_are_equally_far_from_each_other_and_from_none() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Boolean("on")
    hps.Choice("kind", ["a", "b", "c"], parent_name="on", parent_values=[True])
    encoding = Encoding(hps.space)
    rows = [encoding.row({"on": True, "kind": kind}) for kind in "abc"]
    absent = encoding.row({"on": False})
    features = encoding.features(np.stack([*rows, absent]))[:, encoding.groups == 1]

    apart = [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(features[:3], 2)]
    from_absent = [float(np.linalg.norm(a - features[3])) for a in features[:3]]

    assert apart == pytest.approx([1.0] * 3)
    assert from_absent == pytest.approx([from_absent[0]] * 3)
    assert from_absent[0] < 1.0


def test_an_inactive_number_takes_the_middle_or_what_is_asked_for() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Boolean("on")
    hps.Float("x", 0.0, 1.0, parent_name="on", parent_values=[True])
    encoding = Encoding(hps.space)
    row = encoding.row({"on": False})[None]

    assert encoding.features(row)[0, -1] == 0.5
    assert encoding.features(row, inactive=-1.0)[0, -1] == -1.0


def test_ordered_choices_keep_their_order_and_single_values_take_no_feature() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Choice("size", [1, 10, 100, 1000])
    hps.Choice("only", ["one"])
    hps.Fixed("fixed", "x")
    encoding = Encoding(hps.space)
    rows = np.stack([encoding.row({"size": size, "only": "one", "fixed": "x"}) for size in (1, 10, 100, 1000)])

    assert encoding.features(rows)[:, 0].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert encoding.features(rows).shape == (4, 1)


def test_what_came_into_the_space_later_had_its_default() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Int("a", 1, 5)
    hps.Int("b", 1, 5, default=4)
    encoding = Encoding(hps.space)

    assert encoding.values(encoding.row({"a": 2})) == {"a": 2, "b": 4}


def test_values_out_of_the_range_take_the_nearest() -> None:
    encoding = Encoding(space().space)
    strange = {"kind": "mlp", "rate": 7.0, "deep": False, "units": 30, "dropout": 3.0, "momentum": 0.7, "width": -5}

    found = encoding.values(encoding.row(strange))

    assert found["rate"] == pytest.approx(0.1)
    assert (found["units"], found["dropout"], found["width"]) == (32, pytest.approx(0.5), 1)


def test_of_several_entries_of_a_name_the_active_one_decides() -> None:
    hps = keras_tuner.HyperParameters()
    hps.Choice("kind", ["small", "large"])
    hps.Int("size", 1, 3, parent_name="kind", parent_values=["small"])
    hps.Int("size", 10, 30, parent_name="kind", parent_values=["large"])
    encoding = Encoding(hps.space)

    for row in encoding.settle(np.random.default_rng(0).random((50, 3))):
        values = encoding.values(row)
        assert (values["size"] <= 3) == (values["kind"] == "small")
        assert encoding.values(encoding.row(values)) == values
