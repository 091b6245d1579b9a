"""Losses, metrics and layers of the user's own: workers import the modules that register them with Keras.

Only names travel, from the driver that workers and executors trust anyway. What is read from a store never names a
module to import.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

_LOGGER = logging.getLogger(__name__)
# Everybody has these, or they are no modules that anybody else could import.
_KNOWN = ("keras", "autokeras", "keras_tuner", "tensorflow", "cerebro_nas", "builtins", "__main__")

UserModule = tuple[str, str]
"""Name of a module, and the folder that it is found in."""


def user_modules() -> tuple[UserModule, ...]:
    """The modules, other than Keras' and ours, that have registered objects with Keras in this process."""
    import keras

    names = {str(getattr(item, "__module__", "")) for item in keras.saving.get_custom_objects().values()}
    found = ((name, _folder(name)) for name in sorted(names) if name and name.split(".")[0] not in _KNOWN)
    return tuple((name, folder) for name, folder in found if folder)


def main_objects() -> set[str]:
    """Names of what the script (or notebook) itself has registered, which no other process can import."""
    import keras

    items = keras.saving.get_custom_objects().items()
    return {name for name, item in items if getattr(item, "__module__", "") == "__main__"}


def import_user_modules(modules: Iterable[UserModule]) -> None:
    """Import modules for what they register; one that is missing here is told, and missed where it is used."""
    for name, folder in modules:
        if name in sys.modules:
            continue
        if folder not in sys.path and Path(folder).is_dir():
            sys.path.append(folder)
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a module of the user's may raise anything, and may not be needed
            _LOGGER.warning("Module %s cannot be imported here: %s: %s", name, type(error).__name__, error)


def _folder(name: str) -> str:
    """The folder from which a module is imported by its name; empty if it came from no file."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return ""
    path = Path(file).resolve()
    levels = name.count(".") + (path.stem == "__init__")
    return str(path.parents[levels])
