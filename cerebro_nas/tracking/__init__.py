"""Seeing a search: progress displays, leaderboard, schedule report and timeline, TensorBoard, logging."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cerebro_nas.tracking._format import counted
from cerebro_nas.tracking._format import format_duration
from cerebro_nas.tracking._format import format_metric
from cerebro_nas.tracking._format import short_hyperparameters
from cerebro_nas.tracking._leaderboard import leaderboard
from cerebro_nas.tracking._leaderboard import save_leaderboard
from cerebro_nas.tracking._logging import configure_logging
from cerebro_nas.tracking._logging import load_tensorflow
from cerebro_nas.tracking._logging import quiet_libraries
from cerebro_nas.tracking._notebook import NotebookReporter
from cerebro_nas.tracking._plain import PlainReporter
from cerebro_nas.tracking._records import TrialCost
from cerebro_nas.tracking._records import TrialRecord
from cerebro_nas.tracking._records import count_outcomes
from cerebro_nas.tracking._reporter import Reporter
from cerebro_nas.tracking._reporter import SilentReporter
from cerebro_nas.tracking._reporter import make_reporter
from cerebro_nas.tracking._schedule import ScheduleReport
from cerebro_nas.tracking._schedule import save_schedule
from cerebro_nas.tracking._table import format_leaderboard
from cerebro_nas.tracking._tensorboard import TensorBoardLogger
from cerebro_nas.tracking._timeline import plot_timeline
from cerebro_nas.tracking._view import BestTrial
from cerebro_nas.tracking._view import Direction
from cerebro_nas.tracking._view import FinishedTrial
from cerebro_nas.tracking._view import RunningTrial
from cerebro_nas.tracking._view import SearchView
from cerebro_nas.tracking._view import TrialCounts
from cerebro_nas.tracking._view import WorkerView

if TYPE_CHECKING:
    from cerebro_nas.tracking._terminal import TerminalReporter

__all__ = [
    "BestTrial",
    "Direction",
    "FinishedTrial",
    "NotebookReporter",
    "PlainReporter",
    "Reporter",
    "RunningTrial",
    "ScheduleReport",
    "SearchView",
    "SilentReporter",
    "TensorBoardLogger",
    "TerminalReporter",
    "TrialCost",
    "TrialCounts",
    "TrialRecord",
    "WorkerView",
    "configure_logging",
    "count_outcomes",
    "counted",
    "format_duration",
    "format_leaderboard",
    "format_metric",
    "leaderboard",
    "load_tensorflow",
    "make_reporter",
    "plot_timeline",
    "quiet_libraries",
    "save_leaderboard",
    "save_schedule",
    "short_hyperparameters",
]


def __getattr__(name: str) -> object:
    # rich takes its time to load, and only a terminal needs it.
    if name == "TerminalReporter":
        return importlib.import_module("cerebro_nas.tracking._terminal").TerminalReporter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
