"""Graphs of AutoKeras blocks as search spaces, and the candidates they give.

Importing this module does not load Keras; using what it offers does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.search_space._columns import InputInfo
from cerebro_nas.search_space._columns import Layout
from cerebro_nas.search_space._columns import NamedColumns
from cerebro_nas.search_space._columns import groups_in_order
from cerebro_nas.search_space._columns import named_columns

if TYPE_CHECKING:
    from cerebro_nas.search_space._adapted import Adapter
    from cerebro_nas.search_space._adapter import fresh_session
    from cerebro_nas.search_space._built import architecture_text
    from cerebro_nas.search_space._built import check_size
    from cerebro_nas.search_space._flops import count_flops
    from cerebro_nas.search_space._known import is_of_shapes
    from cerebro_nas.search_space._known import known_part
    from cerebro_nas.search_space._known import tellable_metric
    from cerebro_nas.search_space._known import unknown_part
    from cerebro_nas.search_space._one_number import check_one_number
    from cerebro_nas.search_space._own import check_own
    from cerebro_nas.search_space._own import is_keras_function
    from cerebro_nas.search_space._own import is_registered
    from cerebro_nas.search_space._own import must_be_registered
    from cerebro_nas.search_space._own import refuse_objects_of_main
    from cerebro_nas.search_space._space import SearchSpace

__all__ = [
    "Adapter",
    "InputInfo",
    "Layout",
    "NamedColumns",
    "SearchSpace",
    "architecture_text",
    "check_one_number",
    "check_own",
    "check_size",
    "count_flops",
    "fresh_session",
    "groups_in_order",
    "is_keras_function",
    "is_of_shapes",
    "is_registered",
    "known_part",
    "must_be_registered",
    "named_columns",
    "refuse_objects_of_main",
    "tellable_metric",
    "unknown_part",
]

_HOMES = {
    "Adapter": "_adapted",
    "SearchSpace": "_space",
    "architecture_text": "_built",
    "check_one_number": "_one_number",
    "check_own": "_own",
    "check_size": "_built",
    "count_flops": "_flops",
    "fresh_session": "_adapter",
    "is_keras_function": "_own",
    "is_of_shapes": "_known",
    "is_registered": "_own",
    "known_part": "_known",
    "must_be_registered": "_own",
    "refuse_objects_of_main": "_own",
    "tellable_metric": "_known",
    "unknown_part": "_known",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
