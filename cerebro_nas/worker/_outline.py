"""What a model is made of, in few words: its state carries it, so that another model can tell which layers match."""

from __future__ import annotations

import json
import weakref
import zlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from cerebro_nas.worker._allowed import parse_json

Kind = tuple[str, tuple[int, ...], str]

# Names, sizes (the variables tell them), and what only training needs.
_UNSAID = frozenset(
    ("name", "trainable", "dtype", "units", "filters", "rate", "seed", "momentum", "build_config", "optimizer")
)
_UNSAID_ENDS = ("_initializer", "_regularizer", "_constraint")

_texts: weakref.WeakKeyDictionary[keras.Model, str] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Part:
    """A layer, or an operation, of a model.

    Attributes:
        kind: its class.
        sign: a digest of its settings; equal ones compute the same, sizes and weights apart.
        sources: numbers of the parts whose outputs it takes.
        variables: name, shape and type of each of its variables.
    """

    kind: str
    sign: str
    sources: tuple[int, ...]
    variables: tuple[Kind, ...]

    @property
    def learns(self) -> bool:
        """Whether it has weights or statistics; the state of a random generator is neither."""
        return any(name != "seed_generator_state" for name, _, _ in self.variables)


@dataclass(frozen=True)
class Outline:
    """The parts of a model in an order in which they can be computed, which is also that of its variables.

    Attributes:
        parts: what `text` keeps of them.
        layers: the layer, or operation, of each.
        fixed: numbers of the parts whose outputs must stay as wide as they are: they are the model's, or go to a
            layer that is called more than once.
    """

    parts: tuple[Part, ...]
    layers: tuple[Any, ...]
    fixed: frozenset[int]


def kind_of(name: str, item: Any) -> Kind:
    """Name, shape and type of a variable, or of an array under the name of one."""
    # The last word of it: names of the optimizer's variables hold those of the layers, with counters.
    return name.rsplit("_", 1)[-1] if "seed_generator" not in name else name, tuple(item.shape), str(item.dtype)


def outline(model: keras.Model) -> Outline | None:
    """The parts of a model; None if it is no graph of layers, or two of them share variables."""
    walk = _Walk()
    if not walk.graph(model):
        return None
    own = [id(variable) for layer in walk.layers for variable in getattr(layer, "variables", ())]
    if own != [id(variable) for variable in model.variables if id(variable) in set(own)]:
        return None
    parts = tuple(_part(layer, sources) for layer, sources in zip(walk.layers, walk.sources, strict=True))
    fixed = frozenset(walk.made[id(tensor)] for tensor in (*model.outputs, *walk.shared))
    return Outline(parts, tuple(walk.layers), fixed)


def outline_text(model: keras.Model) -> str:
    """The parts as text, for the header of the model's state; made once per model, as states are made at every hop."""
    if model not in _texts:
        found = outline(model)
        parts = found.parts if found else ()
        rows = [[part.kind, part.sign, list(part.sources), len(part.variables)] for part in parts]
        _texts[model] = json.dumps(rows, separators=(",", ":"))
    return _texts[model]


def parse_outline(text: str, variables: Sequence[Kind]) -> tuple[Part, ...]:
    """The parts in `outline_text`'s text, whose variables are the first of these; none if it does not tell them."""
    try:
        rows = parse_json(text)
    except ValueError:
        return ()
    if not isinstance(rows, list):
        return ()
    parts: list[Part] = []
    begin = 0
    for row in rows:
        if not _is_row(row, len(parts)):
            return ()
        kind, sign, sources, count = row
        parts.append(Part(kind, sign, tuple(sources), tuple(variables[begin : begin + count])))
        begin += count
    return tuple(parts) if begin <= len(variables) else ()


def _is_row(row: Any, number: int) -> bool:
    if not isinstance(row, list) or len(row) != 4 or not all(isinstance(text, str) for text in row[:2]):
        return False
    return isinstance(row[2], list) and all(_is_number(item, number) for item in row[2]) and _is_number(row[3], 1 << 31)


def _is_number(value: Any, end: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < end


class _Walk:
    """Collects the layers of a model, those of models inside of it in their place."""

    def __init__(self) -> None:
        self.layers: list[Any] = []
        self.sources: list[tuple[int, ...]] = []
        self.shared: list[Any] = []
        self.made: dict[int, int] = {}

    def graph(self, model: Any) -> bool:
        """Collect; False if it is no graph."""
        graph = _graph(model)
        if graph is None:
            return False
        calls: dict[int, list[Any]] = {}
        for nodes in graph._nodes_by_depth.values():
            for node in nodes:
                calls.setdefault(id(node.operation), []).append(node)
        for layer in graph.operations:
            self._layer(layer, calls[id(layer)])
        return True

    def _layer(self, layer: Any, calls: list[Any]) -> None:
        if len(calls) == 1 and _graph(layer) is not None:
            self._inner(layer, calls[0])
            return
        number = len(self.layers)
        self.layers.append(layer)
        self.sources.append(self._fed(calls[0]) if len(calls) == 1 else ())
        for call in calls:
            self.made.update((id(tensor), number) for tensor in call.outputs)
            # What comes later may be among its sources then, so they are none for the record.
            self.shared.extend(call.input_tensors if len(calls) > 1 else ())

    def _fed(self, call: Any) -> tuple[int, ...]:
        # An input layer of a model inside of another one has a source, which `_inner` entered.
        tensors = call.input_tensors or [tensor for tensor in call.outputs if id(tensor) in self.made]
        return tuple(self.made[id(tensor)] for tensor in tensors)

    def _inner(self, model: Any, call: Any) -> None:
        for inside, outside in zip(model.inputs, call.input_tensors, strict=True):
            self.made[id(inside)] = self.made[id(outside)]
        self.graph(model)
        for inside, outside in zip(model.outputs, call.outputs, strict=True):
            self.made[id(outside)] = self.made[id(inside)]


def _graph(model: Any) -> Any:
    """The graph of a functional or sequential model, None if it is neither."""
    found = getattr(model, "_functional", None) or model
    return found if isinstance(found, keras.Model) and hasattr(found, "_nodes_by_depth") else None


def _part(layer: Any, sources: tuple[int, ...]) -> Part:
    variables = tuple(kind_of(variable.name, variable) for variable in getattr(layer, "variables", ()))
    return Part(type(layer).__name__, _sign(layer), sources, variables)


def _sign(layer: Any) -> str:
    # Operations of Keras have a configuration only if they were made with plain arguments.
    tell: Callable[[], Any] = layer.get_config
    try:
        config = tell()
    except (NotImplementedError, TypeError, ValueError, AttributeError):
        config = None
    text = json.dumps(_said(config), sort_keys=True, default=str)
    return f"{zlib.crc32(text.encode()):08x}"


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(_said_items(value))
    return [_said(item) for item in value] if isinstance(value, list | tuple) else value


def _said_items(config: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if str(key) not in _UNSAID and not str(key).endswith(_UNSAID_ENDS):
            yield str(key), _said(value)
