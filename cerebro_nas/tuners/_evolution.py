"""Regularised evolution: mutants of the winners of tournaments among the newest trials."""

from __future__ import annotations

import math
from typing import Any

from cerebro_nas.tuners._checks import check_bool
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import check_number
from cerebro_nas.tuners._seeded import Observation
from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._stages import Proposal
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._tree import active_entries
from cerebro_nas.tuners._tree import configure
from cerebro_nas.tuners._tree import from_unit
from cerebro_nas.tuners._tree import is_ordered
from cerebro_nas.tuners._tree import number_of_values
from cerebro_nas.tuners._tree import to_unit
from cerebro_nas.tuners._tree import tree

_TRIES = 20


class EvolutionOracle(SeededOracle):
    """Draws a few trials from the newest ones and mutates the best of them.

    Source: Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture Search" (2019). The
    population are the last `population_size` trials that were completed; the oldest leaves it, however good, when
    another completes, so that a trial that was lucky once is not the parent of everything. Each child is the mutant of
    the winner of a tournament of `sample_size`, drawn with repetition. Children are proposed whenever one is asked
    for: trials that run are no part of the population yet, and trials that failed never are. The first
    `population_size` trials are random (and the following ones, until one has been completed).

    A mutation draws a node of the tree that the "/" in the names of hyperparameters spans, with probability
    proportional to one over the number of hyperparameters below it. So each node changes as many of them on average,
    most mutations change one, and those that replace a block or everything become the rarer the more they replace. A
    single hyperparameter moves to a near value (`step_size`) or is drawn anew; unordered choices change to any other;
    a block is drawn anew. What a changed choice makes active is drawn at random, what it makes inactive is dropped.
    While the child is a configuration that was tried before, it is mutated again.

    The paper's population of 100 and tournaments of 25 are for 20,000 trials. The defaults here are meant for some
    hundred. A proposal took 3 ms of one core after 100 trials with 25 hyperparameters, and 7 ms after 1,000.

    A trial's note holds its `generation` (0: random) and its `parent`'s identifier.

    Args:
        population_size: trials that can be parents, and random trials to begin with.
        sample_size: trials in a tournament; 1 is no selection at all.
        mutations: mutations from the parent to the child.
        redraw: probability that a mutated number (or ordered choice) is drawn anew and not moved.
        step_size: standard deviation of such a move, as a part of the range on the scale of its sampling. A number
            that has few values moves by one of them at least; with 0, other numbers are drawn anew.
        inherit_weights: whether children begin with the weights of their parents, where layers match, and compute what
            their parents did where a layer that grew or is new allows that (Chen, Goodfellow, Shlens, "Net2Net", 2016).
        **kwargs: see `SeededOracle`.
    """

    def __init__(
        self,
        *,
        population_size: int = 20,
        sample_size: int = 10,
        mutations: int = 1,
        redraw: float = 0.2,
        step_size: float = 0.1,
        inherit_weights: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_int("population_size", population_size, least=1)
        check_int("sample_size", sample_size, least=1)
        check_int("mutations", mutations, least=1)
        check_number("redraw", redraw, 0.0, 1.0)
        check_number("step_size", step_size, 0.0, 1.0)
        check_bool("inherit_weights", inherit_weights)
        self.population_size = population_size
        self.sample_size = sample_size
        self.mutations = mutations
        self.redraw = redraw
        self.step_size = step_size
        self.inherit_weights = inherit_weights

    def propose(self) -> Proposal | None:
        """A mutant of the winner of a tournament, or random values at first."""
        population = self._population()
        if population and self._given() >= self.population_size:
            _, winner = min(self._rng.choices(population, k=self.sample_size), key=lambda pair: pair[0])
            values = self._child(winner.values)
            if values is not None:
                generation = self.proposal_of(winner.trial_id).note.get("generation", 0) + 1
                note = {"generation": generation, "parent": winner.trial_id}
                return Proposal(values, winner.trial_id if self.inherit_weights else None, note)
        fresh = self.fresh_random_values()
        return None if fresh is None else Proposal(fresh, note={"generation": 0, "parent": None})

    def _given(self) -> int:
        return sum(not self.was_rejected(trial_id) for trial_id in self.start_order)

    def _population(self) -> list[tuple[float, Observation]]:
        done = [(item.loss, item) for item in self.observations() if item.loss is not None]
        return done[-self.population_size :]

    # --- mutation -----------------------------------------------------------------------------------------------------

    def _child(self, values: Values) -> Values | None:
        for number in range(1, self.mutations + self._max_collisions):
            values = self._mutate(values)
            if number >= self.mutations and self.is_new(values):
                return values
        return None

    def _mutate(self, values: Values) -> Values:
        space = self.hyperparameters
        entries = active_entries(space, values)
        names = self._draw_node([name for name, hp in entries.items() if number_of_values(hp) != 1])

        def choose(hp: Any) -> Any:
            known = entries.get(hp.name) is hp
            if known and hp.name not in names:
                return values[hp.name]
            return self._perturb(hp, values[hp.name]) if known and len(names) == 1 else self.sample(hp)

        return configure(space, choose)

    def _draw_node(self, names: list[str]) -> frozenset[str]:
        parts = list(dict.fromkeys(frozenset(node.names()) for node in tree(names)))
        if not parts:
            return frozenset()
        return self._rng.choices(parts, [1 / len(part) for part in parts])[0]

    def _perturb(self, hp: Any, value: Any) -> Any:
        near = is_ordered(hp) and self._rng.random() >= self.redraw
        for _ in range(_TRIES):
            other = self._neighbour(hp, value) if near else self.sample(hp)
            if other != value:
                return other
        return self.sample(hp)

    def _neighbour(self, hp: Any, value: Any) -> Any:
        count = number_of_values(hp)
        draw = self._rng.gauss(0.0, 1.0)
        least = 0.0 if count is None else 1 / count
        where = to_unit(hp, value) + math.copysign(max(abs(draw) * self.step_size, least), draw)
        # Back from the ends, which would otherwise collect what is beyond them.
        return from_unit(hp, -where if where < 0 else 2 - where if where > 1 else where)
