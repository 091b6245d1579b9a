"""Neural architecture search on Spark, with AutoKeras' blocks and names.

Importing this package loads neither TensorFlow nor Spark; the names below load what they need when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autokeras import CUSTOM_OBJECTS
    from autokeras import BayesianOptimization
    from autokeras import Block
    from autokeras import CastToFloat32
    from autokeras import ClassificationHead
    from autokeras import ConvBlock
    from autokeras import DenseBlock
    from autokeras import EfficientNetBlock
    from autokeras import Embedding
    from autokeras import ExpandLastDim
    from autokeras import Flatten
    from autokeras import Greedy
    from autokeras import Head
    from autokeras import Hyperband
    from autokeras import ImageAugmentation
    from autokeras import ImageBlock
    from autokeras import ImageInput
    from autokeras import Input
    from autokeras import Merge
    from autokeras import Node
    from autokeras import Normalization
    from autokeras import RandomSearch
    from autokeras import RegressionHead
    from autokeras import ResNetBlock
    from autokeras import RNNBlock
    from autokeras import SpatialReduction
    from autokeras import StructuredDataBlock
    from autokeras import StructuredDataInput
    from autokeras import TemporalReduction
    from autokeras import TextBlock
    from autokeras import TextInput
    from autokeras import XceptionBlock

    from cerebro_nas.hypermodel import HyperHyperModel
    from cerebro_nas.results import ModelSelectionResult
    from cerebro_nas.results import TrialModel
    from cerebro_nas.results import load_model
    from cerebro_nas.tasks import AutoModel
    from cerebro_nas.tasks import ImageClassifier
    from cerebro_nas.tasks import ImageRegressor
    from cerebro_nas.tasks import StructuredDataClassifier
    from cerebro_nas.tasks import StructuredDataRegressor
    from cerebro_nas.tasks import TextClassifier
    from cerebro_nas.tasks import TextRegressor

__version__ = "0.1.0"

__all__ = [
    "AutoModel",
    "BayesianOptimization",
    "Block",
    "CUSTOM_OBJECTS",
    "CastToFloat32",
    "ClassificationHead",
    "ConvBlock",
    "DenseBlock",
    "EfficientNetBlock",
    "Embedding",
    "ExpandLastDim",
    "Flatten",
    "Greedy",
    "Head",
    "HyperHyperModel",
    "Hyperband",
    "ImageAugmentation",
    "ImageBlock",
    "ImageClassifier",
    "ImageInput",
    "ImageRegressor",
    "Input",
    "Merge",
    "ModelSelectionResult",
    "Node",
    "Normalization",
    "RNNBlock",
    "RandomSearch",
    "RegressionHead",
    "ResNetBlock",
    "SpatialReduction",
    "StructuredDataBlock",
    "StructuredDataClassifier",
    "StructuredDataInput",
    "StructuredDataRegressor",
    "TemporalReduction",
    "TextBlock",
    "TextClassifier",
    "TextInput",
    "TextRegressor",
    "TrialModel",
    "XceptionBlock",
    "__version__",
    "load_model",
]

# What is not AutoKeras' own.
_HOMES = {
    "AutoModel": "cerebro_nas.tasks",
    "HyperHyperModel": "cerebro_nas.hypermodel",
    "ImageClassifier": "cerebro_nas.tasks",
    "ImageRegressor": "cerebro_nas.tasks",
    "ModelSelectionResult": "cerebro_nas.results",
    "StructuredDataClassifier": "cerebro_nas.tasks",
    "StructuredDataRegressor": "cerebro_nas.tasks",
    "TextClassifier": "cerebro_nas.tasks",
    "TextRegressor": "cerebro_nas.tasks",
    "TrialModel": "cerebro_nas.results",
    "load_model": "cerebro_nas.results",
}
_BEHIND_KERAS = ("autokeras", "cerebro_nas.hypermodel")
# Modules of AutoKeras that its users reach as attributes, `ak.blocks.GeneralBlock` say.
_MODULES = (
    *("adapters", "analysers", "blocks", "engine", "graph", "hyper_preprocessors", "keras_layers"),
    *("nodes", "pipeline", "preprocessors", "utils"),
)


def __getattr__(name: str) -> object:
    if name not in __all__ and name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "autokeras")
    if home in _BEHIND_KERAS:
        _load_quietly()
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _load_quietly() -> None:
    """Load TensorFlow without its banner, before something else loads it."""
    tracking = importlib.import_module("cerebro_nas.tracking")
    tracking.quiet_libraries()
    tracking.load_tensorflow()
