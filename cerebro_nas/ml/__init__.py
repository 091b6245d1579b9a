"""A model search that lives in a Spark ML pipeline.

Importing this module loads neither TensorFlow nor Spark; the names below load PySpark when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cerebro_nas.ml._estimator import HyperHyperEstimator
    from cerebro_nas.ml._model import HyperHyperEstimatorModel

__all__ = ["HyperHyperEstimator", "HyperHyperEstimatorModel"]

_HOMES = {"HyperHyperEstimator": "_estimator", "HyperHyperEstimatorModel": "_model"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
