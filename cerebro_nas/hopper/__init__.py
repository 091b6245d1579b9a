"""What runs next: the scheduler as a pure state machine, and the plain data that it speaks."""

from __future__ import annotations

from cerebro_nas.hopper._hopper import Hopper
from cerebro_nas.hopper._legs import legs_between
from cerebro_nas.hopper._log import ScheduleLog
from cerebro_nas.hopper._schedule import Utilisation
from cerebro_nas.hopper._schedule import WorkerUsage
from cerebro_nas.hopper._schedule import schedule_summary
from cerebro_nas.hopper._snapshot import Snapshot
from cerebro_nas.hopper._snapshot import TrialView
from cerebro_nas.hopper._snapshot import WorkerView
from cerebro_nas.hopper._story import IllegalEventError
from cerebro_nas.hopper._types import AskTrials
from cerebro_nas.hopper._types import Command
from cerebro_nas.hopper._types import DropState
from cerebro_nas.hopper._types import EpochFinished
from cerebro_nas.hopper._types import Event
from cerebro_nas.hopper._types import MoreTrials
from cerebro_nas.hopper._types import NoMoreTrials
from cerebro_nas.hopper._types import Outcome
from cerebro_nas.hopper._types import Overdue
from cerebro_nas.hopper._types import Phase
from cerebro_nas.hopper._types import RunUnit
from cerebro_nas.hopper._types import ScheduleEntry
from cerebro_nas.hopper._types import SearchFinished
from cerebro_nas.hopper._types import Shard
from cerebro_nas.hopper._types import ShardInfo
from cerebro_nas.hopper._types import StateRef
from cerebro_nas.hopper._types import StateStored
from cerebro_nas.hopper._types import TrialAdded
from cerebro_nas.hopper._types import TrialFinished
from cerebro_nas.hopper._types import TrialPaused
from cerebro_nas.hopper._types import TrialPlan
from cerebro_nas.hopper._types import TrialPromoted
from cerebro_nas.hopper._types import TrialsDeferred
from cerebro_nas.hopper._types import TrialStatus
from cerebro_nas.hopper._types import TrialStopRequested
from cerebro_nas.hopper._types import Unit
from cerebro_nas.hopper._types import UnitDone
from cerebro_nas.hopper._types import UnitFailed
from cerebro_nas.hopper._types import UnitReport
from cerebro_nas.hopper._types import VisitOrder
from cerebro_nas.hopper._types import WorkerExcluded
from cerebro_nas.hopper._types import WorkerJoined
from cerebro_nas.hopper._types import WorkerLost

__all__ = [
    "AskTrials",
    "Command",
    "DropState",
    "EpochFinished",
    "Event",
    "Hopper",
    "IllegalEventError",
    "MoreTrials",
    "NoMoreTrials",
    "Outcome",
    "Overdue",
    "Phase",
    "RunUnit",
    "ScheduleEntry",
    "ScheduleLog",
    "SearchFinished",
    "Shard",
    "ShardInfo",
    "Snapshot",
    "StateRef",
    "StateStored",
    "TrialAdded",
    "TrialFinished",
    "TrialPaused",
    "TrialPlan",
    "TrialPromoted",
    "TrialStatus",
    "TrialStopRequested",
    "TrialView",
    "TrialsDeferred",
    "Unit",
    "UnitDone",
    "UnitFailed",
    "UnitReport",
    "Utilisation",
    "VisitOrder",
    "WorkerExcluded",
    "WorkerJoined",
    "WorkerLost",
    "WorkerUsage",
    "WorkerView",
    "legs_between",
    "schedule_summary",
]
