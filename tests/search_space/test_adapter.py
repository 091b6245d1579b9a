"""The contract with AutoKeras, KerasTuner and Keras: what the adapter relies on and they do not promise."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import autokeras as ak
import keras
import keras_tuner
import pytest
from autokeras.graph import Graph

from cerebro_nas.data._types import PreparedData
from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space import SearchSpace
from cerebro_nas.search_space import _adapter
from cerebro_nas.worker import CUSTOM_OBJECTS
from cerebro_nas.worker import ColumnSpec

Prepare = Callable[..., PreparedData]


def ready(prepare: Prepare, inputs: Any, outputs: Any, **kwargs: Any) -> SearchSpace:
    space = SearchSpace(inputs, outputs)
    space.configure(prepare(**kwargs), batch_size=32, epochs=2)
    return space


def conv_graph() -> tuple[Any, Any]:
    node = ak.ImageInput()
    return node, ak.ClassificationHead()(ak.ConvBlock()(ak.Normalization()(node)))


def test_models_without_weights_equal_those_of_autokeras(prepare: Prepare) -> None:
    space = ready(prepare, *conv_graph())
    plain = Graph(inputs=space._graph.inputs, outputs=space._graph.outputs)
    plain.set_fit_args(0, 2)
    texts, sizes = [], []
    for graph in (plain, space._graph, space._graph):
        with _adapter.fresh_session():
            model = graph.build(keras_tuner.HyperParameters())
            texts.append(model.to_json())
            sizes.append(model.count_params())

    assert texts[0] == texts[1] == texts[2]
    assert len(set(sizes)) == 1
    assert not keras.src.backend.common.global_state.get_global_attribute("uninitialized_variables")


def test_names_do_not_depend_on_what_was_made_before(prepare: Prepare) -> None:
    for _ in range(3):
        ak.ConvBlock()
    first, second = (ready(prepare, *conv_graph()).explore() for _ in range(2))

    assert [hp.name for hp in first.space] == [hp.name for hp in second.space]
    assert any(hp.name.startswith("conv_block_1/") for hp in first.space)


def test_blocks_keep_their_order_and_given_names(prepare: Prepare) -> None:
    node = ak.Input()
    late, early = ak.DenseBlock(), ak.DenseBlock()
    mine = ak.DenseBlock(name="mine")
    space = ready(prepare, node, ak.RegressionHead()(mine(late(early(node)))), shape=(4,))

    assert (late.name, early.name, mine.name) == ("dense_block_1", "dense_block_2", "mine")
    assert any(hp.name == "mine/num_layers" for hp in space.explore().space)


def test_blocks_of_two_sessions_do_not_share_names() -> None:
    node = ak.Input()
    first = ak.DenseBlock()
    keras.backend.clear_session()
    second = ak.DenseBlock()
    assert first.name == second.name
    SearchSpace(node, ak.RegressionHead()(second(first(node))))

    assert first.name != second.name


def test_a_name_given_twice_is_refused() -> None:
    node = ak.Input()
    with pytest.raises(ConfigError, match="unique"):
        SearchSpace(node, ak.RegressionHead()(ak.DenseBlock(name="x")(ak.DenseBlock(name="x")(node))))


def test_names_in_one_block_do_not_depend_on_another(prepare: Prepare) -> None:
    nodes = [ak.ImageInput(), ak.ImageInput()]
    blocks = [ak.ImageBlock(block_type=None, normalize=False, augment=False)(node) for node in nodes]
    space = SearchSpace(nodes, ak.ClassificationHead()(ak.Merge()(blocks)))
    one = prepare().features[0]
    other = type(one)("other", one.shape, one.dtype, one.encoding)
    space.configure(prepare(features=(one, other)), batch_size=32, epochs=1)
    hps = keras_tuner.HyperParameters()
    for name in ("image_block_1/block_type", "image_block_2/block_type"):
        hps.Fixed(name, "vanilla")
    names = {hp.name.rsplit("/", 1)[0] for hp in space.explore(hps).space if "conv_block" in hp.name}

    assert names == {"image_block_1/conv_block_1", "image_block_2/conv_block_1"}


def test_dtype_policy_survives_new_sessions(prepare: Prepare) -> None:
    space = ready(prepare, *conv_graph())
    keras.config.set_dtype_policy("mixed_float16")
    try:
        space.explore()
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy("float32")


def test_known_leaves_open_no_scope(prepare: Prepare) -> None:
    """Trying every value of the leaves we skip finds nothing new."""
    node = ak.ImageInput()
    graph = ak.ClassificationHead()(ak.ImageAugmentation()(ak.ConvBlock()(node)))
    space = ready(prepare, node, graph)
    found = {hp.name for hp in space.explore().space}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr("cerebro_nas.search_space._explore.LEAVES", frozenset({"pretrained"}))
        everything = {hp.name for hp in space.explore().space}

    assert found == everything


def test_automatic_assembly_follows_the_kind_of_input() -> None:
    for node, block in ((ak.ImageInput(), "ImageBlock"), (ak.StructuredDataInput(), "StructuredDataBlock")):
        (output,) = _adapter.assemble([node], [ak.ClassificationHead()])
        assert type(output.in_blocks[0].inputs[0].in_blocks[0]).__name__ == block
    (output,) = _adapter.assemble([ak.Input(), ak.Input()], [ak.RegressionHead()])
    assert isinstance(output.in_blocks[0].inputs[0].in_blocks[0], ak.Merge)


def _input_names(spec: Any) -> list[str]:
    model = keras.models.model_from_json(spec.model, custom_objects=CUSTOM_OBJECTS)
    return [tensor.name for tensor in model.inputs]


def test_inputs_have_the_names_that_the_user_gave(prepare: Prepare) -> None:
    """So that an exported model takes a dict by these names."""
    columns = tuple(ColumnSpec(name, (4,), "float32", "list") for name in "abcd")
    # Keras refuses slashes; a layer of the candidate is called "dense", and the head "price".
    nodes = [ak.Input(name="table"), ak.Input(), ak.Input(name="a/b"), ak.Input(name="dense")]
    head = ak.RegressionHead(name="price", dropout=0.0)
    merged = ak.Merge("concatenate")([ak.DenseBlock(num_layers=1, dropout=0.0)(node) for node in nodes])
    space = ready(prepare, nodes, head(merged), features=columns)
    spec = space.build(space.explore(), trial="1")
    assert _input_names(spec) == ["table", "input_layer_1", "input_layer_2", "input_layer_3"]
    assert space.build(space.explore(), trial="1") == spec


def test_inputs_without_a_name_are_called_as_before(prepare: Prepare) -> None:
    node = ak.ImageInput()
    space = ready(prepare, node, ak.ClassificationHead()(ak.DenseBlock(num_layers=1)(ak.Flatten()(node))))
    assert _input_names(space.build(space.explore(), trial="1")) == ["input_layer"]


def test_names_of_losses_and_metrics_are_those_that_keras_takes() -> None:
    assert {"mae", "huber", "categorical_crossentropy"} < set(_adapter.names_of_losses())
    assert {"mae", "auc", "accuracy", "f1_score", "AUC"} < set(_adapter.names_of_metrics())
