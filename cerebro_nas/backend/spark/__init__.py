"""Workers as long-lived Spark tasks. Importing this module imports neither pyspark nor Arrow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from cerebro_nas.backend.spark._java import ensure_java
    from cerebro_nas.backend.spark._session import local_spark_session
    from cerebro_nas.backend.spark._spark import SparkBackend

__all__ = ["SparkBackend", "ensure_java", "local_spark_session"]

_HOME = {
    "SparkBackend": "cerebro_nas.backend.spark._spark",
    "ensure_java": "cerebro_nas.backend.spark._java",
    "local_spark_session": "cerebro_nas.backend.spark._session",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
