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
    from cerebro_nas.search_space._built import refuse_objects_of_main
    from cerebro_nas.search_space._flops import count_flops
    from cerebro_nas.search_space._space import SearchSpace

__all__ = [
    "Adapter",
    "InputInfo",
    "Layout",
    "NamedColumns",
    "SearchSpace",
    "architecture_text",
    "check_size",
    "count_flops",
    "fresh_session",
    "groups_in_order",
    "named_columns",
    "refuse_objects_of_main",
]

_HOMES = {
    "Adapter": "_adapted",
    "SearchSpace": "_space",
    "architecture_text": "_built",
    "check_size": "_built",
    "count_flops": "_flops",
    "fresh_session": "_adapter",
    "refuse_objects_of_main": "_built",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
