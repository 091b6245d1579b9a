"""AutoKeras' surface: `AutoModel` and the six tasks, with its arguments and what they mean there.

Importing this module does not load Keras; using what it offers does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries

if TYPE_CHECKING:
    from cerebro_nas.tasks._auto_model import AutoModel
    from cerebro_nas.tasks._image import ImageClassifier
    from cerebro_nas.tasks._image import ImageRegressor
    from cerebro_nas.tasks._structured import StructuredDataClassifier
    from cerebro_nas.tasks._structured import StructuredDataRegressor
    from cerebro_nas.tasks._text import TextClassifier
    from cerebro_nas.tasks._text import TextRegressor

__all__ = [
    "AutoModel",
    "ImageClassifier",
    "ImageRegressor",
    "StructuredDataClassifier",
    "StructuredDataRegressor",
    "TextClassifier",
    "TextRegressor",
]

_HOMES = {
    "AutoModel": "_auto_model",
    "ImageClassifier": "_image",
    "ImageRegressor": "_image",
    "StructuredDataClassifier": "_structured",
    "StructuredDataRegressor": "_structured",
    "TextClassifier": "_text",
    "TextRegressor": "_text",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Before AutoKeras loads it, and its banner with it.
    quiet_libraries()
    load_tensorflow()
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
