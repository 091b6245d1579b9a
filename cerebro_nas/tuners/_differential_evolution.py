"""Differential evolution without generations' barriers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import get_args

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._checks import check_bool
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import check_number
from cerebro_nas.tuners._checks import check_one_of
from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._stages import Proposal
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._tree import active_entries
from cerebro_nas.tuners._tree import admits
from cerebro_nas.tuners._tree import configure
from cerebro_nas.tuners._tree import from_unit
from cerebro_nas.tuners._tree import is_ordered
from cerebro_nas.tuners._tree import number_of_values
from cerebro_nas.tuners._tree import to_unit

Base = Literal["best_of_three", "random"]

_PLAIN_TRIES = 10

# What a slot has come to, and its loss.
_Target = tuple[float, Values]


class DifferentialEvolutionOracle(SeededOracle):
    """Crosses each vector with the sum of another one and a part of the difference of two more.

    Source: Storn, Price, "Differential Evolution" (1997), DE/rand/1/bin, with the settings of HopsML, which has a
    barrier after each generation. Here each of the `population` slots is a chain of its own. A slot holds the best
    vector that was tried for it (what one-to-one selection leaves); the trial vector for it takes each value from the
    donor `x1 + mutation * (x2 - x3)` with probability `crossover`, where x1, x2 and x3 are the vectors of three other
    slots, and at least one (unless `forced_gene` is False). The next trial goes to the slot with the fewest trials
    running, among those to the one with the fewest in all: no trial waits for another, and with more workers than slots
    a slot has several trial vectors at a time. They need nothing of each other, as each is compared with what the slot
    holds when it ends, while a worker that waited would do nothing. Until a slot and three others hold something, trial
    vectors are random.

    Numbers and ordered choices are places from 0 to 1 on the scale of their sampling, cut off at the ends; those
    with few values are rounded at random, so that half a step is one step half of the time. Unordered choices have
    no differences but "none" and "some": the donor's value is x1's where x2 and x3 agree, and otherwise, with
    probability `mutation`, any. As with numbers, it varies as long as the population does. Hyperparameters that x1
    does not have, as they are not active there, are kept, or drawn at random where they have become active only now.

    In a population of six, differences may vanish in some direction for good, and the search ends where it is. So
    `mutation` is drawn from a range for each vector, and with probability `refresh` the value that is taken from the
    donor in any case is drawn at random. (After 200 trials on Hartmann's function of six dimensions, some direction was
    narrower than 0.001 in nine of ten searches with HopsML's settings, in three with these two; the medians of the best
    were 3.02 and 3.18.)

    The vector that a difference is added to is the best of the three by default, not any of them (Kaelo, Ali, "A
    numerical study of some modified differential evolution algorithms" (2006)): searches of some dozens of trials are
    too short for the more thorough form.

    HopsML's settings are `population=6, mutation=0.5, crossover=0.7, refresh=0.0, forced_gene=False, base="random",
    generations=4`. It differs even then: donors are the vectors of the generation before, as all wait for it; a vector
    that was tried is no trial, its result is taken again; numbers are scaled linearly, whatever their sampling, and
    rounded to the nearest value; and a choice has two values, whose numbers are treated like other numbers.

    A vector that was tried before is made again from other donors. A vector that fails has lost. A trial's note holds
    its `slot` and its `generation`, the number of trials that its slot had before. A proposal took 4 ms of one core
    after 100 trials with 25 hyperparameters, and 9 ms after 1,000.

    Args:
        population: number of slots, 4 at least.
        mutation: factor of differences, above 0 up to 2; a pair: the range it is drawn from for each trial vector.
        crossover: probability from 0 to 1 that a value comes from the donor.
        refresh: probability from 0 to 1 that one value of a trial vector is drawn at random.
        forced_gene: whether a trial vector takes at least one value from its donor, as Storn and Price have it; without
            it, one that takes none is made again, like all that were tried before.
        base: `"best_of_three"`: x1 is the best of the three vectors that were drawn; `"random"`: the first one drawn.
        generations: trials of each slot after its first, so that there are `population * (generations + 1)` in all;
            None: as many as are asked for.
        **kwargs: see `SeededOracle`.
    """

    def __init__(
        self,
        *,
        population: int = 6,
        mutation: float | tuple[float, float] = (0.5, 1.0),
        crossover: float = 0.7,
        refresh: float = 0.1,
        forced_gene: bool = True,
        base: Base = "best_of_three",
        generations: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_int("population", population, least=4)
        check_number("crossover", crossover, 0.0, 1.0)
        check_number("refresh", refresh, 0.0, 1.0)
        check_bool("forced_gene", forced_gene)
        check_one_of("base", base, get_args(Base))
        if generations is not None:
            check_int("generations", generations, least=0)
        self.population = population
        self.mutation = _range(mutation)
        self.crossover = crossover
        self.refresh = refresh
        self.forced_gene = forced_gene
        self.base = base
        self.generations = generations

    def propose(self) -> Proposal | None:
        """A vector that is to do better than that of its slot."""
        slots = self._slots()
        chain = [0] * self.population
        for number in slots.values():
            chain[number] += 1
        slot = self._next_slot(slots, chain)
        if slot is None:
            return None
        values = self._trial_vector(slot, self._targets(slots)) or self.fresh_random_values()
        return None if values is None else Proposal(values, note={"slot": slot, "generation": chain[slot]})

    def _slots(self) -> dict[str, int]:
        """The slot of each trial that was not rejected."""
        slots: dict[str, int] = {}
        for number, trial_id in enumerate(self.start_order):
            # Starting configurations have no note; they fill the slots one after the other.
            if not self.was_rejected(trial_id):
                slots[trial_id] = self.proposal_of(trial_id).note.get("slot", number % self.population)
        return slots

    def _next_slot(self, slots: dict[str, int], chain: list[int]) -> int | None:
        running = [0] * self.population
        for trial in self.ongoing_trials.values():
            running[slots[trial.trial_id]] += 1
        limit = self.generations
        open_slots = [slot for slot in range(self.population) if limit is None or chain[slot] <= limit]
        return min(open_slots, key=lambda slot: (running[slot], chain[slot]), default=None)

    def _targets(self, slots: dict[str, int]) -> dict[int, _Target]:
        """The vector that each slot has come to: its best one, which is what one-to-one selection leaves."""
        best: dict[int, _Target] = {}
        for item in self.observations():
            slot = slots.get(item.trial_id)
            if slot is not None and item.loss is not None and (slot not in best or item.loss <= best[slot][0]):
                best[slot] = (item.loss, item.values)
        return best

    def _trial_vector(self, slot: int, targets: dict[int, _Target]) -> Values | None:
        others = [targets[other] for other in sorted(targets) if other != slot]
        if slot not in targets or len(others) < 3:
            return None
        for number in range(self._max_collisions):
            # Where the donors agree with the slot on everything, only chance makes a new vector.
            refresh = number >= _PLAIN_TRIES or self._rng.random() < self.refresh
            drawn = self._rng.sample(others, 3)
            if self.base == "best_of_three":
                drawn.sort(key=lambda target: target[0])
            values = self._cross(targets[slot][1], [vector for _, vector in drawn], refresh=refresh)
            if self.is_new(values):
                return values
        return None

    def _cross(self, target: Values, donors: list[Values], *, refresh: bool) -> Values:
        entries = active_entries(self.hyperparameters, target)
        free = [name for name, hp in entries.items() if number_of_values(hp) != 1]
        forced = self._rng.choice(free) if free and (self.forced_gene or refresh) else None
        factor = self._rng.uniform(*self.mutation)

        def choose(hp: Any) -> Any:
            own = entries.get(hp.name) is hp
            if refresh and hp.name == forced:
                return self.sample(hp)
            crosses = not own or hp.name == forced or self._rng.random() < self.crossover
            if crosses and _has(hp, donors[0]):
                return self._donor(hp, donors, factor)
            return target[hp.name] if own else self.sample(hp)

        return configure(self.hyperparameters, choose)

    def _donor(self, hp: Any, donors: list[Values], factor: float) -> Any:
        value, *ends = [vector[hp.name] for vector in donors if _has(hp, vector)]
        if len(ends) < 2 or ends[0] == ends[1]:
            return value
        if not is_ordered(hp):
            return self.sample(hp) if self._rng.random() < factor else value
        where = to_unit(hp, value) + factor * (to_unit(hp, ends[0]) - to_unit(hp, ends[1]))
        count = number_of_values(hp)
        # At random to one of the two values it is between: half a step would otherwise always be a step upwards.
        return from_unit(hp, where if count is None else where + (self._rng.random() - 0.5) / count)


def _has(hp: Any, values: Values) -> bool:
    return hp.name in values and admits(hp, values[hp.name])


def _range(mutation: Any) -> tuple[float, float]:
    ends = mutation if isinstance(mutation, Sequence) else (mutation, mutation)
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if len(ends) == 2 and numbers and 0 < ends[0] <= ends[1] <= 2:
        return (ends[0], ends[1])
    raise ConfigError(
        "Argument `mutation` should be a number above 0 up to 2 (the factor of differences), or a pair of them in "
        f"ascending order (to draw it from). Received: mutation={mutation!r}. Pass, for example, (0.5, 1.0)."
    )
