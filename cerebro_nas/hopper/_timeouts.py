"""Which running units take so much longer than others did that they must be hanging."""

from __future__ import annotations

from bisect import bisect_left
from bisect import insort
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cerebro_nas.hopper._types import Overdue

if TYPE_CHECKING:
    from cerebro_nas.hopper._costs import CostModel
    from cerebro_nas.hopper._shards import ShardTable
    from cerebro_nas.hopper._types import Phase
    from cerebro_nas.hopper._workers import Running
    from cerebro_nas.hopper._workers import Worker
    from cerebro_nas.hopper._workers import WorkerPool

_WINDOW = 101
"""Units of a phase, the newest, of which the median is taken."""


@dataclass(frozen=True)
class TimeoutRules:
    """How long a unit may take.

    Attributes:
        factor: this many times what is expected of it,
        least: but never less than so many seconds;
        first: seconds as long as nothing of its phase has been measured.
        fixed: seconds, whatever is expected (None: as the others say).
    """

    factor: float
    least: float
    first: float
    fixed: float | None


class Timeouts:
    """Measures units and finds those that take too long.

    Args:
        table: the shards.
        costs: estimates for each trial: a candidate much larger than those before it may take longer than they did.
        rules: the limits.
    """

    def __init__(self, table: ShardTable, costs: CostModel, rules: TimeoutRules) -> None:
        self._table = table
        self._costs = costs
        self._rules = rules
        self._newest: dict[Phase, deque[float]] = {}
        self._sorted: dict[Phase, list[float]] = {}

    def observe(self, phase: Phase, rows: int, seconds: float) -> None:
        """Take in a unit that was done."""
        if rows <= 0 or seconds <= 0:
            return
        rate = seconds / rows
        newest = self._newest.setdefault(phase, deque())
        ordered = self._sorted.setdefault(phase, [])
        newest.append(rate)
        insort(ordered, rate)
        if len(newest) > _WINDOW:
            del ordered[bisect_left(ordered, newest.popleft())]

    def overdue(self, pool: WorkerPool, now: float) -> list[Overdue]:
        """Return the running units that have taken more than their limit."""
        late = []
        for worker, running in pool.ending():
            seconds = now - running.started
            # Nothing less can be overdue, so that most units need no look at what is expected of them.
            if seconds > self._least and seconds > (limit := self._limit(worker, running)):
                late.append(Overdue(worker.name, running.unit, seconds, limit))
        return late

    @property
    def _least(self) -> float:
        rules = self._rules
        return min(rules.least, rules.first) if rules.fixed is None else rules.fixed

    def _limit(self, worker: Worker, running: Running) -> float:
        rules, phase = self._rules, running.unit.phase
        if rules.fixed is not None:
            return rules.fixed
        ordered = self._sorted.get(phase)
        if not ordered:
            return rules.first
        rows = self._table.rows_at(running.unit.shard)
        rate = max(ordered[len(ordered) // 2], self._costs.rate(running.trial, phase))
        knows = self._table.mask(running.unit.shard) & worker.fetched
        fetching = 0.0 if knows or running.unit.shard is None else self._table.fetch_seconds[running.unit.shard]
        return max(rules.least, rules.factor * (rate * rows + fetching))
