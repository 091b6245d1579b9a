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
