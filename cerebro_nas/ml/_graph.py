"""A graph of AutoKeras blocks as plain values, and back.

AutoKeras' own `Graph.from_config` knows only half of AutoKeras' classes and looks the others up wherever a file says;
here a class is one that AutoKeras exports, or one that this process has registered with Keras.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.worker import check_objects

TASKS = {
    "ImageClassifier": ("ImageInput", "ClassificationHead"),
    "ImageRegressor": ("ImageInput", "RegressionHead"),
    "StructuredDataClassifier": ("StructuredDataInput", "ClassificationHead"),
    "StructuredDataRegressor": ("StructuredDataInput", "RegressionHead"),
    "TextClassifier": ("TextInput", "ClassificationHead"),
    "TextRegressor": ("TextInput", "RegressionHead"),
}
"""Input and head by the name of AutoKeras' class for the task."""

_HYPERPARAMETERS = ("Boolean", "Choice", "Fixed", "Float", "Int")
_TUPLE = "tuple"
_WHERE = "The graph of the search"

Ends = tuple[list[Any], list[Any]]
"""Inputs, and what ends the graph: heads, or the nodes that heads returned."""


def ends_of(inputs: Any, outputs: Any) -> Ends:
    """The ends of a graph as flat lists.

    Raises:
        ConfigError: there is not exactly one output.
    """
    import keras

    ends = list(keras.tree.flatten(inputs)), list(keras.tree.flatten(outputs))
    if len(ends[1]) != 1:
        raise ConfigError(
            "`outputs` must be one head: a Spark ML model has one prediction. "
            f"Received: {len(ends[1])} outputs. Use `cerebro_nas.HyperHyperModel` for several."
        )
    return ends


def ends_of_task(task: str) -> Ends:
    """The ends of the graph that AutoKeras searches for a task.

    Raises:
        ConfigError: there is no such task.
    """
    import autokeras

    if task not in TASKS:
        raise ConfigError(f"`task` must be one of {', '.join(TASKS)}. Received: task={task!r}. Choose one of them.")
    start, head = TASKS[task]
    return [getattr(autokeras, start)()], [getattr(autokeras, head)()]


def fresh_ends(ends: Ends) -> Ends:
    """A copy of a graph, which a search may change as searches do."""
    try:
        return ends_from_plain(describe_ends(ends))
    except ConfigError:
        # What cannot be written down can be copied all the same, unless it holds something that cannot.
        return copy.deepcopy(ends)


def describe_ends(ends: Ends) -> dict[str, Any]:
    """Describe a graph as plain values; `ends_from_plain` is the inverse.

    Raises:
        ConfigError: it holds something of the user's own that cannot be found again by its name.
    """
    try:
        with warnings.catch_warnings():
            # Keras warns of lambdas, which are refused below.
            warnings.simplefilter("ignore")
            described = _describe(ends)
        # As a file will give it back.
        plain: dict[str, Any] = json.loads(json.dumps(described, allow_nan=False))
        if _describe(ends_from_plain(plain)) == described:
            return plain
        reason: Any = "its parts give another configuration once they are made from their own"
    except (ConfigError, CorruptStateError, UnsafeModelError, TypeError, ValueError) as error:
        reason = error
    raise ConfigError(
        "The graph of this estimator must be made of AutoKeras' blocks and of classes and functions that are "
        "registered with `keras.saving.register_keras_serializable`, to be written down without pickle. "
        f"Received: a graph that cannot be loaded again: {reason} Register what is your own, or save the fitted model "
        "alone, which needs no graph."
    )


def ends_from_plain(plain: Any) -> Ends:
    """Make the graph that `describe_ends` described.

    Raises:
        UnsafeModelError: it names what no graph is made of; nothing of it was executed.
        CorruptStateError: it is no such description.
    """
    import keras

    check_objects(plain, {*_HYPERPARAMETERS, *keras.saving.get_custom_objects()}, _WHERE)
    try:
        if "heads" in plain:
            return [_part(item) for item in plain["inputs"]], [_part(item) for item in plain["heads"]]
        return _wired(plain)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, UnsafeModelError):
            raise
        raise CorruptStateError(f"{_WHERE} cannot be made from its description: {error}. It was not loaded.") from error


# --- describing -------------------------------------------------------------------------------------------------------


def _describe(ends: Ends) -> dict[str, Any]:
    from autokeras.engine.head import Head
    from autokeras.graph import Graph

    inputs, outputs = ends
    if all(isinstance(item, Head) for item in outputs):
        return {"inputs": [_plain_part(item) for item in inputs], "heads": [_plain_part(item) for item in outputs]}
    graph = Graph(inputs=list(inputs), outputs=list(outputs))
    wiring = graph.get_config()
    numbers = list(wiring["nodes"])
    return {
        # In pairs, as their order is that of the inputs.
        "inputs": [[int(number), _plain_part(item)] for number, item in zip(numbers, inputs, strict=True)],
        "blocks": [
            {**_plain_part(block), "takes": wiring["block_inputs"][str(i)], "gives": wiring["block_outputs"][str(i)]}
            for i, block in enumerate(graph.blocks)
        ],
        "outputs": list(wiring["outputs"]),
    }


def _plain_part(part: Any) -> dict[str, Any]:
    return {"class": _class_name(type(part)), "config": _plain(part.get_config())}


def _class_name(kind: type) -> str:
    import autokeras
    import keras

    if getattr(autokeras, kind.__name__, None) is kind:
        return str(kind.__name__)
    name = str(keras.saving.get_registered_name(kind))
    if keras.saving.get_registered_object(name) is not kind:
        raise ConfigError(f"the class {kind.__name__!r} is not registered.")
    return name


def _plain(value: Any) -> Any:
    """The value with tuples marked: AutoKeras' blocks tell them from lists."""
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(item) for item in value]}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return value


# --- making -----------------------------------------------------------------------------------------------------------


def _wired(plain: dict[str, Any]) -> Ends:
    import keras

    nodes = {int(number): _part(item) for number, item in plain["inputs"]}
    inputs = list(nodes.values())
    for item in plain["blocks"]:
        given = _part(item)([nodes[number] for number in item["takes"]])
        nodes.update(zip(item["gives"], keras.tree.flatten(given), strict=True))
    return inputs, [nodes[number] for number in plain["outputs"]]


def _part(plain: dict[str, Any]) -> Any:
    return _class_of(plain["class"]).from_config(_from_plain(plain["config"]))


def _class_of(name: Any) -> Any:
    import autokeras
    import keras
    from autokeras.engine.block import Block
    from autokeras.engine.node import Node

    found = vars(autokeras).get(name) if isinstance(name, str) else None
    if found is None and isinstance(name, str):
        found = keras.saving.get_registered_object(name)
    if not isinstance(found, type) or not issubclass(found, (Block, Node)) or not hasattr(found, "from_config"):
        raise UnsafeModelError(
            f"{_WHERE} must be made of AutoKeras' blocks and of what is registered with "
            f"`keras.saving.register_keras_serializable`. Received: class {str(name)[:80]!r}. It was not loaded. If "
            "the class is your own, import the module that registers it first."
        )
    return found


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_TUPLE}:
            return tuple(_from_plain(item) for item in value[_TUPLE])
        return {name: _from_plain(item) for name, item in value.items()}
    return [_from_plain(item) for item in value] if isinstance(value, list) else value
