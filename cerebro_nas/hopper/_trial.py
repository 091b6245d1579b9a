"""Where one live trial stands: what it has visited, what is left, and where its state is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cerebro_nas.hopper._types import StateRef
from cerebro_nas.hopper._types import TrialStatus
from cerebro_nas.hopper._types import Unit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cerebro_nas.hopper._shards import ShardTable
    from cerebro_nas.hopper._types import Phase
    from cerebro_nas.hopper._types import Shard
    from cerebro_nas.hopper._types import TrialPlan
    from cerebro_nas.hopper._types import UnitReport

KEPT_GENERATIONS = 2
"""States of a trial that the store keeps, beside the best one."""

UnitKey = tuple[str, int, "Shard | None"]


def unit_key(unit: Unit) -> UnitKey:
    """Identify a unit within its trial, whatever the attempt."""
    return (unit.phase, unit.epoch, unit.shard)


@dataclass(frozen=True, slots=True)
class _Visit:
    unit: Unit
    shard: Shard
    rows: int
    metrics: dict[str, float]


class Trial:
    """A live trial.

    Args:
        plan: what the tuner asked for.
        table: the shards.
        draw: a number in [0, 1) that settles ties, drawn from the seed of the search.
        now: when it was added.

    Attributes:
        remaining: expected seconds of all its units; `rank` and `longest_unit` follow from it. The ranking keeps them.
    """

    def __init__(self, plan: TrialPlan, table: ShardTable, draw: float, now: float) -> None:
        self.plan = plan
        self.draw = draw
        self.status = TrialStatus.WAITING
        self.epoch = 0
        self.generation = 0
        self.stored: list[tuple[int, str]] = []
        self._early: tuple[Unit, int, str] | None = None
        self.holder: str | None = None
        self.worker: str | None = None
        self.ready_since = now
        self.deaths = 0
        self.remaining = 0.0
        self.rank = (0.0, draw)
        self.longest_unit = 0.0
        self.rates: dict[Phase, float] = {}
        self.history: list[dict[str, float]] = []
        self._table = table
        # Shards by phase and epoch; the counts are only of units that were launched again, which is rare.
        self._launched: dict[tuple[str, int], int] = {}
        self._relaunches: dict[UnitKey, int] = {}
        self._failures: dict[UnitKey, int] = {}
        self._avoided: dict[UnitKey, set[str]] = {}
        self._trained: dict[int, list[_Visit]] = {}
        self._evaluated: list[_Visit] = []
        self._begin_epoch(0)

    # --- what is left ---------------------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """Phase of the next unit."""
        if self.plan.kind == "call":
            return "call"
        return "train" if self.todo_train else "evaluate"

    @property
    def todo(self) -> int:
        """Mask of the shards on which the next unit may run."""
        return self.todo_train or self.todo_valid

    @property
    def wants(self) -> int:
        """As `todo`, with a bit of its own for the call unit."""
        return self.todo_train or self.todo_valid or self._table.call

    def wants_after(self, shard: Shard | None) -> int:
        """Mask of the train shards that it wants once its unit on `shard` is done; none if it ends then."""
        left = self.todo_train & ~self._table.mask(shard)
        return left or (0 if self.is_last_epoch else self._table.train)

    @property
    def picky(self) -> bool:
        """Whether some unit should not run on some worker."""
        return bool(self._avoided)

    @property
    def is_last_epoch(self) -> bool:
        """Whether nothing follows this epoch."""
        return self.epoch + 1 >= self.plan.epochs

    def rows_left(self, phase: Phase) -> int:
        """Rows that units of `phase` will still visit, to the end of the plan."""
        if self.plan.kind == "call":
            return 1 if phase == "call" else 0
        later = self.plan.epochs - 1 - self.epoch
        if phase == "train":
            return self._train_rows + later * self._table.train_rows
        return self._valid_rows + later * self._table.valid_rows if phase == "evaluate" else 0

    @property
    def units_total(self) -> int:
        """Units of the whole plan."""
        return self.plan.epochs * (self._table.num_train + self._table.num_valid) if self.plan.kind == "hop" else 1

    @property
    def units_done(self) -> int:
        """Units committed and not rolled back."""
        if self.plan.kind == "call":
            return 0
        before = self.epoch * (self._table.num_train + self._table.num_valid)
        return before + len(self._trained.get(self.epoch, ())) + len(self._evaluated)

    # --- launching and failing ------------------------------------------------------------------------------------

    @property
    def state(self) -> StateRef:
        """Reference to the state from which the next unit starts."""
        generation, name = self.stored[-1] if self.stored else (0, "")
        stored = name if generation == self.generation else ""
        return StateRef(generation=self.generation, holder=self.holder, stored=stored)

    def launch(self, shard: Shard | None, worker: str) -> Unit:
        """Make the next unit, with an attempt number that this unit never had before."""
        attempt = self._count_launch(shard)
        self.status = TrialStatus.RUNNING
        self.worker = worker
        return Unit(trial=self.plan.trial, phase=self.phase, epoch=self.epoch, shard=shard, attempt=attempt)

    def _count_launch(self, shard: Shard | None) -> int:
        when, bit = (self.phase, self.epoch), self._table.mask(shard)
        before = self._launched.get(when, 0)
        if not before & bit:
            self._launched[when] = before | bit
            return 0
        key = (*when, shard)
        self._relaunches[key] = self._relaunches.get(key, 0) + 1
        return self._relaunches[key]

    def release(self, now: float) -> None:
        """Its unit is over: the trial waits for a worker again."""
        self.worker = None
        self.ready_since = now

    def end(self, status: TrialStatus) -> None:
        """No further unit of it will run; one that runs now is not for it any more."""
        self.status = status
        self.worker = None

    def count_failure(self, unit: Unit) -> int:
        """Count a failure of `unit` that is not the trial's fault; return how many there have been."""
        key = unit_key(unit)
        self._failures[key] = self._failures.get(key, 0) + 1
        return self._failures[key]

    def avoid(self, unit: Unit, worker: str) -> None:
        """Remember that `unit` should not run on `worker` while there are others."""
        self._avoided.setdefault(unit_key(unit), set()).add(worker)

    def allowed(self, mask: int, worker: str, workers: Iterable[str]) -> int:
        """Take out of `mask` the units that failed on `worker`, unless they failed on every worker."""
        if not self._avoided:
            return mask
        if self.plan.kind == "call":
            return 0 if self._is_avoided(None, worker, workers) else mask
        for shard in self._table.members(mask):
            if self._is_avoided(shard, worker, workers):
                mask &= ~self._table.bit[shard]
        return mask

    def _is_avoided(self, shard: Shard | None, worker: str, workers: Iterable[str]) -> bool:
        avoided = self._avoided.get((self.phase, self.epoch, shard), set())
        return worker in avoided and any(name not in avoided for name in workers)

    # --- committing and rolling back ------------------------------------------------------------------------------

    def commit(self, unit: Unit, report: UnitReport) -> dict[str, float] | None:
        """Take in the report of a done train or evaluate unit; return the epoch's metrics if that ends the epoch."""
        if unit.shard is None:
            return None
        visit = _Visit(unit, unit.shard, report.rows, report.metrics)
        bit, rows = self._table.bit[unit.shard], self._table.rows[unit.shard]
        if unit.phase == "train":
            self._trained.setdefault(self.epoch, []).append(visit)
            self.todo_train &= ~bit
            self._train_rows -= rows
            self.generation += 1
            if self._early is not None and self._early[0] == unit:
                self.mark_stored(*self._early)
            self._early = None
        else:
            self._evaluated.append(visit)
            self.todo_valid &= ~bit
            self._valid_rows -= rows
        if self.todo:
            return None
        metrics = _weighted(self._trained[self.epoch])
        metrics.update({f"val_{name}": value for name, value in _weighted(self._evaluated).items()})
        self.history.append(metrics)
        if not self.is_last_epoch:
            self._begin_epoch(self.epoch + 1)
        return metrics

    @property
    def last_trained(self) -> Unit:
        """The train unit that made the present state, which is not the initial one."""
        epoch, position = divmod(self.generation - 1, self._table.num_train)
        return self._trained[epoch][position].unit

    def mark_stored(self, unit: Unit, generation: int, name: str) -> bool:
        """The store has what `unit` made, as `name`; return whether that is news that can be used."""
        if generation == self.generation + 1:
            # A worker may store a state before it reports the unit.
            self._early = (unit, generation, name)
            return True
        if generation <= (self.stored[-1][0] if self.stored else 0) or not self._made(unit, generation):
            return False
        self.stored = [*self.stored, (generation, name)][-KEPT_GENERATIONS:]
        # Nothing rolls back beyond the oldest stored generation, so visits of earlier epochs are not needed again.
        first = min(self.epoch, self.stored[0][0] // self._table.num_train)
        if next(iter(self._trained), first) < first:
            # The evaluation of an epoch tells which unit made the state, also where the next epoch has begun.
            first = min(first, self.epoch, (self.generation - 1) // self._table.num_train)
            self._trained = {epoch: visits for epoch, visits in self._trained.items() if epoch >= first}
        return True

    def _made(self, unit: Unit, generation: int) -> bool:
        epoch, position = divmod(generation - 1, self._table.num_train)
        visits = self._trained.get(epoch, [])
        return generation <= self.generation and position < len(visits) and visits[position].unit == unit

    def forget_stored(self, name: str) -> None:
        """What the store has under `name` cannot be used: go by what it had before."""
        self.stored = [item for item in self.stored if item[1] != name]

    def roll_back(self) -> None:
        """Go back to the stored generation: what was committed after it is to be done again."""
        stored = self.stored[-1][0] if self.stored else 0
        self._early = None
        if stored == self.generation:
            return
        self.generation = stored
        epoch = min(self.epoch, stored // self._table.num_train)
        kept = self._trained.get(epoch, [])[: stored - epoch * self._table.num_train]
        self._trained = {e: visits for e, visits in self._trained.items() if e < epoch}
        del self.history[epoch:]
        self._begin_epoch(epoch)
        self._trained[epoch] = kept
        for visit in kept:
            self.todo_train &= ~self._table.bit[visit.shard]
            self._train_rows -= self._table.rows[visit.shard]

    def _begin_epoch(self, epoch: int) -> None:
        hops = self.plan.kind == "hop"
        self.epoch = epoch
        self._evaluated = []
        self.todo_train = self._table.train if hops else 0
        self.todo_valid = self._table.valid if hops else 0
        self._train_rows = self._table.train_rows
        self._valid_rows = self._table.valid_rows


def _weighted(visits: list[_Visit]) -> dict[str, float]:
    names = dict.fromkeys(name for visit in visits for name in visit.metrics)
    means: dict[str, float] = {}
    for name in names:
        parts = [(visit.metrics[name], visit.rows) for visit in visits if name in visit.metrics]
        rows = sum(weight for _, weight in parts)
        means[name] = sum(value * weight for value, weight in parts) / rows if rows else 0.0
    return means
