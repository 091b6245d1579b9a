"""Which objects a serialised Keras model may name. Checked before Keras reads a line of it.

Keras' own safe mode refuses functions by bytecode and little else: what a configuration names is looked up, and some
of what can be looked up downloads, opens files or loads other formats. Here the reverse holds: only the parts that
models are made of are allowed, each by its room of Keras and a plain name, and what this process has registered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container
from collections.abc import Iterator
from typing import Any

from cerebro_nas.errors import UnsafeModelError

_MAX_DEPTH = 200
_MAX_NODES = 2_000_000

_ROOMS = (
    "activations",
    "constraints",
    "dtype_policies",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "ops",
    "optimizers",
    "optimizers.schedules",
    "quantizers",
    "random",
    "regularizers",
)
_CLASS_ROOMS = frozenset(f"keras.{room}" for room in _ROOMS)
_FUNCTION_ROOMS = _CLASS_ROOMS - {"keras.layers", "keras.optimizers", "keras.optimizers.schedules"} | {"builtins"}
# Where Keras says that a class without a public name lives: operators in a graph, the functional model.
_PRIVATE_ROOMS = tuple(f"keras.src.{room}." for room in (*_ROOMS, "models"))
_MODELS = frozenset({"DTypePolicy", "DTypePolicyMap", "Functional", "Model", "Sequential", "Variable"})
# Not functions of a model, though they live beside them.
_TOOLS = frozenset({"deserialize", "get", "serialize"})
# What runs code that came with the file, or loads another format that does.
_REFUSED = frozenset(
    {"FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper", "__lambda__", "__typespec__"}
)
_VALUES = frozenset({"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"})
# Others, `U999999999` say, would ask for memory without end.
_DTYPE = re.compile(r"bool|bfloat16|string|(u?int|float|complex)[0-9]{1,3}(_[a-z0-9]{1,8})?")
# Lookup layers open a file whose name stands here instead of a list.
_LISTS_ONLY = ("vocabulary", "idf_weights")


def parse_json(text: str | bytes) -> Any:
    """Read JSON of unknown origin.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def check_objects(tree: Any, registered: Container[str], where: str = "the model") -> None:
    """Refuse a tree of JSON values that names an object outside of the list.

    Args:
        tree: what `json.loads` gave.
        registered: names that this process has registered with Keras.
        where: what is being read, for the message.

    Raises:
        UnsafeModelError: the message names the object and its place.
    """
    for place, node in _objects(tree, where):
        name = node.get("class_name")
        problem = _problem(node, name, registered)
        if problem:
            raise UnsafeModelError(
                f"{where} must be made of Keras' layers and of what is registered with "
                f"`keras.saving.register_keras_serializable`. Received: {problem}, at {place or 'its root'}. "
                "It was not loaded. If the class is your own, import the module that registers it first; "
                "otherwise do not trust the file."
            )


def _objects(tree: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dict that Keras could take for an object, with its place; without recursion, which depth would break."""
    pending: list[tuple[Any, tuple[Any, ...]]] = [(tree, ())]
    seen = 0
    while pending:
        value, path = pending.pop()
        seen += 1
        if seen > _MAX_NODES or len(path) > _MAX_DEPTH:
            raise UnsafeModelError(
                f"{where} must be nested less than {_MAX_DEPTH} levels deep, in {_MAX_NODES:,} values at most. "
                "Received: more. It was not loaded; no model that this package writes is like that."
            )
        if isinstance(value, dict):
            if not value.keys().isdisjoint(("class_name", "registered_name", *_LISTS_ONLY)):
                yield "/".join(map(str, path))[:200], value
            pending.extend((child, (*path, key)) for key, child in value.items())
        elif isinstance(value, list):
            pending.extend((child, (*path, number)) for number, child in enumerate(value))


def _problem(node: dict[str, Any], name: Any, registered: Container[str]) -> str:
    """What is wrong with an object; empty if nothing is."""
    for key in _LISTS_ONLY:
        if isinstance(node.get(key), str):
            return f"{key}={node[key][:80]!r}, the name of a file"
    if name is None and node.get("registered_name") is None:
        return ""
    module = node.get("module")
    if not isinstance(name, str) or not isinstance(module, str | None):
        return f"class_name={str(name)[:80]!r}, module={str(module)[:80]!r}, which are no names"
    shown = f"class_name={name[:80]!r}, module={str(module)[:80]!r}"
    if name in _REFUSED:
        return f"{shown}, which can run code of the file"
    if name == "function":
        return "" if _function_is_fine(node.get("config"), module, registered) else f"{shown}: {_brief(node)}"
    if name in _VALUES:
        return "" if _dtype_is_fine(node.get("config")) else f"{shown}: {_brief(node)}"
    if _is_known(node, name, registered) or _class_is_fine(name, module):
        return ""
    return f"{shown}, registered_name={str(node.get('registered_name'))[:80]!r}"


def _is_known(node: dict[str, Any], name: str, registered: Container[str]) -> bool:
    known = node.get("registered_name", name)
    # Keras resolves by this name first, whatever the module says.
    return isinstance(known, str) and known in registered


def _class_is_fine(name: str, module: str | None) -> bool:
    # A dot in the name would lead Keras from an allowed room into another one.
    if module is None or not name.isidentifier():
        return False
    if module in ("keras", "keras.models"):
        return name in _MODELS
    return name not in _TOOLS and (module in _CLASS_ROOMS or module.startswith(_PRIVATE_ROOMS))


def _function_is_fine(name: Any, module: str | None, registered: Container[str]) -> bool:
    if not isinstance(name, str):
        return False
    return name in registered or (name.isidentifier() and name not in _TOOLS and module in _FUNCTION_ROOMS)


def _dtype_is_fine(config: Any) -> bool:
    dtype = config.get("dtype") if isinstance(config, dict) else None
    return dtype is None or (isinstance(dtype, str) and _DTYPE.fullmatch(dtype) is not None)


def _brief(node: dict[str, Any]) -> str:
    return f"config={str(node.get('config'))[:80]!r}"
