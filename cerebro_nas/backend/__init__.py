"""Where a search runs: one contract (`Backend`), and the backends that keep it.

Names are imported on first use, so that asking for one backend does not import what another one needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from cerebro_nas.backend._base import Backend
    from cerebro_nas.backend._base import BackendEvent
    from cerebro_nas.backend._base import BackendUsage
    from cerebro_nas.backend._base import DropCommand
    from cerebro_nas.backend._base import LoadCommand
    from cerebro_nas.backend._base import RunCommand
    from cerebro_nas.backend._base import WorkerCommand
    from cerebro_nas.backend._tls import TlsConfig
    from cerebro_nas.backend.local import LocalBackend
    from cerebro_nas.backend.simulated import SimulatedBackend
    from cerebro_nas.backend.spark import SparkBackend
    from cerebro_nas.backend.spark import local_spark_session

__all__ = [
    "Backend",
    "BackendEvent",
    "BackendUsage",
    "DropCommand",
    "LoadCommand",
    "LocalBackend",
    "RunCommand",
    "SimulatedBackend",
    "SparkBackend",
    "TlsConfig",
    "WorkerCommand",
    "local_spark_session",
]

_HOME = {
    "Backend": "cerebro_nas.backend._base",
    "BackendEvent": "cerebro_nas.backend._base",
    "BackendUsage": "cerebro_nas.backend._base",
    "DropCommand": "cerebro_nas.backend._base",
    "LoadCommand": "cerebro_nas.backend._base",
    "LocalBackend": "cerebro_nas.backend.local",
    "RunCommand": "cerebro_nas.backend._base",
    "SimulatedBackend": "cerebro_nas.backend.simulated",
    "SparkBackend": "cerebro_nas.backend.spark",
    "TlsConfig": "cerebro_nas.backend._tls",
    "WorkerCommand": "cerebro_nas.backend._base",
    "local_spark_session": "cerebro_nas.backend.spark",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
