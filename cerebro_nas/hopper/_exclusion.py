"""Workers on which one unit after the other fails, whosever it is: they get nothing for a while."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING

from cerebro_nas.hopper._types import WorkerExcluded

if TYPE_CHECKING:
    from cerebro_nas.hopper._trial import Trial
    from cerebro_nas.hopper._workers import WorkerPool


@dataclass
class _Record:
    """What a worker did since it last finished a unit: the trials that failed on it, and how often it was excluded."""

    trials: dict[str, Trial] = field(default_factory=dict)
    times: int = 0


class Exclusions:
    """The rule that tells a bad worker from a bad candidate: a bad worker fails different ones in a row.

    It knows workers by name, so that one that is replaced under its name, on the same bad machine, is the same.

    Args:
        pool: the workers.
        most: different trials that may fail on a worker in a row before it is excluded.
        cool_down: seconds of the first exclusion; each further one without a unit done between takes twice as long.
        longest: seconds of an exclusion at most.
    """

    def __init__(self, pool: WorkerPool, most: int, cool_down: float, longest: float) -> None:
        self._pool = pool
        self._most = most
        self._cool_down = cool_down
        self._longest = longest
        self._records: dict[str, _Record] = {}

    def succeeded(self, worker: str) -> None:
        """A unit was done on `worker`: what was before does not count."""
        record = self._records.pop(worker, None)
        if record is not None:
            for trial in record.trials.values():
                trial.suspects.discard(worker)

    def failed(self, worker: str, trial: Trial, reason: str, now: float) -> list[WorkerExcluded]:
        """A unit of `trial` failed on `worker` and is not to blame; return what follows for the worker."""
        record = self._records.setdefault(worker, _Record())
        record.trials[trial.plan.trial] = trial
        trial.suspects.add(worker)
        if len(record.trials) < self._most:
            return []
        until = now + min(self._longest, self._cool_down * 2.0 ** min(record.times, 60))
        record.times += 1
        self._pool.exclude(worker, until)
        if self._pool.usable:
            # They are tried elsewhere, so that what a bad worker did to them need not count. If there is nobody else,
            # it has to: or else they might be tried for ever.
            for victim in record.trials.values():
                victim.forgive(worker)
        words = f"units of {len(record.trials)} trials failed on it in a row, the last one with {reason!r}"
        return [WorkerExcluded(worker, until, words)]
