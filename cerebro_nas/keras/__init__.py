"""Cerebro's estimator: the user's own Keras model, trained on Spark.

Importing this module loads neither TensorFlow nor Spark; the names below load TensorFlow when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries

if TYPE_CHECKING:
    from cerebro_nas.keras._estimator import SparkEstimator
    from cerebro_nas.keras._search import SETTINGS
    from cerebro_nas.keras._search import EstimatorSearch

__all__ = ["EstimatorSearch", "SETTINGS", "SparkEstimator"]

_HOMES = {"EstimatorSearch": "_search", "SETTINGS": "_search", "SparkEstimator": "_estimator"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # First of all, as what is imported below would load it with its banner.
    quiet_libraries()
    load_tensorflow()
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
