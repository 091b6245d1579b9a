"""Successive halving: the rungs that a trial climbs, in integers, and what is kept of the trials on them.

Floating point has no place here: `int(log(243) / log(3))` is 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import NamedTuple

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._pareto import Outcome
from cerebro_nas.tuners._pareto import comparable
from cerebro_nas.tuners._seeded import Observation
from cerebro_nas.tuners._staged import StagedOracle
from cerebro_nas.tuners._stages import Dismissal
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._stages import Proposal
from cerebro_nas.tuners._stages import Stage
from cerebro_nas.tuners._stages import Values


class Rung(NamedTuple):
    """One line of Hyperband's table: how many trials get how far.

    Attributes:
        trials: number of trials.
        resource: what each has been trained with then, in all.
    """

    trials: int
    resource: int


def halvings(min_resource: int, max_resource: int, factor: int) -> int:
    """How often `min_resource` can be multiplied by `factor` without exceeding `max_resource`."""
    number = 0
    while min_resource * factor ** (number + 1) <= max_resource:
        number += 1
    return number


def hyperband_table(max_resource: int, factor: int = 3, min_resource: int = 1) -> tuple[tuple[Rung, ...], ...]:
    """Hyperband's brackets, the one that halves most often first.

    Args:
        max_resource: what the last rung of each bracket comes to.
        factor: one of so many trials goes on from each rung, with so much more resource.
        min_resource: what the first rung of the first bracket comes to at least.

    Returns:
        For each bracket its rungs. Resources that are no whole number are rounded down.
    """
    most = halvings(min_resource, max_resource, factor)
    return tuple(_bracket(number, most, max_resource, factor) for number in range(most, -1, -1))


def _bracket(number: int, most: int, max_resource: int, factor: int) -> tuple[Rung, ...]:
    trials = _divide((most + 1) * factor**number, number + 1)
    rungs = []
    for left in range(number, -1, -1):
        rungs.append(Rung(trials, max_resource // factor**left))
        trials = _divide(trials, factor)
    return tuple(rungs)


def halving_levels(min_resource: int, max_resource: int, factor: int) -> tuple[int, ...]:
    """The resource of each rung of one bracket: `min_resource`, `factor` times as much, and so on.

    The last is `max_resource`, also where it is no such multiple: then its rung is farther from the one below.
    """
    below = range(halvings(min_resource, max_resource, factor))
    return (*(min_resource * factor**rung for rung in below), max_resource)


def keep(trials: int, factor: int) -> int:
    """How many of a full rung go on."""
    return _divide(trials, factor)


def _divide(number: int, by: int) -> int:
    """Division that rounds up."""
    return -(-number // by)


@dataclass
class RungRecord:
    """What came of the trials on one rung of one bracket.

    Attributes:
        members: trials that were sent there, in that order.
        losses: of those that got there or ended before (with several objectives one for each); None: failed.
    """

    members: list[str] = field(default_factory=list)
    losses: dict[str, Outcome | None] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Whether nobody is still on the way."""
        return len(self.losses) == len(self.members)

    def ranked(self) -> list[str]:
        """Trials that got there, best first; of equal ones the first to get there, failed ones last."""
        return ranked(self.losses)


def ranked(losses: Mapping[str, Outcome | None]) -> list[str]:
    """Trials by their losses, best first; of equal ones the first in the mapping, failed ones (None) last.

    With several objectives by fronts, so that nobody is before one that dominates it, and by crowding within them.
    """
    return sorted(losses, key=comparable(losses).__getitem__)


class RungedOracle(StagedOracle):
    """An oracle whose trials climb the rungs of brackets.

    It keeps who is on which rung, with what loss (that of the last report; with several objectives, a rung is ranked
    by the fronts and the crowding of those on it). A trial that fails on its way to a rung
    is on that rung, and worse than all others; one that ends for another reason is there with what it came to. Rejected
    ones are as if they had never been proposed.

    Args:
        min_resource: epochs (or visits to training shards) up to the first rung.
        factor: one of so many trials goes on from each rung, with so much more resource.
        **kwargs: see `StagedOracle`.
    """

    def __init__(self, *, min_resource: int = 1, factor: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_int("min_resource", min_resource, least=1)
        check_int("factor", factor, least=2)
        if min_resource > self.max_resource:
            raise ConfigError(
                f"Argument `min_resource` should not exceed `max_resource`, the {self.resource} that a trial is "
                f"trained at most. Received: min_resource={min_resource}, max_resource={self.max_resource}. "
                f"Lower it, or raise {self.limit_is}."
            )
        self.min_resource = min_resource
        self.factor = factor
        self._brackets: list[list[RungRecord]] = []
        # Bracket and highest rung (got to, or on the way to) of each trial.
        self._places: dict[str, tuple[int, int]] = {}

    # --- for subclasses -----------------------------------------------------------------------------------------------

    def new_values(self) -> Values | None:
        """The configuration of a new trial; None: the space has no more."""
        return self.fresh_random_values()

    def levels(self, bracket: int) -> tuple[int, ...]:
        """The resource of each rung of a bracket."""
        raise NotImplementedError

    def next_bracket(self) -> int | None:
        """The bracket that a trial goes into whose proposal does not say; None: there is none."""
        raise NotImplementedError

    def results(self) -> dict[int, dict[str, Outcome | None]]:
        """What trials came to at each level of resource, in all brackets; None: failed."""
        found: dict[int, dict[str, Outcome | None]] = {}
        for bracket, rungs in enumerate(self._brackets):
            for level, record in zip(self.levels(bracket), rungs, strict=True):
                found.setdefault(level, {}).update(record.losses)
        return found

    def is_paused_on(self, trial_id: str, rung: int) -> bool:
        """Whether this is the highest rung that the trial has got to, and it has neither gone on nor ended."""
        return trial_id in self._paused and self._places[trial_id][1] == rung

    def promotable(self, bracket: int, rung: int, places: int | None = None) -> list[str]:
        """The trials that are paused on a rung, best first; those that failed to report anything are left out.

        Args:
            bracket: its number.
            rung: its number in the bracket.
            places: only those that are among so many best of the rung; None: all.
        """
        record = self._brackets[bracket][rung]
        best = [] if places == 0 else record.ranked()[:places]
        return [name for name in best if self.is_paused_on(name, rung) and record.losses[name] is not None]

    def promotion(self, trial_id: str) -> Promotion:
        """The trial goes on to the next rung."""
        bracket, rung = self._places[trial_id]
        return Promotion(trial_id, self._stage(bracket, rung + 1))

    def first_stage(self, trial_id: str) -> Stage:
        """To the first rung."""
        return self._stage(self._places[trial_id][0], 0)

    # --- what changes state -------------------------------------------------------------------------------------------

    def entered(self, trial_id: str, proposal: Proposal) -> None:
        """The trial is on its way to the first rung of its bracket."""
        bracket = proposal.note["bracket"] if "bracket" in proposal.note else self.next_bracket()
        self._send(trial_id, bracket or 0, 0)

    def paused(self, trial_id: str) -> None:
        """The trial has got to its rung."""
        super().paused(trial_id)
        self._record(trial_id).losses[trial_id] = self.loss_now(trial_id)

    def take(self, step: Promotion | Dismissal) -> None:
        """A promoted trial is on its way to the next rung."""
        super().take(step)
        if isinstance(step, Promotion):
            bracket, rung = self._places[step.trial_id]
            self._send(step.trial_id, bracket, rung + 1)

    def observe(self, observation: Observation) -> None:
        """A trial that ends on its way to a rung counts there."""
        name = observation.trial_id
        record = self._record(name)
        if name in record.losses:
            return  # it ended on the rung, where it was paused
        if self.was_rejected(name):
            record.members.remove(name)
        else:
            record.losses[name] = None if observation.loss is None else self.loss_now(name)

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values."""
        brackets = [[[list(rung.members), dict(rung.losses)] for rung in rungs] for rungs in self._brackets]
        places = {name: list(place) for name, place in self._places.items()}
        return {**super().get_state(), "brackets": brackets, "places": places}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        super().set_state(state)
        self._brackets = [
            [RungRecord(list(members), dict(losses)) for members, losses in rungs] for rungs in state["brackets"]
        ]
        self._places = {name: (bracket, rung) for name, (bracket, rung) in state["places"].items()}

    def reload(self) -> None:
        """Restore what KerasTuner saved: trials that had not ended are on their way to their rung again."""
        super().reload()
        for name in self._retry_queue:
            self._record(name).losses.pop(name, None)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _record(self, trial_id: str) -> RungRecord:
        bracket, rung = self._places[trial_id]
        return self._brackets[bracket][rung]

    def _send(self, trial_id: str, bracket: int, rung: int) -> None:
        while len(self._brackets) <= bracket:
            self._brackets.append([RungRecord() for _ in self.levels(len(self._brackets))])
        self._places[trial_id] = (bracket, rung)
        self._brackets[bracket][rung].members.append(trial_id)

    def _stage(self, bracket: int, rung: int) -> Stage:
        levels = self.levels(bracket)
        return Stage(levels[rung], last=rung + 1 == len(levels))
