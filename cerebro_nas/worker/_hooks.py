"""Where a worker program lets tests take part that make it fail on purpose. Without them nothing happens."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextlib import nullcontext
from typing import Any
from typing import TypeVar

from cerebro_nas.hopper import Unit

S = TypeVar("S")


class InjectedFailureError(Exception):
    """A hook lets the unit fail.

    Attributes:
        reason: as in `UnitFailed`; so is `trial_fault`.
    """

    def __init__(self, reason: str, message: str, trial_fault: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.trial_fault = trial_fault


class Hooks:
    """What a worker program calls on its way; override what you need.

    All but `open_store` are called by the thread that runs the units. What they raise fails the unit.
    """

    def before_join(self) -> None:
        """The program is about to register."""

    def open_store(self, store: S, url: str) -> S:
        """Give what is to be used in place of `store`, which keeps states below `url`."""
        return store

    def before_unit(self, unit: Unit) -> None:
        """The unit is about to run."""

    def during(self, unit: Unit, progress: Callable[[], int]) -> AbstractContextManager[None]:
        """The unit runs within this context; `progress` gives the engine's count of what it has got done."""
        return nullcontext()

    def after_unit(self, unit: Unit, result: S) -> S:
        """The engine is done: give what is to be taken for its result. Nothing has been kept of it yet."""
        return result

    def before_commit(self, unit: Unit) -> None:
        """The state is in memory and on its way to the store; next the driver would be told."""


def load_hooks(name: str, data: str, worker: str) -> Hooks:
    """Call the function `module:function` with `data` and the worker's name; it makes the hooks."""
    if not name:
        return Hooks()
    module, function = name.split(":")
    make: Any = getattr(importlib.import_module(module), function)
    hooks: Hooks = make(data, worker)
    return hooks
