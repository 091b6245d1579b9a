"""Cerebro's model selection: searches over a function that makes an estimator of parameters.

Importing this module loads neither TensorFlow nor Spark; the searches load TensorFlow when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries
from cerebro_nas.tune._hyperparameters import hp_choice
from cerebro_nas.tune._hyperparameters import hp_loguniform
from cerebro_nas.tune._hyperparameters import hp_qloguniform
from cerebro_nas.tune._hyperparameters import hp_quniform
from cerebro_nas.tune._hyperparameters import hp_uniform

if TYPE_CHECKING:
    from cerebro_nas.tune._searches import GridSearch
    from cerebro_nas.tune._searches import RandomSearch
    from cerebro_nas.tune._searches import TPESearch

__all__ = [
    "GridSearch",
    "RandomSearch",
    "TPESearch",
    "hp_choice",
    "hp_loguniform",
    "hp_qloguniform",
    "hp_quniform",
    "hp_uniform",
]

_LAZY = ("GridSearch", "RandomSearch", "TPESearch")


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # First of all, as what is imported below would load it with its banner.
    quiet_libraries()
    load_tensorflow()
    return getattr(import_module(f"{__name__}._searches"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
