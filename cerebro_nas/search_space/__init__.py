"""Graphs of AutoKeras blocks as search spaces, and the candidates they give.

Importing this module does not load Keras; using `SearchSpace` does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from cerebro_nas.search_space._space import SearchSpace

__all__ = ["SearchSpace"]


def __getattr__(name: str) -> Any:
    if name != "SearchSpace":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}._space").SearchSpace
