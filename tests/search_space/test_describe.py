"""A graph as plain values: equal for equal graphs, telling where they differ."""

from __future__ import annotations

import json
from typing import Any

import autokeras as ak
import keras_tuner
import pytest

from cerebro_nas.search_space import SearchSpace

pytestmark = pytest.mark.case(33)


def _described(kernel_size: int = 3, choices: tuple[int, ...] = (1, 2), layers: int = 1, loss: Any = None) -> Any:
    inputs = ak.ImageInput()
    amount = keras_tuner.engine.hyperparameters.Choice("num_layers", list(choices), default=choices[0])
    node = ak.ConvBlock(kernel_size=kernel_size, num_layers=amount)(inputs)
    for _ in range(layers):
        node = ak.DenseBlock()(node)
    return SearchSpace(inputs, ak.ClassificationHead(loss=loss)(node)).describe()


def _differing(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {name.split("_1.")[-1] for name in {*one, *other} if one.get(name) != other.get(name)}


def test_equal_graphs_are_described_alike_and_in_plain_values() -> None:
    one = _described()
    assert one == _described()
    assert json.loads(json.dumps(one)) == one


def test_what_differs_is_named() -> None:
    assert _differing(_described(), _described(kernel_size=5)) == {"kernel_size"}
    assert _differing(_described(), _described(choices=(1, 2, 3))) == {"num_layers"}
    assert "wiring" in _differing(_described(), _described(layers=2))


def test_functions_of_the_user_have_names_and_no_addresses() -> None:
    def my_loss(true: Any, predicted: Any) -> Any:
        return true - predicted

    found = _described(loss=my_loss)
    (text,) = (str(value) for value in found.values() if "my_loss" in str(value))
    assert "0x" not in text
