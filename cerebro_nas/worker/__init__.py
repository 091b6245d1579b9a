"""The engine inside a worker. Importing this module loads neither TensorFlow nor Arrow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cerebro_nas.worker._allowed import check_objects
from cerebro_nas.worker._allowed import parse_json
from cerebro_nas.worker._errors import CandidateError
from cerebro_nas.worker._hooks import Hooks
from cerebro_nas.worker._hooks import InjectedFailureError
from cerebro_nas.worker._spec import CandidateSpec
from cerebro_nas.worker._spec import ColumnSpec
from cerebro_nas.worker._spec import SearchSpec
from cerebro_nas.worker._spec import ShardSpec
from cerebro_nas.worker._spec import is_encoder

if TYPE_CHECKING:
    from cerebro_nas.worker._encode import build_vocabulary
    from cerebro_nas.worker._encode import category_text
    from cerebro_nas.worker._encode import encode_column
    from cerebro_nas.worker._encode import tokenize
    from cerebro_nas.worker._engine import Engine
    from cerebro_nas.worker._engine import UnitResult
    from cerebro_nas.worker._images import decode_image
    from cerebro_nas.worker._images import image_shape
    from cerebro_nas.worker._layers import CUSTOM_OBJECTS
    from cerebro_nas.worker._metric_sums import metric_sums
    from cerebro_nas.worker._metric_sums import metrics_of_sums
    from cerebro_nas.worker._model import build_model
    from cerebro_nas.worker._state import dump_state
    from cerebro_nas.worker._state import restore_state
    from cerebro_nas.worker._transformation import find_transformation
    from cerebro_nas.worker._user_modules import import_user_modules
    from cerebro_nas.worker._user_modules import main_objects
    from cerebro_nas.worker._user_modules import user_modules

__all__ = [
    "CUSTOM_OBJECTS",
    "CandidateError",
    "CandidateSpec",
    "ColumnSpec",
    "Engine",
    "Hooks",
    "InjectedFailureError",
    "SearchSpec",
    "ShardSpec",
    "UnitResult",
    "build_model",
    "build_vocabulary",
    "category_text",
    "check_objects",
    "decode_image",
    "dump_state",
    "encode_column",
    "find_transformation",
    "image_shape",
    "import_user_modules",
    "is_encoder",
    "main_objects",
    "metric_sums",
    "metrics_of_sums",
    "parse_json",
    "restore_state",
    "tokenize",
    "user_modules",
]

_HOMES = {
    "CUSTOM_OBJECTS": "_layers",
    "Engine": "_engine",
    "UnitResult": "_engine",
    "build_model": "_model",
    "build_vocabulary": "_encode",
    "category_text": "_encode",
    "decode_image": "_images",
    "dump_state": "_state",
    "encode_column": "_encode",
    "find_transformation": "_transformation",
    "image_shape": "_images",
    "import_user_modules": "_user_modules",
    "main_objects": "_user_modules",
    "metric_sums": "_metric_sums",
    "metrics_of_sums": "_metric_sums",
    "restore_state": "_state",
    "tokenize": "_encode",
    "user_modules": "_user_modules",
}


def __getattr__(name: str) -> object:
    # Most of these load TensorFlow, and drivers need the specifications alone.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
