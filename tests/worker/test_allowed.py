"""What a serialised model may name, and what it may not: nothing of what is refused is looked up or executed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.worker import CUSTOM_OBJECTS
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import build_model
from cerebro_nas.worker import check_objects
from cerebro_nas.worker import parse_json

pytestmark = pytest.mark.case(24)

_KNOWN = frozenset({"Custom>CastToFloat32", "mine>Layer", "mine>act"})


def _dense(**changed: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": {"units": 2}, **changed}


def _function(name: Any, module: str | None = "builtins") -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


@pytest.mark.parametrize(
    "node",
    [
        _dense(),
        _dense(config={"activation": "relu"}),
        _dense(config={"activation": _function("gelu")}),
        _dense(config={"activation": _function("act", "keras.activations")}),
        _dense(config={"activation": _function("mine>act", "somewhere")}),
        _dense(class_name="Layer", module="my.module", registered_name="mine>Layer"),
        _dense(class_name="CastToFloat32", module="autokeras.keras_layers", registered_name="Custom>CastToFloat32"),
        _dense(class_name="Functional", module="keras.src.models.functional", registered_name="Functional"),
        _dense(class_name="GetItem", module="keras.src.ops.numpy", registered_name="GetItem"),
        _dense(class_name="PolynomialDecay", module="keras.optimizers.schedules"),
        _dense(class_name="Sequential", module="keras"),
        _dense(config={"vocabulary": ["a", "b"]}),
        {"class_name": "__keras_tensor__", "config": {"shape": [None, 2], "dtype": "float32", "keras_history": []}},
        {"class_name": "__numpy__", "config": {"value": [1], "dtype": "float32"}},
    ],
)
def test_parts_of_models_are_fine(node: dict[str, Any]) -> None:
    check_objects({"config": {"layers": [node]}}, _KNOWN)


@pytest.mark.parametrize(
    "node",
    [
        _dense(class_name="system", module="os", registered_name="system"),
        _dense(class_name="system", module="os"),
        _dense(class_name="Popen", module="subprocess", registered_name=None),
        _dense(class_name="exec", module="builtins"),
        _dense(class_name="get_file", module="keras.utils"),
        _dense(class_name="utils.get_file", module="keras"),
        _dense(class_name="enable_unsafe_deserialization", module="keras.config"),
        _dense(class_name="load_model", module="keras.models"),
        _dense(class_name="deserialize", module="keras.layers"),
        _dense(class_name="Lambda"),
        _dense(class_name="Lambda", module=None),
        _dense(class_name="Lambda", module="keras.src.layers.core.lambda_layer"),
        _dense(class_name="Lambda", registered_name="mine>Layer"),
        _dense(class_name="TFSMLayer"),
        _dense(class_name="TorchModuleWrapper"),
        _dense(class_name="func_load", module="keras.src.utils.python_utils"),
        _dense(module="keras.layersx"),
        _dense(module="keras_hub.layers"),
        _dense(module=None),
        _dense(module=["keras.layers"]),
        _dense(class_name=3),
        _dense(class_name=None, registered_name="mine>Layer"),
        _dense(class_name="Other", module="my.module", registered_name="mine>Other"),
        _dense(config={"activation": _function("system", "os")}),
        _dense(config={"activation": _function("eval.me")}),
        _dense(config={"activation": _function("deserialize", "keras.losses")}),
        _dense(config={"activation": _function(["relu"])}),
        _dense(config={"activation": {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}}}),
        _dense(class_name="StringLookup", config={"vocabulary": "/etc/passwd"}),
        _dense(class_name="TextVectorization", config={"idf_weights": "https://host/file"}),
        {"class_name": "__typespec__", "spec_name": "x", "module": "os", "registered_name": "x", "config": []},
        {"class_name": "__numpy__", "config": {"value": "x", "dtype": "U999999999"}},
        {"registered_name": "os>system", "config": {}},
    ],
)
@pytest.mark.parametrize("place", ["layer", "optimizer", "build_config"])
def test_everything_else_is_refused_wherever_it_stands(node: dict[str, Any], place: str) -> None:
    trees: dict[str, Any] = {
        "layer": {"config": {"layers": [_dense(), node]}},
        "optimizer": {"compile_config": {"optimizer": {"config": {"learning_rate": node}}}},
        "build_config": _dense(build_config={"input_shape": [node]}),
    }
    with pytest.raises(UnsafeModelError, match="Received: .*It was not loaded"):
        check_objects(trees[place], _KNOWN)


def test_the_message_names_object_place_and_what_to_do() -> None:
    with pytest.raises(UnsafeModelError) as caught:
        check_objects({"config": {"layers": [_dense(module="my.layers", class_name="Mine")]}}, _KNOWN, "model.keras")
    text = str(caught.value)
    assert text.startswith("model.keras must be made of Keras' layers")
    assert "class_name='Mine', module='my.layers', registered_name='None', at config/layers/0" in text
    assert "import the module that registers it first" in text


def test_what_is_too_deep_is_refused_and_does_not_break_the_reader() -> None:
    tree: dict[str, Any] = {}
    for _ in range(5000):
        tree = {"config": tree}
    with pytest.raises(UnsafeModelError, match="levels deep"):
        check_objects(tree, _KNOWN)
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 200_000)


_KEYS = st.sampled_from(["class_name", "module", "registered_name", "config", "vocabulary", "x"])
_LEAVES = st.one_of(st.none(), st.booleans(), st.floats(), st.sampled_from(["os", "keras.layers", "Dense", "function"]))
_TREES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5))


@given(_TREES)
def test_any_json_is_either_fine_or_refused(tree: Any) -> None:
    try:
        check_objects(tree, _KNOWN)
    except UnsafeModelError:
        return
    named = [node for node in _dicts(tree) if node.get("class_name") is not None]
    assert all(isinstance(node["class_name"], str) for node in named)
    assert all(node.get("module") != "os" or node.get("registered_name") in _KNOWN for node in named)


def _dicts(tree: Any) -> list[dict[str, Any]]:
    if isinstance(tree, list):
        return [node for item in tree for node in _dicts(item)]
    return [tree, *_dicts(list(tree.values()))] if isinstance(tree, dict) else []


# --- specifications of candidates -------------------------------------------------------------------------------------


def _spec() -> CandidateSpec:
    entry = keras.Input((4,))
    x = keras.layers.Dense(3, activation="relu")(CUSTOM_OBJECTS["CastToFloat32"]()(entry))
    model = keras.Model(entry, keras.layers.Dense(1)(keras.ops.relu(x) + 1))
    return CandidateSpec(
        "t", model.to_json(), keras.optimizers.serialize(keras.optimizers.Adam()), ("mse",), (("mae",),)
    )


def test_a_specification_of_ours_is_built() -> None:
    assert build_model(_spec()).count_params() == 19


def test_a_metric_of_several_numbers_is_named() -> None:
    spec = dataclasses.replace(_spec(), metrics=(("mae", "f1_score"),))
    with pytest.raises(ValueError, match="Received: 'f1_score', which gives numbers of shape"):
        build_model(spec)


def _canary(path: Path) -> dict[str, Any]:
    """Keras before 3.9 called it: a class that is a function of a module, and its configuration the arguments."""
    return {"module": "os", "class_name": "mkdir", "registered_name": "mkdir", "config": {"path": str(path)}}


@pytest.mark.parametrize("field", ["model", "optimizer", "loss", "metrics"])
def test_a_gadget_in_a_specification_does_not_run(field: str, tmp_path: Path) -> None:
    spec, canary = _spec(), tmp_path / "canary"
    model = json.loads(spec.model)
    model["config"]["layers"][2]["config"]["activation"] = _canary(canary)
    gadget = _canary(canary)
    changed: dict[str, Any] = {
        "model": json.dumps(model),
        "optimizer": gadget,
        "loss": (gadget,),
        "metrics": ((gadget,),),
    }
    with pytest.raises(UnsafeModelError, match="class_name='mkdir', module='os'"):
        build_model(dataclasses.replace(spec, **{field: changed[field]}))
    assert not canary.exists()


def test_a_lambda_does_not_run_even_where_keras_was_told_to_allow_them(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    entry = keras.Input((2,))
    wild = keras.layers.Lambda(lambda x, path=str(canary): x + Path(path).write_text("ran"), output_shape=(2,))
    model = keras.Model(entry, wild(entry))
    canary.unlink(missing_ok=True)
    spec = dataclasses.replace(_spec(), model=model.to_json())
    keras.config.enable_unsafe_deserialization()
    try:
        with pytest.raises(UnsafeModelError, match="can run code of the file"):
            build_model(spec)
    finally:
        keras.src.saving.serialization_lib.global_state.set_global_attribute("safe_mode_saving", None)
    assert not canary.exists()


@pytest.mark.parametrize("model", ["", "{", "[" * 200_000, "3", "null", "[]", '{"class_name": "Sequential"}'])
def test_a_model_that_is_no_model_is_an_ordinary_error(model: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        build_model(dataclasses.replace(_spec(), model=model))
