from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import autokeras as ak
import keras
import keras_tuner
import numpy as np
import pytest

from cerebro_nas.data._types import PreparedData
from cerebro_nas.errors import BuildError
from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space import SearchSpace
from cerebro_nas.search_space._adapted import Adapter

Prepare = Callable[..., PreparedData]


def conv_space(prepared: PreparedData, **kwargs: Any) -> SearchSpace:
    node = ak.ImageInput()
    block = ak.ConvBlock()(ak.Normalization()(ak.Normalization()(node)))
    space = SearchSpace(node, ak.ClassificationHead()(ak.DenseBlock()(block)), **kwargs)
    space.configure(prepared, batch_size=32, epochs=5)
    return space


def with_values(hps: keras_tuner.HyperParameters, **values: Any) -> keras_tuner.HyperParameters:
    hps = hps.copy()
    hps.values.update({name.replace("__", "/"): value for name, value in values.items()})
    return hps


def test_equal_values_give_equal_text_and_other_optimizers_the_same_model(prepare: Prepare) -> None:
    space = conv_space(prepare())
    hps = space.explore()
    one = space.build(hps, trial="a", seed=1)
    again = space.build(with_values(hps, optimizer="sgd"), trial="a", seed=1)
    wider = space.build(with_values(hps, conv_block_1__filters_0_0=64), trial="a", seed=1)

    assert space.build(hps, trial="a", seed=1) == one
    assert again.model == one.model
    assert again.optimizer != one.optimizer
    assert wider.model != one.model
    assert wider.parameters > one.parameters
    assert json.loads(one.to_json())["trial"] == "a"


def test_random_layers_have_equal_text_too(prepare: Prepare) -> None:
    node = ak.ImageInput()
    block = ak.ImageAugmentation(rotation_factor=0.1, translation_factor=0.1, contrast_factor=0.1)(node)
    space = SearchSpace(node, ak.ClassificationHead(dropout=0.5)(block), seed=7)
    space.configure(prepare(), batch_size=32, epochs=1)
    hps = space.explore()
    specs = [space.build(hps, trial="a") for _ in range(2)]

    assert specs[0] == specs[1]
    assert specs[0].seed == 7
    assert "RandomRotation" in specs[0].model
    assert "Dropout" in specs[0].model


def test_candidates_train(prepare: Prepare) -> None:
    space = conv_space(prepare(mean=(3.0,) * 8, variance=(2.0,) * 8))
    spec = space.build(with_values(space.explore(), optimizer="adam_weight_decay"), trial="a", seed=1)
    model = keras.models.model_from_json(spec.model)
    model.compile(
        # Keras changes the dict it is given.
        optimizer=keras.optimizers.deserialize(copy.deepcopy(spec.optimizer)),
        loss=[keras.losses.get(loss) for loss in spec.loss],
        metrics=[list(metrics) for metrics in spec.metrics],
    )
    history = model.fit(np.ones((8, 8, 8), "uint8"), np.eye(3)[np.zeros(8, int)], verbose=0, epochs=1)

    assert set(history.history) == {"accuracy", "loss"}
    assert model.count_params() == spec.parameters
    # 320 training rows in batches of 32, 5 epochs.
    assert spec.optimizer["config"]["learning_rate"]["config"]["decay_steps"] == 50
    assert spec.adapted == {"normalization": {"mean": [3.0], "variance": [2.0]}}


def test_statistics_equal_those_that_keras_adapts_to(prepare: Prepare) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(3, 2, (50, 6, 4)) * np.arange(1, 5)
    moments = {"mean": data.mean((0, 1)), "variance": data.var((0, 1))}
    prepared = prepare(shape=(6, 4), **moments)
    inputs = keras.Input((6, 4))
    for layer, tensor in (
        (keras.layers.Normalization(axis=-1), inputs),
        (keras.layers.Normalization(axis=None), inputs),
    ):
        model = keras.Model(inputs, layer(tensor))
        (found,) = Adapter([prepared.features], prepared).adapted(model).values()
        layer.adapt(data)
        np.testing.assert_allclose(found["mean"], np.ravel(layer.mean), rtol=1e-4)
        np.testing.assert_allclose(found["variance"], np.ravel(layer.variance), rtol=1e-4)


def test_other_axes_are_refused(prepare: Prepare) -> None:
    node = ak.ImageInput()
    space = SearchSpace(node, ak.ClassificationHead()(ak.Normalization(axis=1)(node)))
    space.configure(prepare(), batch_size=32, epochs=1)
    with pytest.raises(BuildError, match="should be -1"):
        space.build(space.explore(), trial="a", seed=0)


def test_normalization_elsewhere_is_left_alone_and_said_once(
    prepare: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    node = ak.ImageInput()
    space = SearchSpace(node, ak.ClassificationHead()(ak.Normalization()(ak.ConvBlock()(node))))
    space.configure(prepare(), batch_size=32, epochs=1)
    hps = space.explore()
    with caplog.at_level(logging.WARNING):
        assert space.build(hps, trial="a", seed=0).adapted == {}
        space.build(hps, trial="b", seed=0)

    assert len([r for r in caplog.records if "does not follow an input" in r.message]) == 1


@pytest.mark.case(17)
def test_too_large_candidates_are_rejected_without_allocating_them(prepare: Prepare) -> None:
    node = ak.Input()
    space = SearchSpace(node, ak.RegressionHead()(ak.DenseBlock()(node)), max_model_size=10_000)
    space.configure(prepare(shape=(1000,)), batch_size=32, epochs=1)
    overrides = keras_tuner.HyperParameters()
    overrides.Fixed("dense_block_1/units_0", 10_000_000)
    hps = space.explore(overrides)
    started = time.perf_counter()
    with pytest.raises(BuildError, match=r"more than max_model_size=10,000") as caught:
        space.build(hps, trial="a", seed=0)

    assert caught.value.reason == "oversized"
    assert (caught.value.parameters or 0) > 10_000_000_000
    assert time.perf_counter() - started < 2


@pytest.mark.case(18)
def test_what_keras_refuses_is_an_invalid_graph(prepare: Prepare) -> None:
    node = ak.Input()
    space = SearchSpace(node, ak.RegressionHead()(ak.RNNBlock()(node)))
    space.configure(prepare(shape=(4,)), batch_size=32, epochs=1)
    with pytest.raises(BuildError, match="Expect the input tensor of RNNBlock") as caught:
        space.explore()

    assert caught.value.reason == "invalid_graph"


class Poolings(ak.Block):  # type: ignore[misc]
    """Pools as often as it is told, which a small image does not bear."""

    def build(self, hp: keras_tuner.HyperParameters, inputs: Any = None) -> Any:
        (tensor,) = keras.tree.flatten(inputs)
        for _ in range(hp.Int("poolings", 1, 6)):
            tensor = keras.layers.MaxPooling2D(2)(tensor)
        return tensor


class Adding(ak.Block):  # type: ignore[misc]
    """Adds a branch of another width where it is told to."""

    def build(self, hp: keras_tuner.HyperParameters, inputs: Any = None) -> Any:
        (tensor,) = keras.tree.flatten(inputs)
        flat = keras.layers.Flatten()(tensor)
        width = hp.Choice("width", [4, 8])
        return keras.layers.Add()([keras.layers.Dense(4)(flat), keras.layers.Dense(width)(flat)])


@pytest.mark.case(18)
@pytest.mark.parametrize(
    ("block", "good", "bad", "told"),
    [
        (
            Poolings,
            {"poolings": 3},
            {"poolings": 4},
            "Computed output size would be negative|one of its dimensions|size",
        ),
        (Adding, {"width": 4}, {"width": 8}, "same shape|compatible|broadcast"),
    ],
)
def test_a_bad_architecture_is_told_with_keras_words_and_the_next_one_is_built(
    prepare: Prepare, block: Any, good: dict[str, int], bad: dict[str, int], told: str
) -> None:
    node = ak.ImageInput()
    space = SearchSpace(node, ak.ClassificationHead()(block()(node)))
    space.configure(prepare(shape=(8, 8, 1)), batch_size=32, epochs=1)
    hps = space.explore()
    name = next(entry.name for entry in hps.space if entry.name.endswith(next(iter(bad))))
    for number in range(2):
        hps.values[name] = next(iter(bad.values()))
        with pytest.raises(BuildError, match=told) as caught:
            space.build(hps, trial=f"bad{number}", seed=0)
        assert caught.value.reason == "invalid_graph"
        hps.values[name] = next(iter(good.values()))
        assert space.build(hps, trial=f"good{number}", seed=0).parameters > 0


def test_missing_values_take_defaults(prepare: Prepare) -> None:
    space = conv_space(prepare())
    hps = space.explore()
    partial = hps.copy()
    partial.values = {"optimizer": "adam"}

    assert space.build(partial, trial="a", seed=1).model == space.build(hps, trial="a", seed=1).model
    assert partial.values == {"optimizer": "adam"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda: ("image", ak.ClassificationHead()), "inputs"),
        (lambda: ([], ak.ClassificationHead()), "inputs"),
        (lambda: (ak.Input(), ak.DenseBlock()), "outputs"),
        (lambda: (ak.Input(), ak.DenseBlock()(ak.Input())), "outputs"),
        (lambda: (ak.Input(), ak.RegressionHead()(ak.DenseBlock()(ak.Input()))), "ends of one graph"),
    ],
)
def test_wrong_ends_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSpace(*arguments())


@pytest.mark.parametrize("size", [0, -1, True, "big"])
def test_wrong_sizes_are_refused(size: Any) -> None:
    with pytest.raises(ConfigError, match="max_model_size"):
        SearchSpace(ak.Input(), ak.RegressionHead(), max_model_size=size)


def test_pretrained_blocks_are_refused() -> None:
    node = ak.ImageInput()
    with pytest.raises(ConfigError, match="pretrained"):
        SearchSpace(node, ak.ClassificationHead()(ak.ResNetBlock(pretrained=True)(node)))


def test_configure_comes_first() -> None:
    with pytest.raises(ConfigError, match="configure"):
        SearchSpace(ak.Input(), ak.RegressionHead()).explore()


@pytest.mark.slow
def test_published_graph(prepare: Prepare) -> None:
    node = ak.ImageInput()
    normal = ak.Normalization()(node)
    merged = ak.Merge()([ak.ConvBlock()(normal), ak.ResNetBlock(version="v2")(normal)])
    space = SearchSpace(node, ak.ClassificationHead()(merged))
    space.configure(prepare((28, 28, 1), tuple(range(10)), label_shape=(10,)), batch_size=32, epochs=5)
    overrides = keras_tuner.HyperParameters()
    overrides.Fixed("learning_rate", 0.0001)
    hps = space.explore(overrides)
    spec = space.build(hps, trial="a", seed=0)

    assert spec.parameters > 23_000_000
    assert spec.adapted == {"normalization": {"mean": [0.5], "variance": [0.25]}}
    assert abs(spec.optimizer["config"]["learning_rate"] - 0.0001) < 1e-9
    assert space.build(hps, trial="a", seed=0) == spec


@pytest.mark.slow
def test_short_form_is_explored_in_seconds(prepare: Prepare) -> None:
    space = SearchSpace(ak.ImageInput(), ak.ClassificationHead())
    space.configure(prepare((28, 28, 1), tuple(range(10))), batch_size=32, epochs=5)
    started = time.perf_counter()
    names = {hp.name for hp in space.explore().space}

    assert time.perf_counter() - started < 30
    assert {"image_block_1/conv_block_1/filters_2_1", "image_block_1/efficient_net_block_1/version"} <= names
