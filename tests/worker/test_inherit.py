"""A candidate that begins with another one's weights: which layers match."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.worker import dump_state
from cerebro_nas.worker._inherit import inherit_state
from cerebro_nas.worker._outline import outline
from cerebro_nas.worker._outline import outline_text
from cerebro_nas.worker._outline import parse_outline
from cerebro_nas.worker._safetensors import pack
from cerebro_nas.worker._state import read_state
from cerebro_nas.worker._state import state_variables

L = keras.layers


def _compiled(model: keras.Model, rate: float = 0.1) -> keras.Model:
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def _model(*widths: int, rate: float = 0.1, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = [L.Dense(width, activation="relu") for width in widths]
    return _compiled(keras.Sequential([keras.Input((4,)), *layers, L.Dropout(0.5), L.Dense(2)]), rate)


def _image_model(*layers: Any, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return _compiled(keras.Sequential([keras.Input((6, 6, 3)), *layers, L.GlobalAveragePooling2D(), L.Dense(2)]))


def _scrambled(model: keras.Model, seed: int = 1) -> keras.Model:
    """With no weight or statistic as it was."""
    draw = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    return model


def _trained(model: keras.Model) -> keras.Model:
    rows = np.random.default_rng(0)
    model.fit(rows.normal(size=(32, 4)), rows.normal(size=(32, 2)), verbose=0)
    return model


def _numbers(model: keras.Model) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return [np.asarray(variable.numpy()) for variable in state_variables(model)]


def _inherits(child: keras.Model, parent: keras.Model) -> tuple[float, dict[str, bool]]:
    """The share, and for each layer of the child whether all, or nothing, of it is new."""
    before = [[w.numpy() for w in layer.weights] for layer in child.layers]
    share = inherit_state(child, dump_state(parent, {}))
    changed = {}
    for layer, old in zip(child.layers, before, strict=True):
        differs = {not np.array_equal(w.numpy(), numbers) for w, numbers in zip(layer.weights, old, strict=True)}
        assert len(differs) <= 1, f"{layer.name} was torn apart"
        changed.update({layer.name: differs.pop()} if differs else {})
    return share, changed


def test_the_same_architecture_takes_everything_but_the_learning_rate() -> None:
    parent, child = _trained(_model(3, seed=1)), _model(3, rate=0.02, seed=2)
    assert inherit_state(child, dump_state(parent, {})) == 1.0
    for name, theirs, ours in zip(
        [variable.name for variable in state_variables(parent)], _numbers(parent), _numbers(child), strict=True
    ):
        if name == "learning_rate":
            assert ours == pytest.approx(0.02)
        else:
            np.testing.assert_array_equal(theirs, ours)
    assert int(child.optimizer.iterations.numpy()) == 1


def test_layers_before_and_behind_a_new_one_are_taken() -> None:
    parent, child = _trained(_model(3, 5, seed=1)), _model(3, 4, 5, seed=2)
    before = _numbers(child)
    share = inherit_state(child, dump_state(parent, {}))
    first, new, changed = child.layers[:3]
    np.testing.assert_array_equal(first.kernel.numpy(), parent.layers[0].kernel.numpy())
    np.testing.assert_array_equal(child.layers[-1].kernel.numpy(), parent.layers[-1].kernel.numpy())
    np.testing.assert_array_equal(new.kernel.numpy(), before[2])
    np.testing.assert_array_equal(changed.kernel.numpy(), before[4])
    counts = [variable.numpy().size for variable in child.variables]
    assert share == pytest.approx(1 - (3 * 4 + 4 + 4 * 5 + 5) / sum(counts))
    # Moments of other weights are of no use.
    assert int(child.optimizer.iterations.numpy()) == 0


def test_a_convolution_and_its_normalisation_stay_together_when_there_is_one_more() -> None:
    def blocks(count: int) -> list[Any]:
        return [layer for _ in range(count) for layer in (L.Conv2D(3, 3, padding="valid"), L.BatchNormalization())]

    parent, child = _scrambled(_image_model(*blocks(1))), _image_model(*blocks(2), seed=3)
    share, _ = _inherits(child, parent)
    for ours, theirs in ((0, 0), (1, 1), (5, 3)):
        for mine, other in zip(child.layers[ours].weights, parent.layers[theirs].weights, strict=True):
            np.testing.assert_array_equal(mine.numpy(), other.numpy())
    assert share == pytest.approx(parent.count_params() / child.count_params())


def test_a_kernel_of_another_size_is_another_layer_and_so_is_what_normalised_its_output() -> None:
    def layers(size: int) -> list[Any]:
        return [L.Conv2D(4, 3, name="stem"), L.Conv2D(4, size, padding="same", name="mid"), L.BatchNormalization()]

    parent, child = _scrambled(_image_model(*layers(3))), _image_model(*layers(5), seed=3)
    share, changed = _inherits(child, parent)
    assert list(changed.values()) == [True, False, False, True]
    assert share == pytest.approx((child.layers[0].count_params() + 4 * 2 + 2) / child.count_params())


def test_statistics_of_another_layers_output_are_not_taken() -> None:
    parent = _image_model(L.Conv2D(4, 3), L.Conv2D(4, 1), L.BatchNormalization())
    _, changed = _inherits(_image_model(L.Conv2D(4, 3), L.BatchNormalization(), seed=3), _scrambled(parent))
    assert list(changed.values()) == [True, False, True]


def test_of_equal_layers_the_one_that_is_normalised_as_it_was_is_taken() -> None:
    def layers(count: int) -> list[Any]:
        return [L.Conv2D(4, 1), *(L.Conv2D(4, 3) for _ in range(count)), L.BatchNormalization()]

    _, changed = _inherits(_image_model(*layers(2), seed=3), _scrambled(_image_model(*layers(1))))
    assert list(changed.values()) == [True, False, True, True, True]


def test_the_first_of_many_and_the_head_are_kept_when_a_block_goes() -> None:
    def layers(count: int) -> list[Any]:
        return [L.Conv2D(4, 3, padding="same", activation="relu") for _ in range(count)]

    parent, child = _scrambled(_image_model(*layers(4))), _image_model(*layers(2), seed=3)
    share, _ = _inherits(child, parent)
    assert share == 1.0
    np.testing.assert_array_equal(child.layers[0].kernel.numpy(), parent.layers[0].kernel.numpy())
    np.testing.assert_array_equal(child.layers[-1].kernel.numpy(), parent.layers[-1].kernel.numpy())


def test_layers_of_the_same_shapes_and_another_class_do_not_match() -> None:
    def layers(kind: Callable[..., Any]) -> list[Any]:
        return [L.Conv2D(4, 3), kind(4, 3, padding="same", name="mid"), L.Conv2D(4, 1)]

    parent, child = _scrambled(_image_model(*layers(L.Conv2D))), _image_model(*layers(L.Conv2DTranspose), seed=3)
    _, changed = _inherits(child, parent)
    assert list(changed.values()) == [True, False, True, True]


def _tower(depth: int, seed: int, *, activation: str = "relu") -> keras.Model:
    """A residual network with a model inside."""
    keras.utils.set_random_seed(seed)
    entry = keras.Input((6, 6, 3))
    inner = keras.Sequential([keras.Input((6, 6, 3)), L.Conv2D(4, 3, padding="same"), L.BatchNormalization()])
    flow = inner(entry)
    for _ in range(depth):
        side = L.BatchNormalization()(L.Conv2D(4, 3, padding="same", activation=activation)(flow))
        flow = L.Add()([flow, L.SeparableConv2D(4, 3, padding="same")(side)])
    flow = L.Dropout(0.5)(L.GlobalAveragePooling2D()(flow))
    return _compiled(keras.Model(entry, L.Dense(2)(flow)))


def test_models_in_models_and_branches() -> None:
    parent, child = _scrambled(_tower(1, 1)), _tower(2, 2)
    share, _ = _inherits(child, parent)
    assert share == pytest.approx(
        sum(v.numpy().size for v in parent.variables) / sum(v.numpy().size for v in child.variables)
    )
    np.testing.assert_array_equal(child.layers[1].layers[0].kernel.numpy(), parent.layers[1].layers[0].kernel.numpy())


def test_another_activation_and_the_weights_are_taken() -> None:
    parent, child = _scrambled(_tower(1, 1)), _tower(1, 2, activation="tanh")
    assert _inherits(child, parent)[0] == 1.0


def test_recurrent_layers_and_attention_are_taken_whole() -> None:
    def model(heads: int, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        entry = keras.Input((5, 4))
        flow = L.Bidirectional(L.LSTM(3, return_sequences=True))(entry)
        flow = L.MultiHeadAttention(heads, 2)(flow, flow)
        return _compiled(keras.Model(entry, L.Dense(2)(L.GRU(3)(L.LayerNormalization()(flow)))))

    parent, child = _scrambled(model(2, 1)), model(3, 2)
    _, changed = _inherits(child, parent)
    assert [taken for name, taken in changed.items() if "attention" in name] == [False]
    assert sum(changed.values()) == len(changed) - 1 == 4


@pytest.mark.parametrize("make", [lambda: L.Dense(4), lambda: keras.Sequential([keras.Input((3,)), L.Dense(4)])])
def test_layers_that_are_called_twice_are_taken(make: Callable[[], Any]) -> None:
    def model(width: int, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        shared, entries = make(), (keras.Input((3,)), keras.Input((3,)))
        first = shared(entries[0])
        flow = L.Dense(width)(L.Concatenate()([first, shared(entries[1])]))
        return _compiled(keras.Model(entries, L.Dense(2)(flow)))

    parent, child = _scrambled(model(6, 1)), model(5, 2)
    _, changed = _inherits(child, parent)
    assert list(changed.values()) == [True, False, False]


def test_nothing_fits() -> None:
    parent, child = _trained(_model(7)), _model(3, seed=2)
    before = child.layers[0].kernel.numpy()
    assert inherit_state(child, dump_state(parent, {})) < 0.2
    np.testing.assert_array_equal(child.layers[0].kernel.numpy(), before)


@pytest.mark.parametrize("text", [None, "no JSON", "{}", '[["Dense","",[0],2]]', '[["Dense","",[],99]]', "[[1,2,3,4]]"])
def test_a_state_that_does_not_tell_its_layers_gives_nothing_or_everything(text: str | None) -> None:
    arrays, meta = read_state(dump_state(_model(3, seed=1), {}))
    checksum = json.loads(_header(dump_state(_model(3, seed=1), {}))["cerebro_nas"])
    metadata = {"cerebro_nas": json.dumps({**meta, **checksum})}
    data = pack(arrays, metadata if text is None else {**metadata, "cerebro_nas_parts": text})
    child = _model(3, 3, seed=2)
    before = _numbers(child)
    assert inherit_state(child, data) == 0.0
    for old, new in zip(before, _numbers(child), strict=True):
        np.testing.assert_array_equal(old, new)
    assert inherit_state(_model(3), data) == 1.0


def _header(data: bytes) -> dict[str, str]:
    found: dict[str, str] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return found


def test_the_outline_is_what_the_state_tells() -> None:
    model = _tower(2, 1)
    found = outline(model)
    assert found is not None
    kinds = [kind for part in found.parts for kind in part.variables]
    assert parse_outline(outline_text(model), kinds) == found.parts
    assert sum(len(part.variables) for part in found.parts) == len(model.variables)
    assert outline_text(_tower(2, 2)) == outline_text(model) != outline_text(_tower(2, 2, activation="tanh"))


def test_a_model_that_was_written_down_has_the_same_outline() -> None:
    model = _tower(2, 1)
    assert outline_text(keras.models.model_from_json(model.to_json())) == outline_text(model)


def test_damaged_bytes_change_nothing() -> None:
    child = _model(3)
    data = bytearray(dump_state(_model(3, seed=1), {}))
    data[-1] ^= 1
    before = _numbers(child)
    with pytest.raises(CorruptStateError, match="checksum"):
        inherit_state(child, bytes(data))
    for old, new in zip(before, _numbers(child), strict=True):
        np.testing.assert_array_equal(old, new)
