from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autokeras as ak
import keras
import keras_tuner
import pytest

from cerebro_nas.data._types import PreparedData
from cerebro_nas.errors import BuildError
from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space import SearchSpace
from cerebro_nas.search_space._explore import Explorer

Prepare = Callable[..., PreparedData]


def explore(build: Any, **overrides: Any) -> keras_tuner.HyperParameters:
    given = keras_tuner.HyperParameters()
    for name, value in overrides.items():
        given.Fixed(name.replace("__", "/"), value)
    return Explorer(build, given, lambda name: True).explore()


def nested(hp: keras_tuner.HyperParameters) -> None:
    """As AutoKeras does, opens the scope of the current value only."""
    kind = hp.Choice("kind", ["x", "y"])
    with hp.conditional_scope("kind", [kind]):
        if kind == "y":
            deep = hp.Boolean("y/deep")
            if deep:
                with hp.conditional_scope("y/deep", [True]):
                    hp.Choice("y/depth", [1, 2])
    for i in range(hp.Choice("num_layers", [1, 3, 2])):
        hp.Choice(f"units_{i}", [8, 16])


def test_everything_is_found_whatever_the_defaults() -> None:
    names = [hp.name for hp in explore(nested).space]

    assert names == ["kind", "num_layers", "units_0", "units_1", "units_2", "y/deep", "y/depth"]


def test_blocks_that_may_normalise_begin_with_it() -> None:
    def build(hp: keras_tuner.HyperParameters) -> None:
        hp.Boolean("table_block_1/normalize", default=False)
        hp.Boolean("table_block_1/dense_block_1/use_batchnorm", default=False)

    (normalize, batchnorm) = explore(build).space
    assert (normalize.default, batchnorm.default) == (True, False)
    assert explore(build, table_block_1__normalize=False).space[0].default is False
    (foreign, _) = Explorer(build, None, lambda name: False).explore().space
    assert foreign.default is False


def test_found_entries_carry_the_conditions_of_the_graph() -> None:
    space = explore(nested, y__depth=2)
    (depth,) = (hp for hp in space.space if hp.name == "y/depth")

    assert [(c.name, c.values) for c in depth.conditions] == [("kind", ["y"]), ("y/deep", [True])]
    assert depth.values == (2,)


def test_what_an_override_excludes_is_not_explored() -> None:
    assert "y/deep" not in [hp.name for hp in explore(nested, kind="x").space]


def test_overrides_of_counts_are_the_maximum() -> None:
    names = [hp.name for hp in explore(nested, num_layers=5).space]

    assert "units_4" in names


def conditions(space: keras_tuner.HyperParameters) -> dict[str, list[tuple[str, list[int]]]]:
    return {hp.name: [(c.name, sorted(c.values)) for c in hp.conditions] for hp in space.space}


def test_widths_of_layers_are_there_where_the_layers_are() -> None:
    def build(hp: keras_tuner.HyperParameters) -> None:
        layers = hp.Choice("conv/num_layers", [1, 2])
        for i in range(hp.Choice("conv/num_blocks", [1, 2, 3], default=2)):
            for j in range(layers):
                hp.Choice(f"conv/filters_{i}_{j}", [8, 16])
        # Counts that are not searched for have no entry; that of another block is none of this one's.
        hp.Choice("dense/units_1", [8, 16])
        hp.Choice("dense/units", [8, 16])

    found = conditions(explore(build))

    assert found["conv/filters_0_0"] == found["dense/units_1"] == found["dense/units"] == []
    assert found["conv/filters_0_1"] == [("conv/num_layers", [2])]
    assert found["conv/filters_1_0"] == [("conv/num_blocks", [2, 3])]
    assert found["conv/filters_2_1"] == [("conv/num_blocks", [3]), ("conv/num_layers", [2])]
    assert conditions(explore(build, conv__num_blocks=2))["conv/filters_1_0"] == []


def test_blocks_of_ones_own_may_number_their_widths_otherwise() -> None:
    found = Explorer(nested, None, lambda name: False).explore()

    assert set(conditions(found)) >= {"units_0", "units_2"}
    assert not conditions(found)["units_2"]


def test_a_candidate_has_the_widths_that_its_values_say(prepare: Prepare) -> None:
    node = ak.Input()
    space = SearchSpace(node, ak.RegressionHead()(ak.DenseBlock(use_batchnorm=False, dropout=0.0)(node)))
    space.configure(prepare(shape=(4,)), batch_size=8, epochs=1)
    hps = space.explore()
    for layers in (1, 3):
        hps.values = {
            "dense_block_1/num_layers": layers,
            **{f"dense_block_1/units_{i}": 16 << i for i in range(layers)},
        }
        text = space.build(hps, trial="t").model
        assert [f'"units":{16 << i}' in text for i in range(3)] == [i < layers for i in range(3)]


def test_unknown_override_is_reported_with_near_names() -> None:
    with pytest.warns(UserWarning, match="'depth', which has no effect. Near names: y/depth"):
        explore(nested, depth=1)


def test_values_that_cannot_be_built_do_not_stop_the_exploration() -> None:
    def build(hp: keras_tuner.HyperParameters) -> None:
        kind = hp.Choice("kind", ["bad", "good"])
        if kind == "bad":
            raise BuildError("no")
        hp.Choice("rest", [1, 2])

    def never(hp: keras_tuner.HyperParameters) -> None:
        hp.Choice("kind", ["bad", "worse"])
        raise BuildError("not at all")

    assert [hp.name for hp in explore(build).space] == ["kind", "rest"]
    with pytest.raises(BuildError, match="not at all"):
        explore(never)


def test_pretrained_is_fixed_to_false() -> None:
    def build(hp: keras_tuner.HyperParameters) -> None:
        hp.Boolean("block/pretrained", default=True)

    (entry,) = explore(build).space
    assert entry.values == (False,)
    with pytest.raises(ConfigError, match="pretrained"):
        explore(build, block__pretrained=True)


def test_scopes_of_user_blocks_are_found_even_below_known_names(prepare: Prepare) -> None:
    class Mine(ak.Block):  # type: ignore[misc]
        def build(self, hp: keras_tuner.HyperParameters, inputs: Any = None) -> Any:
            units = 4
            if hp.Choice("version", ["one", "two"]) == "two":
                with hp.conditional_scope("version", ["two"]):
                    units = hp.Choice("units", [8, 16])
            return keras.layers.Dense(units)(keras.tree.flatten(inputs)[0])

    node = ak.Input()
    space = SearchSpace(node, ak.RegressionHead()(Mine()(node)))
    space.configure(prepare(shape=(4,)), batch_size=8, epochs=1)

    assert "mine_1/units" in [hp.name for hp in space.explore().space]
