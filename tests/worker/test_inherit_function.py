"""A candidate that begins with another one's weights: where it computes what that one did (Net2Net)."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

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


def _outputs(model: keras.Model) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    draw = np.random.default_rng(2)
    entries = [draw.normal(size=(5, *entry.shape[1:])).astype("float32") for entry in model.inputs]
    return np.asarray(model(entries if len(entries) > 1 else entries[0], training=False))


def _inherit(parent: keras.Model, child: keras.Model) -> tuple[float, float]:
    """The share, and how far apart the outputs are, in units of the largest."""
    _grown_up(parent)
    share = inherit_state(child, dump_state(parent, {}))
    theirs, ours = _outputs(parent), _outputs(child)
    assert np.ptp(theirs) > 0
    return share, float(np.abs(theirs - ours).max() / np.abs(theirs).max())


def _conv(width: int, *, size: int = 3, activation: str | None = None, **more: Any) -> Any:
    return L.Conv2D(width, size, padding="same", activation=activation, **more)


def _cell(width: int) -> list[Any]:
    return [L.Conv2D(width, 3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU()]


IMAGE, ROW = (8, 8, 3), (6,)

WIDER: dict[str, tuple[tuple[int, ...], Make, Make]] = {
    "dense": (
        ROW,
        lambda: [L.Dense(4, "relu"), L.Dense(5, "tanh"), L.Dense(2)],
        lambda: [L.Dense(9, "relu"), L.Dense(6, "tanh"), L.Dense(2)],
    ),
    "dense, normalised, with dropout, towards a softmax": (
        ROW,
        lambda: [L.Dense(4), L.BatchNormalization(), L.ReLU(6.0), L.Dropout(0.3), L.Dense(3, "softmax")],
        lambda: [L.Dense(11), L.BatchNormalization(), L.ReLU(6.0), L.Dropout(0.3), L.Dense(3, "softmax")],
    ),
    "convolutions, flattened": (
        IMAGE,
        lambda: [*_cell(3), L.MaxPooling2D(), *_cell(4), L.AveragePooling2D(2), L.Flatten(), L.Dense(2)],
        lambda: [*_cell(7), L.MaxPooling2D(), *_cell(5), L.AveragePooling2D(2), L.Flatten(), L.Dense(2)],
    ),
    "one of two convolutions, pooled everywhere": (
        IMAGE,
        lambda: [*_cell(3), *_cell(4), L.GlobalAveragePooling2D(), L.BatchNormalization(), L.Dense(2)],
        lambda: [*_cell(3), *_cell(8), L.GlobalAveragePooling2D(), L.BatchNormalization(), L.Dense(2)],
    ),
    "normalised after flattening": (
        IMAGE,
        lambda: [_conv(3, activation="elu"), L.Flatten(), L.BatchNormalization(scale=False), L.Dense(2)],
        lambda: [_conv(5, activation="elu"), L.Flatten(), L.BatchNormalization(scale=False), L.Dense(2)],
    ),
    "a sequence": (
        (9, 3),
        lambda: [L.Conv1D(4, 3, strides=2), L.LeakyReLU(), L.Dense(3), L.GlobalMaxPooling1D(), L.Dense(2)],
        lambda: [L.Conv1D(6, 3, strides=2), L.LeakyReLU(), L.Dense(7), L.GlobalMaxPooling1D(), L.Dense(2)],
    ),
}

DEEPER: dict[str, tuple[tuple[int, ...], Make, Make]] = {
    "dense": (
        ROW,
        lambda: [L.Dense(5, "relu"), L.Dense(2)],
        lambda: [L.Dense(5, "relu"), L.Dense(5, "relu"), L.Dense(5, "relu"), L.Dense(2)],
    ),
    "dense, linear, behind what may be negative": (
        ROW,
        lambda: [L.Dense(5, "tanh"), L.Dense(2)],
        lambda: [L.Dense(5, "tanh"), L.Dense(5), L.Dense(2)],
    ),
    "convolutions": (
        IMAGE,
        lambda: [_conv(4, activation="relu"), L.MaxPooling2D(), L.Flatten(), L.Dense(2)],
        lambda: [
            _conv(4, activation="relu"),
            _conv(4, activation="relu"),
            L.MaxPooling2D(),
            _conv(4, size=5, dilation_rate=2, activation="relu"),
            L.Flatten(),
            L.Dropout(0.2),
            L.Dense(2),
        ],
    ),
    "normalised ones": (
        IMAGE,
        lambda: [*_cell(4), L.GlobalAveragePooling2D(), L.Dense(2)],
        lambda: [*_cell(4), *_cell(4), *_cell(4), L.GlobalAveragePooling2D(), L.Dense(2)],
    ),
    "a normalisation alone, with and without weights": (
        IMAGE,
        lambda: [_conv(4), L.ReLU(), L.Flatten(), L.Dense(2)],
        lambda: [
            _conv(4),
            L.BatchNormalization(),
            L.ReLU(),
            L.Flatten(),
            L.BatchNormalization(scale=False),
            L.Dense(2),
        ],
    ),
    "wider as well": (
        IMAGE,
        lambda: [*_cell(3), L.MaxPooling2D(), *_cell(4), L.GlobalAveragePooling2D(), L.Dense(2)],
        lambda: [*_cell(6), *_cell(6), L.MaxPooling2D(), *_cell(9), L.GlobalAveragePooling2D(), L.Dense(2)],
    ),
}


@pytest.mark.parametrize("name", WIDER)
def test_a_wider_network_computes_what_the_narrower_one_did(name: str) -> None:
    shape, narrow, wide = WIDER[name]
    share, distance = _inherit(_net(shape, narrow, 1), _net(shape, wide, 2))
    assert distance < 1e-5
    assert share == 1.0


@pytest.mark.parametrize("name", DEEPER)
def test_a_deeper_network_computes_what_the_shallower_one_did(name: str) -> None:
    shape, shallow, deep = DEEPER[name]
    share, distance = _inherit(_net(shape, shallow, 1), _net(shape, deep, 2))
    assert distance < 1e-5
    assert 0 < share < 1


def _residual(width: int, blocks: int, seed: int, *, inner: int = 4) -> keras.Model:
    keras.utils.set_random_seed(seed)
    entry = keras.Input(IMAGE)
    flow = L.ReLU()(_conv(width)(entry))
    for _ in range(blocks):
        side = L.BatchNormalization()(_conv(inner, activation="relu")(flow))
        flow = L.Add()([flow, _conv(width)(side)])
    return _compiled(keras.Model(entry, L.Dense(2)(L.GlobalAveragePooling2D()(flow))))


def test_inside_of_a_branch_layers_can_grow() -> None:
    share, distance = _inherit(_residual(3, 2, 1), _residual(3, 2, 2, inner=7))
    assert (share, distance < 1e-5) == (1.0, True)


def _deep_branch(deep: bool, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    entry = keras.Input(IMAGE)
    flow = L.ReLU()(_conv(4)(entry))
    side = _conv(4, activation="relu")(_conv(4, activation="relu")(flow)) if deep else _conv(4, activation="relu")(flow)
    flow = L.Concatenate()([side, flow])
    flow = _conv(8, size=1)(flow) if deep else flow
    return _compiled(keras.Model(entry, L.Dense(2)(L.Flatten()(flow))))


def test_a_branch_can_become_deeper_and_so_can_what_follows_their_meeting() -> None:
    share, distance = _inherit(_deep_branch(False, 1), _deep_branch(True, 2))
    assert (share < 1, distance < 1e-5) == (True, True)


def test_an_inner_model_can_grow() -> None:
    def model(width: int, depth: int, seed: int) -> keras.Model:
        inner = keras.Sequential([keras.Input(ROW), *(L.Dense(width, "relu") for _ in range(depth))])
        return _net(ROW, lambda: [inner, L.Dense(2)], seed)

    share, distance = _inherit(model(3, 1, 1), model(5, 2, 2))
    assert (share < 1, distance < 1e-5) == (True, True)


def test_replicas_follow_from_the_candidates_seed_and_do_not_learn_the_same() -> None:
    parent = _grown_up(_net(ROW, lambda: [L.Dense(2, "tanh"), L.Dense(3)], 1))
    first, again, other = (_net(ROW, lambda: [L.Dense(9, "tanh"), L.Dense(3)], seed) for seed in (2, 2, 3))
    for child in (first, again, other):
        inherit_state(child, dump_state(parent, {}))
    outgoing = [child.layers[1].kernel.numpy() for child in (first, again, other)]
    np.testing.assert_array_equal(outgoing[0], outgoing[1])
    assert not np.array_equal(outgoing[0], outgoing[2])
    assert len(np.unique(outgoing[0], axis=0)) == 9
    draw = np.random.default_rng(0)
    first.fit(draw.normal(size=(64, 6)), draw.normal(size=(64, 3)), epochs=3, verbose=0)
    assert len(np.unique(first.layers[0].kernel.numpy(), axis=1).T) == 9


def test_half_precision() -> None:
    def layers(width: int) -> Layers:
        return [L.Dense(width, "relu", dtype="bfloat16"), L.Dense(2, dtype="bfloat16")]

    share, distance = _inherit(_net(ROW, lambda: layers(4), 1), _net(ROW, lambda: layers(7), 2))
    assert share == 1.0
    assert distance < 0.05


_widths = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=3)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(_widths)
def test_chains_that_grow_anyhow_compute_what_they_did(sizes: list[tuple[int, int, int]]) -> None:
    """Sizes: a width, what is added to it, layers put behind."""

    def small() -> Layers:
        return [*(L.Dense(width, "relu") for width, _, _ in sizes), L.Dense(2)]

    def grown() -> Layers:
        return [*(L.Dense(width + more, "relu") for width, more, new in sizes for _ in range(1 + new)), L.Dense(2)]

    parent, child = _grown_up(_net((9,), small, 1)), _net((9,), grown, 2)
    inherit_state(child, dump_state(parent, {}))
    np.testing.assert_allclose(_outputs(child), _outputs(parent), rtol=1e-4, atol=1e-5)
