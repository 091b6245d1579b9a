"""Every hook into AutoKeras, and into what Keras and KerasTuner do not publish. Its contract test guards upgrades."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import autokeras
import keras
import keras_tuner
from autokeras.engine import head as head_module
from autokeras.engine import node as node_module
from autokeras.graph import Graph
from autokeras.utils import utils
from keras.src import losses
from keras.src import metrics
from keras.src.backend.common import global_state
from keras_tuner.src.engine.conditions import Parent as Parent

from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space._tokens import with_token_limit

_AUTOMATIC_NAME = re.compile(r"^(?P<stem>[a-z0-9_]+?)_(?P<number>\d+)$")

# Layers that AutoKeras puts between an input and the first block.
PASS_THROUGH = ("CastToFloat32", "ExpandLastDim")

# Hyperparameters of AutoKeras' own blocks whose value decides nothing about which others exist.
LEAVES = frozenset(
    {
        "bidirectional",
        "horizontal_flip",
        "imagenet_size",
        "layer_type",
        "max_pooling",
        "merge_type",
        "optimizer",
        "pretrained",
        "separable",
        "trainable",
        "use_batchnorm",
        "version",
        "vertical_flip",
    }
)
# Hyperparameters that count repeated parts, each with hyperparameters of its own.
COUNTS = frozenset({"num_layers", "num_blocks"})
# The widths of such parts carry their numbers, from 0, and no condition on the counts.
_WIDTHS = (
    (re.compile(r"filters_(\d+)_(\d+)"), ("num_blocks", "num_layers")),
    (re.compile(r"units_(\d+)"), ("num_layers",)),
)


class ShapeGraph(Graph):  # type: ignore[misc]  # AutoKeras ships no types
    """A graph that builds models without allocating weights.

    Workers make the initial weights from a seed, so the driver needs shapes alone. That takes a third of the time for
    a ResNet, and lets a model be measured that is too large to hold.
    """

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Build the compiled model for these hyperparameters."""
        with contextlib.ExitStack() as self._weightless:
            self._weightless.enter_context(keras.StatelessScope(initialize_variables=False))
            model = super().build(hp)
        _name_inputs(model, self.inputs)
        return model

    def _compile_keras_model(self, hp: keras_tuner.HyperParameters, model: keras.Model) -> keras.Model:
        # Optimizers cannot be made within the scope.
        self._weightless.close()
        return super()._compile_keras_model(hp, model)


class Probe(keras_tuner.HyperParameters):  # type: ignore[misc]  # KerasTuner ships no types
    """Hyperparameters that are looked at the moment a build registers them.

    Args:
        choose: may replace an entry, and gives its value.
        condition: may replace an entry, knowing those registered before it.
    """

    def __init__(
        self,
        choose: Callable[[Any], tuple[Any, Any]],
        condition: Callable[[Any, keras_tuner.HyperParameters], Any],
    ) -> None:
        super().__init__()
        self._choose = choose
        self._condition = condition

    def _register(self, hyperparameter: Any, overwrite: bool = False) -> Any:
        entry, value = self._choose(hyperparameter)
        entry = self._condition(entry, self)
        self.values.setdefault(entry.name, value)
        return super()._register(entry, overwrite)


def counts_of_width(name: str) -> list[tuple[str, int]]:
    """Of the width of a repeated part: the hyperparameters that count such parts, with its number in each, from 0."""
    block, slash, leaf = name.rpartition("/")
    for pattern, counts in _WIDTHS:
        match = pattern.fullmatch(leaf)
        if match:
            return [(block + slash + count, int(number)) for count, number in zip(counts, match.groups(), strict=True)]
    return []


def flatten(structure: Any) -> list[Any]:
    """Leaves of a nested structure; AutoKeras' blocks return lists of one node."""
    return list(keras.tree.flatten(structure))


def is_input(value: Any) -> bool:
    """Whether this is an AutoKeras input."""
    return isinstance(value, autokeras.Input)


def is_classification(head: Any) -> bool:
    """Whether a head gives probabilities of classes."""
    return isinstance(head, autokeras.ClassificationHead)


def is_head(value: Any) -> bool:
    """Whether this is an AutoKeras head."""
    return isinstance(value, head_module.Head)


def is_node(value: Any) -> bool:
    """Whether this is a node of the functional API."""
    return isinstance(value, node_module.Node)


def names_of_losses() -> list[str]:
    """Names that `keras.losses.get` takes."""
    return sorted(losses.ALL_OBJECTS_DICT)


def names_of_metrics() -> list[str]:
    """Names that `keras.metrics.get` takes."""
    return sorted(metrics.ALL_OBJECTS_DICT)


def assemble(inputs: list[Any], heads: list[Any]) -> list[Any]:
    """Connect inputs to heads with the blocks that AutoKeras chooses for the kinds of input."""
    nodes = [node for item in inputs for node in flatten(item.get_block()(item))]
    merged = nodes if len(nodes) == 1 else flatten(autokeras.Merge()(nodes))
    return [node for head in heads for node in flatten(head(merged))]


def make_graph(inputs: list[Any], outputs: list[Any]) -> ShapeGraph:
    """Make the graph between these nodes, with names that do not depend on what the process made before."""
    try:
        graph = ShapeGraph(inputs=inputs, outputs=outputs)
    except ValueError as error:
        raise ConfigError(
            f"Arguments `inputs` and `outputs` should be the ends of one graph of blocks. Received: {error} "
            "Connect every block between them."
        ) from error
    _normalise_names(graph)
    _reset_names_before_blocks(graph)
    return graph


def heads_of(graph: ShapeGraph) -> list[Any]:
    """The heads, in the order of the outputs."""
    return [node.in_blocks[0] for node in graph.outputs]


def is_autokeras_block(graph: ShapeGraph, hp_name: str) -> bool:
    """Whether a hyperparameter belongs to a block (or to the compilation) that AutoKeras itself defines."""
    owner = hp_name.split("/")[0] if "/" in hp_name else None
    blocks = [block for block in graph.blocks if block.name == owner]
    return all(type(block).__module__.startswith("autokeras.") for block in blocks)


@contextlib.contextmanager
def fresh_session() -> Iterator[None]:
    """A new Keras session with the user's settings; what was made in it can be freed afterwards.

    Nested blocks and layers are named from counters of the session. Without a new one, equal hyperparameters give
    other names in each build, and the search space grows.
    """
    with _kept_settings():
        keras.utils.clear_session(free_memory=False)
    try:
        yield
    finally:
        with _kept_settings():
            keras.utils.clear_session(free_memory=False)


@contextlib.contextmanager
def _kept_settings() -> Iterator[None]:
    # clear_session drops the dtype policy too.
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


def _parts(graph: ShapeGraph) -> list[Any]:
    return [*graph.inputs, *graph.blocks]


def _name_inputs(model: keras.Model, nodes: list[Any]) -> None:
    """Call the model's inputs what the user called those of the graph; AutoKeras leaves their names to Keras."""
    taken = {layer.name for layer in model.layers}
    for tensor, node in zip(model.inputs, nodes, strict=True):
        # Keras refuses slashes. A block may have a layer of that name, which only this candidate has.
        if not _has_automatic_name(node) and "/" not in node.name and node.name not in taken:
            tensor._keras_history.operation.name = node.name
            taken.add(node.name)


def _has_automatic_name(part: Any) -> bool:
    match = _AUTOMATIC_NAME.match(part.name)
    return match is not None and match["stem"] == utils.to_snake_case(type(part).__name__)


def _normalise_names(graph: ShapeGraph) -> None:
    """Number the blocks that have automatic names from 1 in each class, keeping their order."""
    numbered: dict[str, list[tuple[int, int, Any]]] = {}
    given: set[str] = set()
    for position, part in enumerate(_parts(graph)):
        stem = utils.to_snake_case(type(part).__name__)
        match = _AUTOMATIC_NAME.match(part.name)
        if match and match["stem"] == stem:
            numbered.setdefault(stem, []).append((int(match["number"]), position, part))
        elif part.name in given:
            raise ConfigError(
                "Argument `name` of a block should be unique in the graph. "
                f"Received: name={part.name!r} for two blocks. Give them different names."
            )
        else:
            given.add(part.name)
    for stem, parts in numbered.items():
        for number, (_, _, part) in enumerate(sorted(parts, key=lambda entry: entry[:2]), start=1):
            part.name = f"{stem}_{number}"


def _reset_names_before_blocks(graph: ShapeGraph) -> None:
    """Let nested blocks count from 1 in every block.

    AutoKeras counts them over the whole graph, so that the names in one block would depend on choices in another.
    """
    for block in graph.blocks:
        if not getattr(block.build, "counts_from_one", False):
            block.build = _with_fresh_uids(with_token_limit(block, block.build))


def _with_fresh_uids(build: Callable[..., Any]) -> Callable[..., Any]:
    def build_block(*args: Any, **kwargs: Any) -> Any:
        uids = global_state.get_global_attribute("object_name_uids") or {}
        # Names of classes begin with a capital; those of layers, which must stay unique, do not.
        for name in [name for name in uids if name[:1].isupper()]:
            del uids[name]
        return build(*args, **kwargs)

    build_block.counts_from_one = True  # type: ignore[attr-defined]
    return build_block
