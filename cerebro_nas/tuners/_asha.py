"""Asynchronous successive halving."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._rungs import RungedOracle
from cerebro_nas.tuners._rungs import halving_levels
from cerebro_nas.tuners._rungs import halvings
from cerebro_nas.tuners._rungs import hyperband_table
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._stages import Proposal


class AshaOracle(RungedOracle):
    """Random configurations, trained a little; whoever is among the best of its rung goes on, and nobody waits.

    Source: Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar, "A System for Massively Parallel
    Hyperparameter Tuning" (2020). A worker that is free promotes, from the top rung down, a trial among the best
    `1 / factor` of those that have got to its rung; if there is none, it begins a new trial. Trials that failed are
    the worst of the rung that they were on their way to.

    The rungs are at `min_resource`, `factor` times as much and so on; the last is at `max_resource`, in place of the
    highest power that is not beyond it (with a factor of 3: 1, 3, 9 of 9, and 1, 3, 18 of 18). Of a short search no
    trial might get there: when there is nothing else to do, the best of the highest rung goes on to the end.

    Args:
        min_resource: epochs (or visits to training shards) up to the first rung.
        factor: one of so many trials goes on from each rung, with so much more resource.
        brackets: number of series of rungs. The first begins at `min_resource`, each further one `factor` times
            higher, for configurations that show late what they are worth. Trials are dealt to them by chance, in
            proportion to the sizes of Hyperband's brackets.
        **kwargs: see `RungedOracle`: `max_resource`, `resource`, and those of every oracle.
    """

    def __init__(self, *, min_resource: int = 1, factor: int = 3, brackets: int = 1, **kwargs: Any) -> None:
        super().__init__(min_resource=min_resource, factor=factor, **kwargs)
        check_int("brackets", brackets, least=1)
        most = halvings(min_resource, self.max_resource, factor) + 1
        if brackets > most:
            raise ConfigError(
                f"Argument `brackets` should be at most {most}, the number of rungs from min_resource={min_resource} "
                f"to {self.max_resource} {self.resource} with factor={factor}. Received: brackets={brackets}. "
                f"Lower it, or raise {self.limit_is}."
            )
        self.brackets = brackets
        table = hyperband_table(self.max_resource, factor, min_resource)
        self._weights = [rungs[0].trials for rungs in table[:brackets]]

    def levels(self, bracket: int) -> tuple[int, ...]:
        """The resource of each rung of a bracket."""
        return halving_levels(self.min_resource * self.factor**bracket, self.max_resource, self.factor)

    def next_bracket(self) -> int:
        """The first, for configurations to begin with."""
        return 0

    def propose(self) -> Proposal | None:
        """A new configuration, in a bracket drawn by chance."""
        (bracket,) = self._rng.choices(range(self.brackets), self._weights)
        values = self.new_values()
        return None if values is None else Proposal(values, note={"bracket": bracket})

    def next_step(self) -> Promotion | None:
        """Promote the best of the highest rung that has somebody to promote."""
        for bracket, rung in self._rungs_downwards():
            places = len(self._brackets[bracket][rung].losses) // self.factor
            for name in self.promotable(bracket, rung, places):
                return self.promotion(name)
        return self._last_climb()

    def _rungs_downwards(self) -> Iterator[tuple[int, int]]:
        """Bracket and number of the rungs from which trials are promoted, those with the most resource first."""
        rungs = [
            (-level, bracket, rung)
            for bracket in range(len(self._brackets))
            for rung, level in enumerate(self.levels(bracket)[:-1])
        ]
        for _, bracket, rung in sorted(rungs):
            yield bracket, rung

    def _last_climb(self) -> Promotion | None:
        """Where no trial has been trained to the end, and nothing else can be done, the best one goes on."""
        if self.active or not self.waiting or self._somebody_arrived() or self.can_propose():
            return None
        for bracket, rung in self._rungs_downwards():
            for name in self.promotable(bracket, rung):
                return self.promotion(name)
        return None

    def _somebody_arrived(self) -> bool:
        return any(loss is not None for rungs in self._brackets for loss in rungs[-1].losses.values())
