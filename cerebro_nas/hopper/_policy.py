"""Which idle worker runs which unit.

What the end of the search would wait for goes first: the trials whose remaining work would fill the time that is left,
longest first. As long as more trials come, the others go shortest first: so the next ones come soon, the tuner learns
sooner, and a long one among them does not turn up at the very end. A unit prefers a worker that has its shard.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from itertools import islice
from itertools import takewhile
from typing import TYPE_CHECKING

from cerebro_nas.hopper._ranking import leading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cerebro_nas.hopper._costs import CostModel
    from cerebro_nas.hopper._ranking import Ranking
    from cerebro_nas.hopper._shards import ShardTable
    from cerebro_nas.hopper._trial import Trial
    from cerebro_nas.hopper._types import Shard
    from cerebro_nas.hopper._workers import Running
    from cerebro_nas.hopper._workers import Worker
    from cerebro_nas.hopper._workers import WorkerPool

_TIE = 0.01
"""Estimates closer than this are equal: then a trial whose state is on the worker goes first and saves a hop."""

_PATIENCE = 4.0
"""After this many rounds of the longest unit a waiting trial goes first; after twice as many, to any idle worker."""

_LOOK_AHEAD = 16
"""Trials, longest first, and workers for which a fetch is considered; more would cost time and gain next to nothing."""

_SLACK = 1.0
"""A trial is critical if its work would fill the time that is left, but for this many of the longest unit."""

_FETCH_SHARE = 0.5
"""A critical trial is worth a fetch that takes up to this share of its lead, and of what it would wait otherwise."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Run the next unit of `trial` on `worker`, visiting `shard`."""

    worker: Worker
    trial: Trial
    shard: Shard | None


class Policy:
    """The choice, from what is waiting and what is idle.

    Args:
        table: the shards.
        costs: estimates.
        pool: the workers.
        ranking: the live trials.
    """

    def __init__(self, table: ShardTable, costs: CostModel, pool: WorkerPool, ranking: Ranking) -> None:
        self._table = table
        self._costs = costs
        self._pool = pool
        self._ranking = ranking

    def choices(self, live: int, now: float, more_trials: bool) -> Iterator[Assignment]:
        """Choose units for idle workers, one after another. The caller starts each one before it asks for the next.

        Args:
            live: number of live trials.
            now: the time.
            more_trials: whether a trial that ends is followed by another one.

        Yields:
            At most one assignment for each idle worker and each waiting trial.
        """
        patience = self._patience(live)
        yield from self._evaluate_in_place()
        yield from self._rescue(now - 2 * patience)
        yield from self._take_near(now, now - patience, more_trials)
        yield from self._take_far(now, more_trials)

    def estimate(self, choice: Assignment) -> float:
        """Expected seconds of a choice, with those that it takes to fetch the shard."""
        seconds = self._costs.rate(choice.trial, choice.trial.phase)
        if choice.shard is None:
            return seconds
        seconds *= self._table.rows[choice.shard]
        knows = self._table.bit[choice.shard] & choice.worker.fetched
        return seconds if knows else seconds + self._table.fetch_seconds[choice.shard]

    def _patience(self, live: int) -> float:
        if not self._costs.calibrated:
            return math.inf
        return _PATIENCE * max(1.0, live / max(1, len(self._pool.usable))) * self._ranking.longest_unit

    # --- passes -----------------------------------------------------------------------------------------------------

    def _idle(self, most: int | None = None) -> Iterator[Worker]:
        for worker in list(islice(self._pool.idle.values(), most)):
            if not self._ranking:
                return
            if worker.running is None:
                yield worker

    def _evaluate_in_place(self) -> Iterator[Assignment]:
        """Evaluate where the model is: its validation shards are cheap to fetch, and the tuner waits for the figure."""
        if not self._ranking.evaluates:
            return
        for worker in self._idle():
            for trial in self._ranking.evaluating(worker.name).trials:
                mask = self._options(trial, worker, self._table.valid)
                if mask:
                    yield self._assignment(worker, trial, mask)
                    break

    def _rescue(self, since: float) -> Iterator[Assignment]:
        """Give trials that wait since before `since`, far too long, whatever worker there is, near ones first."""
        for trial in self._waiting_since(since):
            for worker in sorted(self._pool.idle.values(), key=lambda w: not trial.wants & w.near):
                mask = self._near(trial, worker) or self._options(trial, worker, trial.wants)
                if mask:
                    yield self._assignment(worker, trial, mask)
                    break

    def _take_near(self, now: float, since: float, more_trials: bool) -> Iterator[Assignment]:
        """Let each worker take what is near: what waits since before `since`, else what comes first."""
        if len(self._ranking) < len(self._pool.idle):
            yield from self._go_near(since)
            return
        for worker in self._idle():
            starved = next((t for t in self._waiting_since(since) if self._near(t, worker)), None)
            best = starved or self._first_near(worker, more_trials)
            fetched = self._worth_a_fetch(worker, best, now) if starved is None else None
            if fetched is not None:
                yield fetched
            elif best is not None:
                yield self._assignment(worker, best, self._near(best, worker))

    def _go_near(self, since: float) -> Iterator[Assignment]:
        """As above from the side of the trials, where they are fewer: each goes to a worker that is near."""
        for trial in [*self._waiting_since(since), *self._ranking.waiting.trials]:
            if not self._ranking.waits(trial):
                continue
            holder = self._pool.idle.get(trial.holder or "")
            wants = trial.wants
            workers = [holder] if holder is not None else []
            for worker in chain(workers, self._pool.idle.values()):
                mask = self._near(trial, worker) if wants & worker.near else 0
                if mask:
                    yield self._assignment(worker, trial, mask)
                    break

    def _first_near(self, worker: Worker, more_trials: bool) -> Trial | None:
        def fits(trial: Trial) -> bool:
            return bool(self._near(trial, worker))

        near = worker.near
        waiting, held = self._ranking.waiting, self._ranking.held(worker.name)
        best, local = waiting.longest(near, fits), held.longest(near, fits)
        if best is not None and more_trials and best.remaining < self._critical():
            best, local = waiting.shortest(near, fits), held.shortest(near, fits)
        if best is not None and local is not None and abs(best.remaining - local.remaining) <= _TIE * best.remaining:
            return local
        return best

    def _critical(self) -> float:
        """Seconds of remaining work from which on a trial is one that the end of the search would wait for."""
        if not self._costs.calibrated:
            return 0.0
        return self._ranking.total / len(self._pool.usable) - _SLACK * self._ranking.longest_unit

    def _worth_a_fetch(self, worker: Worker, best: Trial | None, now: float) -> Assignment | None:
        """Fetch for a critical trial that would wait longer, if the fetch costs less than it saves."""
        if best is None or not self._costs.calibrated:
            return None
        critical = self._critical()
        for trial in leading(self._ranking.waiting, _LOOK_AHEAD, best):
            limit = _FETCH_SHARE * (trial.remaining - best.remaining)
            if trial.remaining < critical or limit <= self._table.least_fetch_seconds:
                return None
            mask, seconds = self._table.quickest(self._options(trial, worker, trial.wants))
            if seconds < limit and seconds < _FETCH_SHARE * self._expected_wait(trial, now):
                return self._assignment(worker, trial, mask)
        return None

    def _take_far(self, now: float, more_trials: bool) -> Iterator[Assignment]:
        """Let a worker that would idle take a unit whose shard it has to fetch, where that is the lesser loss."""
        for worker in self._idle(_LOOK_AHEAD):
            limit = self._expected_idling(worker, now, more_trials)
            if limit <= self._table.least_fetch_seconds:
                continue
            for trial in leading(self._ranking.waiting, _LOOK_AHEAD, None):
                mask, seconds = self._table.quickest(self._options(trial, worker, trial.wants))
                if seconds >= limit:
                    continue
                mask, seconds = self._table.quickest(mask & ~self._soon_elsewhere(trial, now))
                if seconds < limit:
                    yield self._assignment(worker, trial, mask)
                    break

    # --- what is near, what is cheap ----------------------------------------------------------------------------------

    def _waiting_since(self, since: float) -> Iterator[Trial]:
        oldest = next(self._ranking.oldest(), None)
        if oldest is None or oldest.ready_since >= since:
            return iter(())
        # A list, because the caller starts what it is given.
        return iter(list(takewhile(lambda trial: trial.ready_since < since, self._ranking.oldest())))

    def _options(self, trial: Trial, worker: Worker, mask: int) -> int:
        mask &= trial.wants
        return trial.allowed(mask, worker.name, self._pool.usable) if trial.picky else mask

    def _near(self, trial: Trial, worker: Worker) -> int:
        mask = self._options(trial, worker, worker.near)
        return mask & worker.homes or mask

    def _expected_idling(self, worker: Worker, now: float, more_trials: bool) -> float:
        """Seconds until a running unit is expected to end that frees something for `worker`."""
        soonest, near = math.inf, worker.near
        for _, running in self._pool.ending():
            if running.expected_end - now >= soonest:
                break
            if self._after(running, more_trials) & near:
                soonest = min(soonest, running.seconds_left(now))
        return soonest if self._costs.calibrated or soonest == math.inf else 0.0

    def _expected_wait(self, trial: Trial, now: float) -> float:
        """Seconds until a worker is expected to be free that has a shard that `trial` wants."""
        if any(trial.wants & worker.near for worker in self._pool.idle.values()):
            return 0.0
        soonest = math.inf
        for worker, running in self._pool.ending():
            if running.expected_end - now >= soonest:
                break
            if trial.wants & worker.near:
                soonest = min(soonest, running.seconds_left(now))
        return soonest

    def _after(self, running: Running, more_trials: bool) -> int:
        """Mask of the shards that the trial, or the one that follows it, needs once the unit is done."""
        if running.trial.worker is None:
            return 0
        return running.after or (self._table.train if more_trials else 0)

    def _soon_elsewhere(self, trial: Trial, now: float) -> int:
        """Mask of shards that are not worth a fetch: a holder is free before the fetch ends, and has nothing else."""
        mask = 0
        for holder, running in self._pool.ending():
            if running.expected_end - now >= self._table.most_fetch_seconds:
                break
            shared = self._table.slower(trial.wants & holder.near, running.seconds_left(now))
            others = self._ranking.waiting.longest(holder.near, lambda other: True)
            if shared and (others is None or others is trial):
                mask |= shared
        return mask

    def _assignment(self, worker: Worker, trial: Trial, mask: int) -> Assignment:
        # Trials start at different shards, so that no shard is always the first to be learned or to be fetched.
        return Assignment(worker, trial, self._table.pick(mask, trial.draw))
