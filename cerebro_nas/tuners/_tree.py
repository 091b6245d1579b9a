"""Hyperparameters as what they are: a tree by their names, a space with conditions, values that have neighbours."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import keras_tuner

from cerebro_nas.tuners._stages import Values

_NUMBERS = (keras_tuner.engine.hyperparameters.Int, keras_tuner.engine.hyperparameters.Float)
_INT = keras_tuner.engine.hyperparameters.Int
_CHOICE = keras_tuner.engine.hyperparameters.Choice


@dataclass
class Node:
    """A node of the tree that the "/" in the names of hyperparameters spans."""

    name: str | None = None
    children: dict[str, Node] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The hyperparameters at and below this node."""
        own = [] if self.name is None else [self.name]
        return own + [name for child in self.children.values() for name in child.names()]

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for child in self.children.values():
            yield from child.walk()


def tree(names: Iterable[str]) -> list[Node]:
    """The nodes of the tree of these hyperparameters, the root first; none if there are no hyperparameters."""
    root = Node()
    for name in names:
        node = root
        for part in name.split("/"):
            node = node.children.setdefault(part, Node())
        node.name = name
    return list(root.walk()) if root.children else []


def active_entries(space: keras_tuner.HyperParameters, values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of the space that a configuration gives values to, by name.

    A name may stand for several entries with different conditions: the first active one counts. Values that the
    entry does not admit (the space was another one when they were chosen) are left out.
    """
    entries: dict[str, Any] = {}
    known: Values = {}
    for hp in space.space:
        if hp.name in values and hp.name not in entries and is_active(hp, known) and admits(hp, values[hp.name]):
            entries[hp.name] = hp
            known[hp.name] = values[hp.name]
    return entries


def configure(space: keras_tuner.HyperParameters, choose: Callable[[Any], Any]) -> Values:
    """The configuration in which every hyperparameter that its predecessors make active has the value chosen for it.

    Args:
        space: the space; parents come before the hyperparameters that depend on them.
        choose: gives the value for an entry of the space.
    """
    values: Values = {}
    for hp in space.space:
        if hp.name not in values and is_active(hp, values):
            values[hp.name] = choose(hp)
    return values


def is_active(hp: Any, values: Mapping[str, Any]) -> bool:
    """Whether a hyperparameter is there beside these values of others.

    A name may stand for several entries with different conditions: whoever walks the space takes the first active one.
    """
    return all(condition.is_active(values) for condition in hp.conditions)


def admits(hp: Any, value: Any) -> bool:
    """Whether a hyperparameter may have this value."""
    # For Python True is 1.
    if not isinstance(hp, _NUMBERS):
        return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in hp.values)
    if not isinstance(value, int | float) or isinstance(value, bool) or not hp.min_value <= value <= hp.max_value:
        return False
    return not isinstance(hp, _INT) or float(value).is_integer()


def number_of_values(hp: Any) -> int | None:
    """How many values a hyperparameter may have; None: they are continuous, or sampled as if they were."""
    if not isinstance(hp, _NUMBERS):
        return len(hp.values)
    if hp.min_value == hp.max_value:
        return 1
    return None if hp.step is None else int(hp._get_n_values())


def is_ordered(hp: Any) -> bool:
    """Whether values that are next to each other are more alike than others."""
    return isinstance(hp, _NUMBERS) or (isinstance(hp, _CHOICE) and bool(hp.ordered))


def to_unit(hp: Any, value: Any) -> float:
    """Where a value lies between 0 and 1, on the scale that the hyperparameter is sampled on.

    Of n values, the one with index i lies at (i + 0.5) / n.
    """
    where = min(max(float(hp.value_to_prob(value)), 0.0), 1.0)
    count = number_of_values(hp)
    if count is None or not isinstance(hp, _NUMBERS):
        return where
    # KerasTuner divides and rounds down, and so takes some values of a range with `step` for their lower neighbours.
    index = int(where * count)
    near = [(min(max(i, 0), count - 1) + 0.5) / count for i in (index - 1, index, index + 1)]
    return min(near, key=lambda place: abs(hp.prob_to_value(place) - value))


def from_unit(hp: Any, where: float) -> Any:
    """The value of a hyperparameter at a place between 0 and 1; beyond them, the one at the end."""
    value = hp.prob_to_value(min(max(where, 0.0), 1.0))
    # KerasTuner's own scale ends beyond the range for integers without `step`, and may by rounding for other numbers.
    return min(max(value, hp.min_value), hp.max_value) if isinstance(hp, _NUMBERS) else value
