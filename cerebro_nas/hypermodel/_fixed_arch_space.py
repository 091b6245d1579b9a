"""One architecture, and the product of what it may be trained with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
    import keras_tuner

TRAINING = ("optimizer", "learning_rate", "batch_size")


def fixed_arch_space(
    space: keras_tuner.HyperParameters, architecture: Mapping[str, Any], choices: Mapping[str, Sequence[Any] | None]
) -> tuple[keras_tuner.HyperParameters, int]:
    """The space in which only the training of an architecture varies.

    Args:
        space: the complete space of the graph.
        architecture: value of every active hyperparameter.
        choices: values of `optimizer`, `learning_rate` and `batch_size`; None: those of the graph, or the one that the
            architecture has.

    Returns:
        Entries to replace those of the graph, and the number of configurations.

    Raises:
        ConfigError: a list is empty, or holds what cannot be such a value.
    """
    import keras_tuner

    found = keras_tuner.HyperParameters()
    known = {hp.name for hp in space.space}
    for hp in space.space:
        if hp.name in architecture and hp.name not in TRAINING:
            found.Fixed(hp.name, architecture[hp.name])
    sizes = []
    for name in TRAINING:
        values = _values(name, choices.get(name), space)
        if values and (name in known or name == "batch_size"):
            found.Choice(name, values)
            sizes.append(len(values))
    return found, math.prod(sizes)


def random_architecture(space: keras_tuner.HyperParameters, seed: int) -> dict[str, Any]:
    """Random values of the active hyperparameters of a space."""
    from cerebro_nas.tuners import RandomOracle

    return RandomOracle(objective=None, max_trials=1, hyperparameters=space, seed=seed).complete_randomly({})


def _values(name: str, given: Sequence[Any] | None, space: keras_tuner.HyperParameters) -> list[Any]:
    own = next((list(hp.values) for hp in space.space if hp.name == name), [])
    if given is None:
        return own
    values = list(dict.fromkeys(given)) if isinstance(given, (list, tuple)) else []
    if not values or not all(_fits(name, value, own) for value in values):
        expected = {
            "optimizer": f"names of optimizers of the graph: {', '.join(map(repr, own))}",
            "learning_rate": "numbers above 0",
            "batch_size": "whole numbers of at least 1",
        }[name]
        raise ConfigError(f"`{name}` must be a list of {expected}. Received: {name}={given!r}. Pass such a list.")
    return values


def _fits(name: str, value: Any, own: Sequence[Any]) -> bool:
    if name == "optimizer":
        return value in own
    if isinstance(value, bool) or not isinstance(value, int if name == "batch_size" else (int, float)):
        return False
    return bool(value > 0 and math.isfinite(value))
