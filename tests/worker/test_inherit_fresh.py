"""A candidate that begins with another one's weights: what cannot grow, and then is taken whole or begins afresh."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest

from cerebro_nas.worker import dump_state
from cerebro_nas.worker._inherit import inherit_state

L = keras.layers
Layers = Sequence[Any]
Make = Callable[[], Layers]


def _net(shape: tuple[int, ...], make: Make, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return _compiled(keras.Sequential([keras.Input(shape), *make()]))


def _compiled(model: keras.Model) -> keras.Model:
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def _grown_up(model: keras.Model) -> keras.Model:
    """With weights of either sign, statistics that are not the initial ones, and variances that are none below 0."""
    draw = np.random.default_rng(1)
    for variable in model.weights:
        low = 0.5 if "variance" in variable.path else -1.0
        if "seed_generator" not in variable.path:
            variable.assign(draw.uniform(low, 1.0, variable.shape))
    return model


def _conv(width: int, *, size: int = 3, activation: str | None = None, **more: Any) -> Any:
    return L.Conv2D(width, size, padding="same", activation=activation, **more)


IMAGE, ROW = (8, 8, 3), (6,)

FALL_BACK: dict[str, tuple[tuple[int, ...], Make, Make]] = {
    "narrower": (ROW, lambda: [L.Dense(5, "relu"), L.Dense(2)], lambda: [L.Dense(4, "relu"), L.Dense(2)]),
    "the output itself": (ROW, lambda: [L.Dense(2)], lambda: [L.Dense(3)]),
    "one wider and the next narrower": (
        ROW,
        lambda: [L.Dense(4, "relu"), L.Dense(5, "relu"), L.Dense(2)],
        lambda: [L.Dense(6, "relu"), L.Dense(4, "relu"), L.Dense(2)],
    ),
    "a softmax over replicas": (
        ROW,
        lambda: [L.Dense(4, "softmax"), L.Dense(2)],
        lambda: [L.Dense(6, "softmax"), L.Dense(2)],
    ),
    "a layer normalisation over replicas": (
        ROW,
        lambda: [L.Dense(4), L.LayerNormalization(), L.Dense(2)],
        lambda: [L.Dense(6), L.LayerNormalization(), L.Dense(2)],
    ),
    "a separable convolution behind": (
        IMAGE,
        lambda: [_conv(4), L.SeparableConv2D(3, 3), L.Flatten(), L.Dense(2)],
        lambda: [_conv(6), L.SeparableConv2D(3, 3), L.Flatten(), L.Dense(2)],
    ),
    "groups": (
        IMAGE,
        lambda: [_conv(4), _conv(4, groups=2), L.Flatten(), L.Dense(2)],
        lambda: [_conv(8), _conv(4, groups=2), L.Flatten(), L.Dense(2)],
    ),
    "more channels in groups": (
        IMAGE,
        lambda: [_conv(4), _conv(4, groups=2), L.GlobalAveragePooling2D(), L.Dense(2)],
        lambda: [_conv(4), _conv(8, groups=2), L.GlobalAveragePooling2D(), L.Dense(2)],
    ),
    "recurrent": ((4, 3), lambda: [L.LSTM(4), L.Dense(2)], lambda: [L.LSTM(6), L.Dense(2)]),
    "no identity: tanh": (
        ROW,
        lambda: [L.Dense(5, "relu"), L.Dense(2)],
        lambda: [L.Dense(5, "relu"), L.Dense(5, "tanh"), L.Dense(2)],
    ),
    "no identity: relu behind what may be negative": (
        ROW,
        lambda: [L.Dense(5, "tanh"), L.Dense(2)],
        lambda: [L.Dense(5, "tanh"), L.Dense(5, "relu"), L.Dense(2)],
    ),
    "no identity: strides": (
        IMAGE,
        lambda: [_conv(4), L.ReLU(), L.GlobalAveragePooling2D(), L.Dense(2)],
        lambda: [_conv(4), L.ReLU(), _conv(4, strides=2), L.GlobalAveragePooling2D(), L.Dense(2)],
    ),
    "no identity: an even kernel": (
        IMAGE,
        lambda: [_conv(4), L.ReLU(), L.GlobalAveragePooling2D(), L.Dense(2)],
        lambda: [_conv(4), L.ReLU(), _conv(4, size=2), L.GlobalAveragePooling2D(), L.Dense(2)],
    ),
    "no identity: pooled on the way": (
        IMAGE,
        lambda: [_conv(4), L.ReLU(), L.GlobalAveragePooling2D(), L.Dense(2)],
        lambda: [_conv(4), L.ReLU(), L.MaxPooling2D(), _conv(4), L.GlobalAveragePooling2D(), L.Dense(2)],
    ),
}


@pytest.mark.parametrize("name", FALL_BACK)
def test_what_cannot_keep_the_function_is_taken_whole_or_begins_afresh(name: str) -> None:
    shape, before, after = FALL_BACK[name]
    parent, child = _net(shape, before, 1), _net(shape, after, 2)
    fresh = [[w.numpy() for w in layer.weights] for layer in child.layers]
    share = inherit_state(child, dump_state(_grown_up(parent), {}))
    assert share < 1
    known = [w.numpy() for w in parent.weights]
    for layer, old in zip(child.layers, fresh, strict=True):
        kept = [np.array_equal(w.numpy(), numbers) for w, numbers in zip(layer.weights, old, strict=True)]
        taken = [any(np.array_equal(w.numpy(), numbers) for numbers in known) for w in layer.weights]
        assert all(kept) or all(taken), layer.name


def test_what_two_layers_take_does_not_grow() -> None:
    def model(width: int, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        entry = keras.Input(ROW)
        flow = L.Dense(width, "relu")(entry)
        return _compiled(keras.Model(entry, [L.Dense(2)(flow), L.Dense(3)(flow)]))

    _takes_nothing(model(6, 2), model(4, 1))


def test_what_is_an_output_or_goes_to_a_shared_layer_does_not_grow() -> None:
    def outputs(width: int, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        entry = keras.Input(ROW)
        flow = L.Dense(width, "relu")(entry)
        return _compiled(keras.Model(entry, [flow, L.Dense(2)(flow)]))

    def shared(width: int, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        entry, twice = keras.Input(ROW), L.Dense(3)
        flow, other = L.Dense(width, "relu")(entry), L.Dense(width, "relu")(entry)
        return _compiled(keras.Model(entry, [twice(flow), twice(other), L.Dense(2)(flow)]))

    _takes_nothing(outputs(6, 2), outputs(4, 1))
    _takes_nothing(shared(6, 2), shared(4, 1))


def test_a_layer_does_not_grow_if_the_next_one_should_too_and_cannot() -> None:
    def model(first: int, second: int, seed: int) -> keras.Model:
        return _net(ROW, lambda: [L.Dense(first, "relu"), L.Dense(second, "softmax"), L.Dense(2)], seed)

    _takes_nothing(model(6, 7, 2), model(4, 5, 1))


def test_nothing_is_made_the_identity_behind_a_layer_that_begins_afresh() -> None:
    child = _net(ROW, lambda: [L.Dense(6, "softmax"), L.Dense(6, "relu"), L.Dense(2)], 2)
    _takes_nothing(child, _net(ROW, lambda: [L.Dense(4, "softmax"), L.Dense(2)], 1))


def test_branches_that_meet_do_not_grow() -> None:
    def model(width: int, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        entry = keras.Input(IMAGE)
        flow = L.ReLU()(_conv(width)(entry))
        side = L.BatchNormalization()(_conv(4, activation="relu")(flow))
        flow = L.Add()([flow, _conv(width)(side)])
        return _compiled(keras.Model(entry, L.Dense(2)(L.GlobalAveragePooling2D()(flow))))

    _takes_nothing(model(5, 2), model(3, 1))


def _takes_nothing(child: keras.Model, parent: keras.Model) -> None:
    before = [variable.numpy() for variable in child.variables]
    assert inherit_state(child, dump_state(_grown_up(parent), {})) == 0.0
    for old, variable in zip(before, child.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
