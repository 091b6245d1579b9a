"""Losses, metrics and layers of the user's own: only what Keras knows by name can be told to other processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import keras

from cerebro_nas.errors import ConfigError
from cerebro_nas.worker import main_objects

_KERAS_ROOMS = ("keras.src.losses.", "keras.src.metrics.")


def is_registered(item: Any) -> bool:
    """Whether Keras knows this object by a name that other processes can look up."""
    return any(known is item for known in keras.saving.get_custom_objects().values())


def must_be_registered(argument: str, received: str) -> str:
    """A message for an argument that is given something which is not."""
    return (
        f"`{argument}` must be registered with Keras in a module that workers can import. "
        f"Received: {argument}={received}. Put `@keras.saving.register_keras_serializable(package=...)` before the "
        "definition, in a file beside the script, and import it from there."
    )


def is_keras_function(item: Any) -> bool:
    """Whether it is a function of Keras' that its losses or metrics have by its own name."""
    # By where it comes from, as Keras would look up a function of this name, whichever it finds.
    module = str(getattr(item, "__module__", ""))
    return hasattr(item, "__name__") and not isinstance(item, type) and module.startswith(_KERAS_ROOMS)


def check_own(argument: str, item: Any) -> None:
    """Refuse a loss or a metric that workers could not find.

    Args:
        argument: `"loss"` or `"metrics"`.
        item: a name, a function or an object; None.

    Raises:
        ConfigError: it is neither Keras' nor registered, or a class.
    """
    if item is None or not callable(item) or is_keras_function(item):
        return
    if isinstance(item, type):
        raise ConfigError(
            f"`{argument}` must be given by name or as objects. Received: {argument}={item!r}, a class. "
            f"Make an object of it: `{item.__name__}()`."
        )
    if hasattr(item, "__name__"):
        if not is_registered(item):
            raise ConfigError(
                must_be_registered(argument, f"{item.__name__}, a function that is neither Keras' nor registered")
            )
        return
    kind = type(item)
    if kind.__module__.partition(".")[0] == "keras":
        # Objects that Keras makes of a function have it inside.
        check_own(argument, getattr(item, "fn", getattr(item, "_fn", None)))
    elif not is_registered(kind):
        raise ConfigError(
            must_be_registered(argument, f"{kind.__name__}, of a class that is neither Keras' nor registered")
        )


def check_parts(losses: Sequence[Any], metrics: Sequence[Sequence[Any]]) -> None:
    """Refuse losses and metrics of heads that workers could not find; see `check_own`."""
    for loss in losses:
        check_own("loss", loss)
    for metric in (metric for group in metrics for metric in group):
        check_own("metrics", metric)


def refuse_objects_of_main(text: str) -> None:
    """Refuse what the script itself has registered with Keras: workers and executors could not import it.

    Args:
        text: JSON of a model, losses or metrics.

    Raises:
        ConfigError: there is such a loss, metric or layer in it.
    """
    used = sorted(name for name in main_objects() if json.dumps(name) in text)
    if used:
        raise ConfigError(
            "Losses, metrics and layers of your own must be in a module that workers can import. "
            f"Received: {', '.join(used)}, defined in the script or notebook itself. Move the definition, with "
            "`keras.saving.register_keras_serializable`, to a file beside it, and import that."
        )
