"""Contract tests and a small search loop, shipped so that a backend of your own can be held to the same contract."""

from __future__ import annotations

from cerebro_nas.testing._contract import BackendContract
from cerebro_nas.testing._drive import SimulatedSearch
from cerebro_nas.testing._drive import run_search
from cerebro_nas.testing._drive import shard_search
from cerebro_nas.testing._leaks import Leaks
from cerebro_nas.testing._tiny import tiny_search

__all__ = ["BackendContract", "Leaks", "SimulatedSearch", "run_search", "shard_search", "tiny_search"]
