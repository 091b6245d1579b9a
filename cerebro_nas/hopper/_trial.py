"""Where one live trial stands: what it has visited, what is left, and where its state is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cerebro_nas.hopper._legs import Legs
from cerebro_nas.hopper._types import StateRef
from cerebro_nas.hopper._types import TrialStatus
from cerebro_nas.hopper._types import Unit

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Iterable

    from cerebro_nas.hopper._order import FixedOrder
    from cerebro_nas.hopper._shards import ShardTable
    from cerebro_nas.hopper._types import Phase
    from cerebro_nas.hopper._types import Shard
    from cerebro_nas.hopper._types import TrialPlan
    from cerebro_nas.hopper._types import UnitReport

KEPT_GENERATIONS = 2
"""States of a trial that the store keeps, beside the best one."""

_HOMESICK = 3
"""A trial that lost its state so often within an epoch stays with whoever holds it: moving it does not work."""

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
    sums: dict[str, list[float]]


class Trial:
    """A live trial.

    Args:
        plan: what the tuner asked for.
        table: the shards.
        draw: a number in [0, 1) that settles ties, drawn from the seed of the search.
        now: when it was added.
        order: in which order it visits train shards (None: in any).

    Attributes:
        wants: mask of the shards on which the next unit may run; the call unit has a bit of its own.
        lost_states: how often in this epoch a worker could not get at the state.
        suspects: workers on which it failed, and that have not finished a unit since: others are better for it.
        remaining: expected seconds of all its units; `rank` and `longest_unit` follow from it. The ranking keeps them.
    """

    def __init__(
        self, plan: TrialPlan, table: ShardTable, draw: float, now: float, order: FixedOrder | None = None
    ) -> None:
        self.plan = plan
        self.draw = draw
        self.status = TrialStatus.WAITING
        self.epoch = 0
        self.generation = 0
        self.stored: list[tuple[int, str]] = []
        self._early: tuple[Unit, int, str] | None = None
        self.holder: str | None = None
        self.worker: str | None = None
        self.unit: Unit | None = None
        self.ready_since = now
        self.suspects: set[str] = set()
        self.lost_states = 0
        self.remaining = 0.0
        self.rank = (0.0, draw)
        self.longest_unit = 0.0
        self.rates: dict[Phase, float] = {}
        self.history: list[dict[str, float]] = []
        self._table = table
        self._legs = Legs(table.num_train, plan.epochs, plan.legs)
        self._left = 0
        self._order = order
        self._visits: tuple[Shard, ...] = ()
        # Shards by phase and epoch; the counts are only of units that were launched again, which is rare.
        self._launched: dict[tuple[str, int], int] = {}
        self._relaunches: dict[UnitKey, int] = {}
        self._failures: dict[UnitKey | str, Counter[str]] = {}
        self._forgiven: set[str] = set()
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

    def wants_after(self, shard: Shard | None) -> int:
        """Mask of the train shards that it wants once its unit on `shard` is done; none if it ends then."""
        left = self.todo_train & ~self._table.mask(shard)
        if self._left <= 1 and self.is_last_epoch:
            return 0
        if left and self._order is not None:
            return self._next_in_order(left)
        return left or (0 if self.is_last_epoch else self._table.train)

    def _next_in_order(self, left: int) -> int:
        return self._table.bit[self._visits[-left.bit_count()]]

    @property
    def picky(self) -> bool:
        """Whether some unit should not run on some worker."""
        return bool(self._avoided or self.suspects or self.lost_states >= _HOMESICK)

    @property
    def ends_epoch(self) -> bool:
        """Whether the unit that runs is the last train unit before an evaluation."""
        return self.unit is not None and self.unit.phase == "train" and self._left == 1

    @property
    def sums_so_far(self) -> dict[str, list[float]]:
        """If the unit that runs is the last evaluation of an epoch: what metrics counted in the others."""
        is_last = self.unit is not None and self.unit.phase == "evaluate" and self.todo_valid.bit_count() == 1
        return _added(self._evaluated) if is_last and self._evaluated else {}

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
            units = self._legs.total - self._legs.start(self.epoch + 1) if later > 0 else 0
            return self._train_rows + units * self._table.train_rows // self._table.num_train
        return self._valid_rows + later * self._table.valid_rows if phase == "evaluate" else 0

    @property
    def units_total(self) -> int:
        """Units of the whole plan."""
        return self._legs.total + self.plan.epochs * self._table.num_valid if self.plan.kind == "hop" else 1

    @property
    def units_done(self) -> int:
        """Units committed and not rolled back."""
        if self.plan.kind == "call":
            return 0
        before = self._legs.start(self.epoch) + self.epoch * self._table.num_valid
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
        unit = self.next_unit(shard)
        self._count_launch(unit)
        self.status = TrialStatus.RUNNING
        self.worker = worker
        self.unit = unit
        return unit

    def next_unit(self, shard: Shard | None) -> Unit:
        """Return the unit that a launch on `shard` would make."""
        phase, attempt = self.phase, 0
        if self._launched.get((phase, self.epoch), 0) & self._table.mask(shard):
            attempt = self._relaunches.get((phase, self.epoch, shard), 0) + 1
        return Unit(trial=self.plan.trial, phase=phase, epoch=self.epoch, shard=shard, attempt=attempt)

    def _count_launch(self, unit: Unit) -> None:
        if unit.attempt:
            self._relaunches[unit_key(unit)] = unit.attempt
        else:
            when = (unit.phase, unit.epoch)
            self._launched[when] = self._launched.get(when, 0) | self._table.mask(unit.shard)

    def release(self, now: float) -> None:
        """Its unit is over: the trial waits for a worker again."""
        self.worker = self.unit = None
        self.ready_since = now

    def end(self, status: TrialStatus) -> None:
        """No further unit of it will run; one that runs now is not for it any more."""
        self.status = status
        self.worker = self.unit = None

    def blame(self, what: UnitKey | str, worker: str) -> None:
        """Count a failure of `what`, a unit or a kind of failure, that happened on `worker`."""
        self._failures.setdefault(what, Counter())[worker] += 1

    def count(self, what: UnitKey | str) -> int:
        """Failures of `what` so far, without those that were put down to a worker."""
        return sum(self._failures[what].values()) if what in self._failures else 0

    def forgive(self, worker: str) -> None:
        """What happened on `worker` so far is not counted against the trial. That is done for a worker once only."""
        if worker not in self._forgiven:
            self._forgiven.add(worker)
            for counts in self._failures.values():
                counts.pop(worker, None)

    def avoid(self, unit: Unit, worker: str) -> None:
        """Remember that `unit` should not run on `worker` while there are others."""
        self._avoided.setdefault(unit_key(unit), set()).add(worker)

    def allowed(self, mask: int, worker: str, workers: Collection[str]) -> int:
        """Take out of `mask` what had better not run on `worker`, unless that is so for every one of `workers`."""
        if self.lost_states >= _HOMESICK and self.holder is not None and self.holder in workers:
            return mask if worker == self.holder else 0
        if not self._avoided:
            return 0 if self._is_worse(worker, self.suspects, workers) else mask
        if self.plan.kind == "call":
            return 0 if self._is_avoided(None, worker, workers) else mask
        for shard in self._table.members(mask):
            if self._is_avoided(shard, worker, workers):
                mask &= ~self._table.bit[shard]
        return mask

    def _is_avoided(self, shard: Shard | None, worker: str, workers: Iterable[str]) -> bool:
        # Both sets in one: or else each of two workers might be left for the other one, for ever.
        worse = self.suspects | self._avoided.get((self.phase, self.epoch, shard), set())
        return self._is_worse(worker, worse, workers)

    @staticmethod
    def _is_worse(worker: str, worse: set[str], workers: Iterable[str]) -> bool:
        return worker in worse and any(name not in worse for name in workers)

    # --- committing and rolling back ------------------------------------------------------------------------------

    def commit(self, unit: Unit, report: UnitReport) -> dict[str, float] | None:
        """Take in the report of a done train or evaluate unit; return the epoch's metrics if that ends the epoch."""
        if unit.shard is None:
            return None
        visit = _Visit(unit, unit.shard, report.rows, report.metrics, report.sums)
        bit, rows = self._table.bit[unit.shard], self._table.rows[unit.shard]
        if unit.phase == "train":
            self._trained.setdefault(self.epoch, []).append(visit)
            self._visited(bit, rows)
            self.generation += 1
            if self._early is not None and self._early[0] == unit:
                self.mark_stored(*self._early)
            self._early = None
        else:
            self._evaluated.append(visit)
            self.todo_valid &= ~bit
            self._valid_rows -= rows
        self._look_ahead()
        if self.todo_train or self.todo_valid:
            return None
        metrics = _weighted(self._trained[self.epoch])
        valid = _weighted(self._evaluated)
        valid.update({name: value for name, value in report.merged.items() if name in valid})
        metrics.update({f"val_{name}": value for name, value in valid.items()})
        self.history.append(metrics)
        self.lost_states = 0
        if not self.is_last_epoch:
            self._begin_epoch(self.epoch + 1)
        return metrics

    @property
    def last_trained(self) -> Unit:
        """The train unit that made the present state, which is not the initial one."""
        epoch = self._legs.at(self.generation - 1)
        return self._trained[epoch][self.generation - 1 - self._legs.start(epoch)].unit

    def mark_stored(self, unit: Unit, generation: int, name: str) -> bool:
        """The store has what `unit` made, as `name`; return whether that is news that can be used."""
        if generation == self.generation + 1:
            # A worker may store a state before it reports the unit; only the unit that runs now can come next.
            if unit != self.unit or unit.phase != "train":
                return False
            self._early = (unit, generation, name)
            return True
        if generation <= (self.stored[-1][0] if self.stored else 0) or not self._made(unit, generation):
            return False
        self.stored = [*self.stored, (generation, name)][-KEPT_GENERATIONS:]
        # Nothing rolls back beyond the oldest stored generation, so visits of earlier epochs are not needed again.
        # Those of the same pass are, as they say what is left of it.
        first = min(self.epoch, self._legs.at(self._legs.pass_start(self.stored[0][0])))
        if next(iter(self._trained), first) < first:
            # The evaluation of an epoch tells which unit made the state, also where the next epoch has begun.
            first = min(first, self.epoch, self._legs.at(self.generation - 1))
            self._trained = {epoch: visits for epoch, visits in self._trained.items() if epoch >= first}
        return True

    def _made(self, unit: Unit, generation: int) -> bool:
        epoch = self._legs.at(generation - 1)
        position = generation - 1 - self._legs.start(epoch)
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
        epoch = min(self.epoch, self._legs.at(stored))
        kept = self._trained.get(epoch, [])[: stored - self._legs.start(epoch)]
        self._trained = {e: visits for e, visits in self._trained.items() if e < epoch}
        del self.history[epoch:]
        self._begin_epoch(epoch)
        self._trained[epoch] = kept
        for visit in kept:
            self._visited(self._table.bit[visit.shard], self._table.rows[visit.shard])
        self._look_ahead()

    def extend(self, plan: TrialPlan) -> None:
        """Go on with a longer plan."""
        done = len(self.history) == self.plan.epochs
        self.plan = plan
        self._legs = Legs(self._table.num_train, plan.epochs, plan.legs)
        self.status = TrialStatus.WAITING
        if done:
            self._begin_epoch(self.epoch + 1)

    def _begin_epoch(self, epoch: int) -> None:
        hops = self.plan.kind == "hop"
        self.epoch = epoch
        self._evaluated = []
        self.todo_valid = self._table.valid if hops else 0
        self._valid_rows = self._table.valid_rows
        start = self._legs.start(epoch)
        self._left = self._legs.start(epoch + 1) - start if hops else 0
        self.todo_train = self._unvisited(start) if hops else 0
        self._train_rows = self._table.train_rows
        if self._left < self._table.num_train:
            self._train_rows = self._left * self._table.train_rows // self._table.num_train
        if hops and self._order is not None:
            self._visits = self._order.of(self.plan.trial, start // self._table.num_train)
        self._look_ahead()

    def _unvisited(self, generation: int) -> int:
        """Mask of the train shards that are left of the pass, before an epoch that begins there."""
        mask = self._table.train
        for epoch in range(self._legs.at(self._legs.pass_start(generation)), self._legs.at(generation)):
            for visit in self._trained.get(epoch, ()):
                mask &= ~self._table.bit[visit.shard]
        return mask

    def _visited(self, bit: int, rows: int) -> None:
        self.todo_train &= ~bit
        self._train_rows = max(0, self._train_rows - rows)
        self._left -= 1
        if not self._left:
            # The epoch ends before the pass does.
            self.todo_train = self._train_rows = 0

    def _look_ahead(self) -> None:
        if self.todo_train and self._order is not None:
            self.wants = self._next_in_order(self.todo_train)
        else:
            self.wants = self.todo_train or self.todo_valid or self._table.call


def _weighted(visits: list[_Visit]) -> dict[str, float]:
    # In an order of its own, so that the sums do not depend, in their last bits, on who was visited when.
    visits = sorted(visits, key=lambda visit: visit.shard)
    names = dict.fromkeys(name for visit in visits for name in visit.metrics)
    means: dict[str, float] = {}
    for name in names:
        parts = [(visit.metrics[name], visit.rows) for visit in visits if name in visit.metrics]
        rows = sum(weight for _, weight in parts)
        means[name] = sum(value * weight for value, weight in parts) / rows if rows else 0.0
    return means


def _added(visits: list[_Visit]) -> dict[str, list[float]]:
    """Sums over all visits, of what every one of them has: those of a worker or a journal of old have none."""
    # In an order of its own, as above.
    visits = sorted(visits, key=lambda visit: visit.shard)
    found: dict[str, list[float]] = {}
    for name, numbers in visits[0].sums.items():
        parts = [visit.sums.get(name, []) for visit in visits]
        if all(len(part) == len(numbers) for part in parts):
            found[name] = [sum(column) for column in zip(*parts, strict=True)]
    return found
