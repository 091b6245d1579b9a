"""Hyperband."""

from __future__ import annotations

from typing import Any

from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._rungs import Rung
from cerebro_nas.tuners._rungs import RungedOracle
from cerebro_nas.tuners._rungs import RungRecord
from cerebro_nas.tuners._rungs import hyperband_table
from cerebro_nas.tuners._rungs import keep
from cerebro_nas.tuners._stages import Dismissal
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._stages import Proposal


class HyperbandOracle(RungedOracle):
    """Brackets of successive halving, from many trials that are trained a little to a few that are trained to the end.

    Source: Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
    Optimization" (2018). When all trials of a rung are there, or have failed, the best of them go on and the others
    are given up. Failed ones are the worst, and hold nobody up. While a rung is waited for, the next bracket begins;
    after the last one, the next round of brackets, until `max_trials` configurations have been tried.

    When no more can be proposed (`max_trials` or a small space is used up), a bracket that is not full goes on with
    those it has: one in `factor` of each rung, and at least one.

    A search may be gone on with after `max_resource` was raised: brackets that were begun before keep their rungs. A
    trial's note holds its `bracket` and the `max_resource` of that bracket.

    Args:
        min_resource: epochs (or visits to training shards) up to the first rung of the first bracket, at least.
        factor: one of so many trials goes on from each rung, with so much more resource.
        iterations: rounds of brackets at most; None: as many as `max_trials` allows.
        **kwargs: see `RungedOracle`: `max_resource`, `resource`, and those of every oracle.
    """

    def __init__(self, *, min_resource: int = 1, factor: int = 3, iterations: int | None = None, **kwargs: Any) -> None:
        super().__init__(min_resource=min_resource, factor=factor, **kwargs)
        if iterations is not None:
            check_int("iterations", iterations, least=1)
        self.iterations = iterations
        # Those of brackets that were begun with another `max_resource`.
        self._most: dict[int, int] = {}
        self._tables = {self.max_resource: hyperband_table(self.max_resource, factor, min_resource)}

    def levels(self, bracket: int) -> tuple[int, ...]:
        """The resource of each rung of a bracket."""
        return tuple(rung.resource for rung in self._rungs(bracket))

    def _rungs(self, bracket: int) -> tuple[Rung, ...]:
        most = self._most.get(bracket, self.max_resource)
        if most not in self._tables:
            self._tables[most] = hyperband_table(most, self.factor, self.min_resource)
        return self._tables[most][bracket % len(self._tables[most])]

    def next_bracket(self) -> int | None:
        """The first bracket that has a place for another trial."""
        for bracket, rungs in enumerate(self._brackets):
            if not self._is_closed(bracket, rungs):
                return bracket
        number, table = len(self._brackets), self._tables[self.max_resource]
        return number if self.iterations is None or number < self.iterations * len(table) else None

    def propose(self) -> Proposal | None:
        """A new configuration, for the first bracket that has a place."""
        values = None if self.next_bracket() is None else self.new_values()
        return None if values is None else Proposal(values, note=self.new_note())

    def new_note(self) -> dict[str, Any]:
        """The bracket of the next trial, and how far it goes."""
        bracket = self.next_bracket() or 0
        return {"bracket": bracket, "max_resource": self._most.get(bracket, self.max_resource)}

    def entered(self, trial_id: str, proposal: Proposal) -> None:
        """The trial is on its way to the first rung of its bracket."""
        note = proposal.note
        if note.get("max_resource", self.max_resource) != self.max_resource:
            self._most[note["bracket"]] = note["max_resource"]
        super().entered(trial_id, proposal)

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values."""
        return {**super().get_state(), "most": list(self._most.items())}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        super().set_state(state)
        self._most = {bracket: most for bracket, most in state["most"]}

    def next_step(self) -> Promotion | Dismissal | None:
        """Promote the best of a rung that is complete, then give up the others."""
        for bracket in sorted({self._places[name][0] for name in self.waiting}):
            step = self._step(bracket)
            if step is not None:
                return step
        return None

    def _step(self, bracket: int) -> Promotion | Dismissal | None:
        rungs = self._brackets[bracket]
        for rung, record in enumerate(rungs[:-1]):
            if not record.full or (rung == 0 and not self._is_closed(bracket, rungs) and self.can_propose()):
                return None
            places = keep(len(record.members), self.factor)
            if len(rungs[rung + 1].members) < places:
                for name in self.promotable(bracket, rung):
                    return self.promotion(name)
            for rank, name in enumerate(record.ranked(), start=1):
                if self.is_paused_on(name, rung):
                    return Dismissal(name, "not_promoted", self._why(rank, record, places, self.levels(bracket)[rung]))
        return None

    def _is_closed(self, bracket: int, rungs: list[RungRecord]) -> bool:
        """Whether no more trials come into a bracket: it is full, or went on without those that were missing."""
        begun = len(rungs) > 1 and bool(rungs[1].members)
        return begun or len(rungs[0].members) >= self._rungs(bracket)[0].trials

    def _why(self, rank: int, record: RungRecord, places: int, level: int) -> str:
        return f"number {rank} of {len(record.members)} after {level} {self.resource}, of which {places} go on"
