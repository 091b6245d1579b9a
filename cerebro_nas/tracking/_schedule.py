"""The schedule of a search: its summary in words, and its export."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Protocol

from cerebro_nas.tracking._format import counted
from cerebro_nas.tracking._format import format_duration
from cerebro_nas.tracking._format import telling_reason

if TYPE_CHECKING:
    from cerebro_nas.hopper import ScheduleEntry


class WorkerFigures(Protocol):
    """What a schedule summary says of one worker."""

    @property
    def worker(self) -> str:
        """Its name."""

    @property
    def units(self) -> int:
        """Units that it finished."""

    @property
    def busy_seconds(self) -> float:
        """Seconds inside training or evaluation steps."""

    @property
    def unit_seconds(self) -> float:
        """Seconds with a unit: beside the steps, moving states, fetching shards, building models."""

    @property
    def idle_seconds(self) -> float:
        """Seconds without a unit."""


class ScheduleFigures(Protocol):
    """What `cerebro_nas.hopper.schedule_summary` returns, as far as the report reads it."""

    @property
    def makespan(self) -> float:
        """Seconds from the start of the first unit to the end of the search."""

    @property
    def utilisation(self) -> float:
        """Share of worker time inside training or evaluation steps."""

    @property
    def lower_bound(self) -> float:
        """Seconds that no schedule could beat."""

    @property
    def workers(self) -> Sequence[WorkerFigures]:
        """One entry per worker."""


@dataclass(frozen=True)
class ScheduleReport:
    """The lines at the end of a search.

    Attributes:
        schedule: figures of the schedule.
        outcomes: number of trials by (status, reason): see `count_outcomes`.
        stopped_because: why the search ended, in words.
        notes: further lines as they are.
    """

    schedule: ScheduleFigures
    outcomes: Mapping[tuple[str, str], int]
    stopped_because: str
    notes: tuple[str, ...] = field(default_factory=tuple)

    def lines(self) -> list[str]:
        """The report, line by line."""
        figures = self.schedule
        units = sum(worker.units for worker in figures.workers)
        trials = sum(self.outcomes.values())
        lines = [f"Search ended: {self.stopped_because}"]
        lines.append(f"Trials:   {trials} ({self._outcome_text()})" if trials else "Trials:   none")
        lines.append(
            f"Schedule: {counted(units, 'unit')} in {format_duration(figures.makespan)} "
            f"(no schedule beats {format_duration(figures.lower_bound)}), utilisation {figures.utilisation:.0%}"
        )
        name = max((len(worker.worker) for worker in figures.workers), default=0)
        for worker in figures.workers:
            overhead = max(worker.unit_seconds - worker.busy_seconds, 0.0)
            share = worker.busy_seconds / figures.makespan if figures.makespan > 0 else 0.0
            word = "unit " if worker.units == 1 else "units"
            lines.append(
                f"  {worker.worker:<{name}}  {worker.units:>4} {word}  busy {format_duration(worker.busy_seconds)} "
                f"({share:.0%})  overhead {format_duration(overhead)}  idle {format_duration(worker.idle_seconds)}"
            )
        return lines + list(self.notes)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _outcome_text(self) -> str:
        parts = []
        for (status, reason), count in self.outcomes.items():
            why = telling_reason(status, reason)
            name = str(getattr(status, "value", status)).lower()
            parts.append(f"{count} {name}" + (f": {why}" if why else ""))
        return ", ".join(parts)


def save_schedule(log: Iterable[ScheduleEntry], path: str | os.PathLike[str]) -> None:
    """Write the schedule log as JSON lines, one flat object per unit. The file appears whole or not at all."""
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            for entry in log:
                stream.write(json.dumps(_flat(entry)) + "\n")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _flat(entry: ScheduleEntry) -> dict[str, object]:
    unit = entry.unit
    return {
        "worker": entry.worker,
        "trial": unit.trial,
        "phase": unit.phase,
        "epoch": unit.epoch,
        "split": None if unit.shard is None else unit.shard.split,
        "shard": None if unit.shard is None else unit.shard.index,
        "attempt": unit.attempt,
        "started": entry.started,
        "finished": entry.finished,
        "busy_seconds": entry.busy_seconds,
        "outcome": entry.outcome,
        "detail": entry.detail,
    }
