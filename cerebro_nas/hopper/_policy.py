"""Which idle worker runs which unit: longest remaining work first, near shards before far ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping

    from cerebro_nas.hopper._costs import CostModel
    from cerebro_nas.hopper._shards import ShardTable
    from cerebro_nas.hopper._trial import Trial
    from cerebro_nas.hopper._types import Shard
    from cerebro_nas.hopper._workers import Worker
    from cerebro_nas.hopper._workers import WorkerPool

_TIE = 0.01
"""Estimates closer than this are equal: then a trial whose state is on the worker goes first and saves a hop."""

_PATIENCE = 4.0
"""After this many rounds of the longest unit a waiting trial goes first; after twice as many, to any idle worker."""

_LOOK_AHEAD = 16
"""Trials, longest first, for which an idle worker considers a fetch; more would cost time and gain next to nothing."""


@dataclass(frozen=True)
class Assignment:
    """Run the next unit of `trial` on `worker`, visiting `shard`."""

    worker: Worker
    trial: Trial
    shard: Shard | None


@dataclass(frozen=True)
class _Waiting:
    trial: Trial
    remaining: float
    starved: bool
    desperate: bool

    @property
    def order(self) -> tuple[bool, float, float]:
        """Sort key: the starved by age, then the others by remaining work."""
        return (not self.starved, self.trial.ready_since if self.starved else -self.remaining, self.trial.draw)


class Policy:
    """The choice, from what is waiting and what is idle. It changes nothing.

    Args:
        table: the shards.
        costs: estimates.
        pool: the workers.
    """

    def __init__(self, table: ShardTable, costs: CostModel, pool: WorkerPool) -> None:
        self._table = table
        self._costs = costs
        self._pool = pool

    def assign(
        self, ready: Iterable[Trial], live: Mapping[str, Trial], now: float, more_trials: bool
    ) -> list[Assignment]:
        """Choose units for idle workers.

        Args:
            ready: trials that no worker runs.
            live: all live trials, by name.
            now: the time.
            more_trials: whether a trial that ends is followed by another one.

        Returns:
            At most one assignment for each idle worker and each ready trial.
        """
        queue = self._ranked(ready, len(live), now)
        free = dict(self._pool.idle)
        chosen: list[Assignment] = []
        self._evaluate_in_place(queue, free, chosen)
        self._rescue(queue, free, chosen)
        self._take_near(queue, free, chosen)
        self._take_far(queue, free, chosen, live, now, more_trials)
        return chosen

    def estimate(self, trial: Trial, shard: Shard | None) -> float:
        """Expected seconds of the trial's next unit on `shard`."""
        return self._costs.rate(trial, trial.phase) * (self._table.rows[shard] if shard is not None else 1)

    # --- ranking ----------------------------------------------------------------------------------------------------

    def _ranked(self, ready: Iterable[Trial], live: int, now: float) -> list[_Waiting]:
        trials = list(ready)
        patience = self._patience(trials, live)
        queue = []
        for trial in trials:
            waited = now - trial.ready_since
            queue.append(_Waiting(trial, self._costs.remaining(trial), waited > patience, waited > 2 * patience))
        queue.sort(key=lambda waiting: waiting.order)
        return queue

    def _patience(self, trials: list[Trial], live: int) -> float:
        if not self._costs.calibrated:
            return math.inf
        rows = self._table.most_rows
        units = [self._costs.rate(t, t.phase) * (1 if t.phase == "call" else rows) for t in trials]
        units += [w.running.estimate for w in self._pool.present.values() if w.running is not None]
        return _PATIENCE * max(1.0, live / len(self._pool.present)) * max(units, default=math.inf)

    # --- passes -----------------------------------------------------------------------------------------------------

    def _evaluate_in_place(self, queue: list[_Waiting], free: dict[str, Worker], chosen: list[Assignment]) -> None:
        """Evaluate where the model is: its validation shards are cheap to fetch, and the tuner waits for the figure."""
        for waiting in list(queue):
            trial = waiting.trial
            worker = free.get(trial.holder or "")
            if worker is not None and trial.phase == "evaluate":
                self._take(waiting, worker, self._allowed(trial, trial.todo, worker), queue, free, chosen)

    def _rescue(self, queue: list[_Waiting], free: dict[str, Worker], chosen: list[Assignment]) -> None:
        """Give trials that have waited far too long whatever worker there is, near ones first."""
        for waiting in [w for w in queue if w.desperate]:
            for worker in sorted(free.values(), key=lambda w: not waiting.trial.todo & w.near):
                near = self._near(waiting.trial, worker)
                mask = near or self._allowed(waiting.trial, waiting.trial.todo, worker)
                if self._take(waiting, worker, mask, queue, free, chosen):
                    break

    def _take_near(self, queue: list[_Waiting], free: dict[str, Worker], chosen: list[Assignment]) -> None:
        for worker in list(free.values()):
            if not queue:
                return
            best = self._first_near(worker, queue)
            if best is not None:
                self._take(best, worker, self._near(best.trial, worker), queue, free, chosen)

    def _first_near(self, worker: Worker, queue: list[_Waiting]) -> _Waiting | None:
        best: _Waiting | None = None
        for waiting in queue:
            if best is not None and waiting.remaining < best.remaining * (1 - _TIE):
                break
            is_local = waiting.trial.holder == worker.name
            if (best is None or is_local) and self._is_near(waiting.trial, worker):
                best = waiting
                if is_local or best.starved:
                    break
        return best

    def _take_far(
        self,
        queue: list[_Waiting],
        free: dict[str, Worker],
        chosen: list[Assignment],
        live: Mapping[str, Trial],
        now: float,
        more_trials: bool,
    ) -> None:
        """Let a worker that would idle take a unit whose shard it has to fetch, where that is the lesser loss."""
        for worker in list(free.values()):
            if not queue:
                return
            limit = self._expected_idling(worker, chosen, live, now, more_trials)
            if limit <= self._table.least_fetch_seconds:
                continue
            for waiting in queue[:_LOOK_AHEAD]:
                trial = waiting.trial
                mask = self._allowed(trial, trial.todo, worker) if trial.phase != "call" else 0
                if not self._cheaper(mask, limit):
                    continue
                cheap = self._cheaper(mask & ~self._soon_elsewhere(waiting, queue, now), limit)
                if self._take(waiting, worker, cheap, queue, free, chosen):
                    break

    # --- what is near, what is cheap ----------------------------------------------------------------------------------

    def _allowed(self, trial: Trial, mask: int, worker: Worker) -> int:
        return trial.allowed(mask, worker.name, self._pool.present)

    def _near(self, trial: Trial, worker: Worker) -> int:
        mask = self._allowed(trial, trial.todo & worker.near, worker)
        return mask & worker.homes or mask

    def _is_near(self, trial: Trial, worker: Worker) -> bool:
        if trial.phase == "call":
            return trial.allows_call(worker.name, self._pool.present)
        return bool(trial.todo & worker.near) and self._near(trial, worker) != 0

    def _cheaper(self, mask: int, limit: float) -> int:
        """Mask of the shards in `mask` that take the least time to fetch, if that is below `limit`."""
        seconds = {shard: self._table.fetch_seconds[shard] for shard in self._table.members(mask)}
        least = min(seconds.values(), default=math.inf)
        return sum(self._table.bit[s] for s, cost in seconds.items() if cost == least) if least < limit else 0

    def _expected_idling(
        self, worker: Worker, chosen: list[Assignment], live: Mapping[str, Trial], now: float, more_trials: bool
    ) -> float:
        """Seconds until a running unit is expected to end that frees something for `worker`."""
        soonest = math.inf
        for other in self._pool.present.values():
            trial = live.get(other.running.unit.trial) if other.running is not None else None
            if other.running is None or trial is None:
                continue
            if self._after(trial, other.running.unit.shard, more_trials) & worker.near:
                soonest = min(soonest, other.running.seconds_left(now))
        for choice in chosen:
            if self._after(choice.trial, choice.shard, more_trials) & worker.near:
                soonest = min(soonest, self.estimate(choice.trial, choice.shard))
        return soonest if self._costs.calibrated or soonest == math.inf else 0.0

    def _after(self, trial: Trial, shard: Shard | None, more_trials: bool) -> int:
        """Mask of the shards that `trial`, or the one that follows it, needs once its unit on `shard` is done."""
        if trial.phase == "train" and shard is not None and trial.todo != self._table.bit[shard]:
            return trial.todo & ~self._table.bit[shard]
        return self._table.train if more_trials or not trial.is_last_epoch else 0

    def _soon_elsewhere(self, waiting: _Waiting, queue: list[_Waiting], now: float) -> int:
        """Mask of shards that are not worth a fetch: a holder is free before the fetch ends, and has nothing else."""
        mask = 0
        for holder in self._pool.present.values():
            shared = waiting.trial.todo & holder.near
            if not shared or holder.running is None:
                continue
            left = holder.running.seconds_left(now)
            soon = sum(self._table.bit[s] for s in self._table.members(shared) if self._table.fetch_seconds[s] > left)
            if soon and not any(w is not waiting and w.trial.todo & holder.near for w in queue):
                mask |= soon
        return mask

    # --- taking -------------------------------------------------------------------------------------------------------

    def _take(
        self,
        waiting: _Waiting,
        worker: Worker,
        mask: int,
        queue: list[_Waiting],
        free: dict[str, Worker],
        chosen: list[Assignment],
    ) -> bool:
        trial, shard = waiting.trial, None
        if trial.phase != "call":
            shards = list(self._table.members(mask))
            if not shards:
                return False
            # Trials start at different shards, so that no shard is always the first to be learned or to be fetched.
            shard = shards[int(trial.draw * len(shards))]
        elif not trial.allows_call(worker.name, self._pool.present):
            return False
        chosen.append(Assignment(worker, trial, shard))
        queue.remove(waiting)
        del free[worker.name]
        return True
