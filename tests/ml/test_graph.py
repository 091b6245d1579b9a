"""Graphs as plain values: every block and wiring there and back, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import autokeras as ak
import keras
import pytest
from keras_tuner.engine.hyperparameters import Choice

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.ml._graph import TASKS
from cerebro_nas.ml._graph import describe_ends
from cerebro_nas.ml._graph import ends_from_plain
from cerebro_nas.ml._graph import ends_of
from cerebro_nas.ml._graph import ends_of_task
from cerebro_nas.ml._graph import fresh_ends


def _image() -> Any:
    start = ak.ImageInput(name="pixels")
    node = ak.ImageAugmentation(translation_factor=(0.1, 0.2))(ak.Normalization()(start))
    node = ak.ConvBlock(filters=Choice("filters", [16, 32]), kernel_size=3)(node)
    return start, ak.ClassificationHead()(node)


def _two_inputs() -> Any:
    image, table = ak.ImageInput(), ak.StructuredDataInput(column_names=["a"], column_types={"a": "numerical"})
    node = ak.Merge()([ak.ImageBlock()(image), ak.StructuredDataBlock()(table)])
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    return [image, table], ak.ClassificationHead(num_classes=3, loss=loss, metrics=["accuracy", keras.metrics.AUC()])(
        node
    )


def _shared_block() -> Any:
    start = ak.Input()
    first = ak.DenseBlock(num_layers=1)(start)
    node = ak.Merge()([ak.DenseBlock()(first), first])
    return start, ak.RegressionHead(output_dim=1, metrics=["mae"])(node)


GRAPHS = {"image": _image, "two inputs": _two_inputs, "diamond": _shared_block}


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS.keys())
def test_a_graph_survives_there_and_back(make: Any) -> None:
    plain = describe_ends(ends_of(*make()))
    again = ends_from_plain(json.loads(json.dumps(plain)))
    assert describe_ends(again) == plain
    assert len(again[0]) == len(plain["inputs"])


@pytest.mark.parametrize("task", TASKS)
def test_a_task_survives_there_and_back(task: str) -> None:
    plain = describe_ends(ends_of_task(task))
    (start,), (head,) = ends_from_plain(plain)
    assert (type(start).__name__, type(head).__name__) == TASKS[task]


def test_tuples_stay_tuples() -> None:
    """`ImageAugmentation` takes a list for one number."""
    again = fresh_ends(ends_of(*_image()))
    (augmentation,) = again[0][0].out_blocks[0].outputs[0].out_blocks
    assert augmentation.translation_factor == (0.1, 0.2)


def test_a_copy_shares_nothing() -> None:
    ends = ends_of(*_shared_block())
    again = fresh_ends(ends)
    assert again[0][0] is not ends[0][0]
    assert again[1][0].in_blocks[0] is not ends[1][0].in_blocks[0]


def _own_loss(y_true: Any, y_pred: Any) -> Any:
    return keras.ops.mean(keras.ops.abs(y_true - y_pred))


class _OwnBlock(ak.Block):  # type: ignore[misc]
    def build(self, hp: Any, inputs: Any = None) -> Any:
        return inputs


@pytest.mark.parametrize("own", ["loss", "block"])
def test_what_has_no_registered_name_cannot_be_described_but_copied(own: str) -> None:
    start = ak.Input()
    node = (_OwnBlock() if own == "block" else ak.DenseBlock())(start)
    ends = ends_of(start, ak.RegressionHead(loss=_own_loss if own == "loss" else "mse")(node))
    with pytest.raises(ConfigError, match="without pickle. Received: a graph that cannot be loaded again: .*own"):
        describe_ends(ends)
    again = fresh_ends(ends)
    assert again[1][0].in_blocks[0].loss in (_own_loss, "mse")
    assert again[0][0] is not start


def test_a_registered_class_can_be_described() -> None:
    class Registered(ak.Block):  # type: ignore[misc]
        def build(self, hp: Any, inputs: Any = None) -> Any:
            return inputs

    name = "tests_ml>Registered"
    keras.saving.register_keras_serializable("tests_ml")(Registered)
    try:
        start = ak.Input()
        plain = describe_ends(ends_of(start, ak.RegressionHead()(Registered()(start))))
        assert plain["blocks"][0]["class"] == name
        assert isinstance(ends_from_plain(plain)[0][0].out_blocks[0], Registered)
    finally:
        del keras.saving.get_custom_objects()[name]
    with pytest.raises(UnsafeModelError, match="class 'tests_ml>Registered'.* import the module that registers it"):
        ends_from_plain(plain)


@pytest.mark.parametrize("name", ["os.mkdir", "AutoModel", "keras", "Graph", 3, None])
def test_only_blocks_and_nodes_are_made(name: Any) -> None:
    plain = {"inputs": [{"class": name, "config": {}}], "heads": []}
    with pytest.raises(UnsafeModelError, match="must be made of AutoKeras' blocks"):
        ends_from_plain(plain)


def test_a_gadget_in_a_loss_is_refused() -> None:
    plain = describe_ends(ends_of_task("StructuredDataRegressor"))
    plain["heads"][0]["config"]["loss"] = {"module": "os", "class_name": "mkdir", "config": {"path": "x"}}
    with pytest.raises(UnsafeModelError, match="class_name='mkdir', module='os'"):
        ends_from_plain(plain)


@pytest.mark.parametrize("plain", [{}, [], {"inputs": [], "blocks": [{}], "outputs": []}, {"heads": [], "inputs": [1]}])
def test_what_is_no_description_is_damage(plain: Any) -> None:
    with pytest.raises(CorruptStateError, match="cannot be made from its description"):
        ends_from_plain(plain)


def test_one_head() -> None:
    with pytest.raises(ConfigError, match="`outputs` must be one head.*Received: 2 outputs"):
        ends_of(ak.Input(), [ak.RegressionHead(), ak.RegressionHead()])


def test_an_unknown_task() -> None:
    with pytest.raises(ConfigError, match="`task` must be one of ImageClassifier, .*Received: task='Tabular'"):
        ends_of_task("Tabular")
