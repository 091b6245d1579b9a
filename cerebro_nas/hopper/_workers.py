"""The workers as the scheduler sees them: who is there, what runs where, and which shards are near."""

from __future__ import annotations

from bisect import bisect_left
from bisect import insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cerebro_nas.hopper._shards import ShardTable
    from cerebro_nas.hopper._trial import Trial
    from cerebro_nas.hopper._types import StateRef
    from cerebro_nas.hopper._types import Unit


@dataclass(frozen=True, slots=True)
class Running:
    """A unit on its worker.

    Attributes:
        trial: the trial; `unit` is its unit, which started from `state`.
        started: when.
        expected_end: when it was expected to end.
        after: mask of the shards that the trial wants afterwards (0: the trial ends with this unit).
    """

    trial: Trial
    unit: Unit
    state: StateRef
    started: float
    expected_end: float
    after: int

    def seconds_left(self, now: float) -> float:
        """Expected seconds to its end. An overdue unit is expected to take a tenth of its age longer."""
        age = now - self.started
        return max(self.expected_end - now, 0.1 * age)


@dataclass(slots=True)
class Worker:
    """One worker. `homes` and `fetched` are shard masks."""

    name: str
    homes: int = 0
    fetched: int = 0
    units: int = 0
    running: Running | None = None

    @property
    def near(self) -> int:
        """Shards that it prefers: those pinned to it and those it has fetched."""
        return self.homes | self.fetched


class WorkerPool:
    """The workers that are there, and the pinning of train shards to them.

    Args:
        table: the shards.
        num_workers: workers that are expected. While fewer have joined, the shards of the others stay unpinned.

    Attributes:
        present: all that are there; `usable` are those of them that are not excluded, `idle` those that run nothing.
        seen: names of all that ever were there.
        excluded: until when a worker gets nothing, by name, whether it is there or not.
    """

    def __init__(self, table: ShardTable, num_workers: int) -> None:
        self.present: dict[str, Worker] = {}
        self.usable: dict[str, Worker] = {}
        self.idle: dict[str, Worker] = {}
        self.seen: set[str] = set()
        self.excluded: dict[str, float] = {}
        self._table = table
        self._num_workers = num_workers
        self._unpinned = table.train
        self._ends: list[tuple[float, str, Worker, Running]] = []

    def join(self, name: str) -> Worker:
        """Add a worker and give it its share of the shards."""
        # Every worker holds what a call unit needs, so that a call is near everywhere.
        worker = Worker(name, fetched=self._table.call)
        self.present[name] = worker
        self.seen.add(name)
        if name not in self.excluded:
            self._welcome(worker)
        return worker

    def _welcome(self, worker: Worker) -> None:
        self.usable[worker.name] = worker
        if worker.running is None:
            self.idle[worker.name] = worker
        expected = max(self._num_workers, len(self.usable))
        self._pin(worker, self._table.num_train // expected)
        if len(self.usable) >= self._num_workers:
            self._spread()

    def lose(self, name: str) -> Worker:
        """Remove a worker; its shards go to those that are left."""
        worker = self.present.pop(name)
        if worker.running is not None:
            self._forget_end(worker, worker.running)
        self._part_with(worker)
        return worker

    def exclude(self, name: str, until: float) -> None:
        """Give a worker nothing until then; its shards go to the others."""
        self.excluded[name] = until
        if name in self.usable:
            self._part_with(self.usable[name])

    def readmit(self, now: float) -> None:
        """Let those come back whose time is over."""
        for name, until in sorted(self.excluded.items(), key=lambda item: item[1]):
            if until > now:
                return
            del self.excluded[name]
            if name in self.present:
                self._welcome(self.present[name])

    def count_usable(self, now: float) -> int:
        """Workers that are there and not excluded at that time."""
        return sum(self.excluded.get(name, now) <= now for name in self.present)

    def _part_with(self, worker: Worker) -> None:
        self.usable.pop(worker.name, None)
        self.idle.pop(worker.name, None)
        self._unpinned |= worker.homes
        worker.homes = 0
        self._spread()

    def start(self, worker: Worker, running: Running) -> None:
        """`worker` runs a unit now."""
        worker.running = running
        self.idle.pop(worker.name, None)
        insort(self._ends, (running.expected_end, worker.name, worker, running))

    def end(self, worker: Worker) -> None:
        """`worker` is idle now."""
        if worker.running is not None:
            self._forget_end(worker, worker.running)
        worker.running = None
        if worker.name in self.usable:
            self.idle[worker.name] = worker

    def ending(self) -> Iterator[tuple[Worker, Running]]:
        """Yield the busy workers and what they run, the one that was expected to end first at first."""
        for _, _, worker, running in self._ends:
            yield worker, running

    def _forget_end(self, worker: Worker, running: Running) -> None:
        del self._ends[bisect_left(self._ends, (running.expected_end, worker.name, worker, running))]

    def _pin(self, worker: Worker, share: int) -> None:
        while worker.homes.bit_count() < share:
            if not self._unpinned:
                richest = max(self.usable.values(), key=lambda w: w.homes.bit_count())
                if richest.homes.bit_count() <= share:
                    return
                self._unpinned = richest.homes & -richest.homes
                richest.homes ^= self._unpinned
            taken = self._unpinned & -self._unpinned
            self._unpinned ^= taken
            worker.homes |= taken

    def _spread(self) -> None:
        while self._unpinned and self.usable:
            poorest = min(self.usable.values(), key=lambda w: w.homes.bit_count())
            self._pin(poorest, poorest.homes.bit_count() + 1)
