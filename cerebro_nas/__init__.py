"""Neural architecture search on Spark, with AutoKeras' blocks and names.

Importing this package loads neither TensorFlow nor Spark; the names below load what they need when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cerebro_nas.hypermodel import HyperHyperModel
    from cerebro_nas.results import ModelSelectionResult
    from cerebro_nas.results import TrialModel
    from cerebro_nas.results import load_model

__version__ = "0.1.0"

__all__ = ["HyperHyperModel", "ModelSelectionResult", "TrialModel", "__version__", "load_model"]

_HOMES = {
    "HyperHyperModel": "cerebro_nas.hypermodel",
    "ModelSelectionResult": "cerebro_nas.results",
    "TrialModel": "cerebro_nas.results",
    "load_model": "cerebro_nas.results",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
