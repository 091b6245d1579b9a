"""Losses and metrics that a user has named or made: whether Keras takes them, and what was meant where it does not."""

from __future__ import annotations

import difflib
from typing import Any
from typing import Literal

import keras

from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space._adapter import names_of_losses
from cerebro_nas.search_space._adapter import names_of_metrics
from cerebro_nas.search_space._own import is_keras_function

Argument = Literal["loss", "metrics"]

# Which one it is Keras tells from the shapes, when it compiles a model.
_OF_SHAPES: dict[Argument, tuple[str, ...]] = {"loss": ("crossentropy", "ce"), "metrics": ("accuracy", "acc")}
_WHAT: dict[Argument, tuple[str, str]] = {
    "loss": ("a loss", "'categorical_crossentropy'"),
    "metrics": ("metrics", "['accuracy']"),
}


def is_of_shapes(argument: Argument, given: Any) -> bool:
    """Whether it is a word for several losses or metrics, of which Keras chooses one when it knows the outputs."""
    return isinstance(given, str) and given.lower() in _OF_SHAPES[argument]


def known_part(argument: Argument, given: Any, owner: str = "") -> Any:
    """What Keras has for a loss or a metric.

    Args:
        argument: what it was given for.
        given: a name, a function or an object.
        owner: comes behind the argument's name in a message.

    Raises:
        ConfigError: Keras has nothing of this name, or it is something else.
    """
    if isinstance(given, type):
        raise unknown_part(argument, given, owner)
    try:
        found = keras.losses.get(given) if argument == "loss" else keras.metrics.get(given)
    except (ValueError, TypeError) as error:
        # A TypeError: of a name alone Keras cannot make those that need arguments.
        raise unknown_part(argument, given, owner) from error
    if found is None:
        raise unknown_part(argument, given, owner)
    return found


def tellable_metric(item: Any) -> Any:
    """The same metric in a form that has a name: of functions of Keras' losses, its metrics know some only."""
    if is_keras_function(item) and item.__name__ not in names_of_metrics():
        return keras.metrics.MeanMetricWrapper(item, name=item.__name__)
    return item


def unknown_part(argument: Argument, given: Any, owner: str = "") -> ConfigError:
    """An error for what is no loss or no metric; the arguments are those of `known_part`."""
    what, example = _WHAT[argument]
    near = _near(argument, given) if isinstance(given, str) else ""
    return ConfigError(
        f"Argument `{argument}`{owner} should be {what} of Keras, by name or as objects. "
        f"Received: {argument}={given!r} (of type {type(given).__name__}). "
        f"{near or f'Pass for example {example}.'}"
    )


def _near(argument: Argument, given: str) -> str:
    known = names_of_losses() if argument == "loss" else names_of_metrics()
    if given in known:
        # It is a class that needs arguments.
        return "Make an object of it, with its arguments."
    close = difflib.get_close_matches(given.lower(), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else ""
