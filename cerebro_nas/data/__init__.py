"""Data sets: checking, preparing and describing them. Importing this module loads neither Spark nor Arrow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cerebro_nas.data._faults import Faults
from cerebro_nas.data._faults import usable
from cerebro_nas.data._types import ColumnStatistics
from cerebro_nas.data._types import Label
from cerebro_nas.data._types import PreparedData
from cerebro_nas.data._types import Shapes
from cerebro_nas.data._types import plain_shapes

if TYPE_CHECKING:
    from cerebro_nas.data._check import check_arguments
    from cerebro_nas.data._local_rows import LocalRows
    from cerebro_nas.data._prepare import prepare_data
    from cerebro_nas.data._prepare import source_digest
    from cerebro_nas.data._prepared import check_fingerprint
    from cerebro_nas.data._prepared import load_prepared
    from cerebro_nas.data._rows import Rows
    from cerebro_nas.data._sources import rows_of
    from cerebro_nas.data._unischema import PetastormField
    from cerebro_nas.data._unischema import read_petastorm_schema

__all__ = [
    "ColumnStatistics",
    "Faults",
    "Label",
    "LocalRows",
    "PetastormField",
    "PreparedData",
    "Rows",
    "Shapes",
    "check_arguments",
    "check_fingerprint",
    "load_prepared",
    "plain_shapes",
    "prepare_data",
    "read_petastorm_schema",
    "rows_of",
    "source_digest",
    "usable",
]

_HOMES = {
    "LocalRows": "_local_rows",
    "PetastormField": "_unischema",
    "Rows": "_rows",
    "check_arguments": "_check",
    "check_fingerprint": "_prepared",
    "load_prepared": "_prepared",
    "prepare_data": "_prepare",
    "read_petastorm_schema": "_unischema",
    "rows_of": "_sources",
    "source_digest": "_prepare",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
