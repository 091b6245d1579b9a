"""A graph of blocks as flat plain values, so that two graphs can be compared line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any


def describe_graph(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten the configuration of an AutoKeras graph.

    Args:
        config: what `Graph.get_config` gives.

    Returns:
        Plain values by dotted path, such as `"conv_block_1.kernel_size"`; equal graphs give equal dicts in every
        process.
    """
    found: dict[str, Any] = {}
    for kind in ("nodes", "blocks"):
        items = config[kind]
        for item in items.values() if isinstance(items, Mapping) else items:
            settings = {**item["config"], "class": item["class_name"]}
            found.update(_flat(settings.pop("name", item["class_name"]), settings))
    wiring = {kind: config[kind] for kind in ("block_inputs", "block_outputs", "outputs")}
    # As text: where a block was added, every number in it differs.
    found["wiring"] = json.dumps(wiring, sort_keys=True)
    return found


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and set(value) == {"class_name", "config"}:
        # A hyperparameter; on one line it can be read.
        settings = (f"{name}={item!r}" for name, item in sorted(value["config"].items()) if name != "name")
        yield path, f"{value['class_name']}({', '.join(settings)})"
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            yield from _flat(f"{path}.{name}", value[name])
    elif isinstance(value, (list, tuple)) and not all(_is_plain(item) for item in value):
        for index, item in enumerate(value):
            yield from _flat(f"{path}.{index}", item)
    elif isinstance(value, (list, tuple)):
        yield path, list(value)
    else:
        yield path, value if _is_plain(value) else _name_of(value)


def _is_plain(value: Any) -> bool:
    return value is None or type(value) in (bool, int, float, str)


def _name_of(value: Any) -> str:
    """What identifies a function or an object in every process; its `repr` may hold an address."""
    kind = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if not hasattr(value, "get_config") or isinstance(value, type):
        return name
    return name + str(dict(_flat("", value.get_config())))
