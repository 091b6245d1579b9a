"""Population-based training."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from typing import Any

import keras_tuner
import numpy as np

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import check_number
from cerebro_nas.tuners._checks import is_number
from cerebro_nas.tuners._encoding import Dimension
from cerebro_nas.tuners._encoding import Encoding
from cerebro_nas.tuners._pareto import Outcome
from cerebro_nas.tuners._pareto import comparable
from cerebro_nas.tuners._seeded import NeedsResults
from cerebro_nas.tuners._seeded import Observation
from cerebro_nas.tuners._staged import StagedOracle
from cerebro_nas.tuners._stages import Dismissal
from cerebro_nas.tuners._stages import Promotion
from cerebro_nas.tuners._stages import Proposal
from cerebro_nas.tuners._stages import Stage
from cerebro_nas.tuners._stages import Values

_Choice = keras_tuner.engine.hyperparameters.Choice
_NUMBERS = (keras_tuner.engine.hyperparameters.Int, keras_tuner.engine.hyperparameters.Float)

# Of the last part of a name. They say how a network is trained or regularised, and leave its weights their shapes.
_OF_TRAINING = re.compile(
    r"learning_?rate|(^|_)lr($|_)|optimi[sz]er|momentum|decay|dropout|(^|_)(l1|l2)($|_)|regulari[sz]|batch_?size|clip"
    r"|warm_?up|smoothing|epsilon|(^|_)(beta|rho)(_|$|\d)|nesterov|amsgrad|loss_weight|(^|_)noise",
    re.IGNORECASE,
)


class PbtOracle(StagedOracle):
    """A population whose worst members are replaced, as they train, by variations of the best.

    Source: Jaderberg, Dalibard, Osindero, Czarnecki, Donahue, Razavi, Vinyals, Green, Dunning, Simonyan, Fernando,
    Kavukcuoglu, "Population Based Training of Neural Networks" (2017), with truncation selection, asynchronously. Each
    member pauses every `interval`. If it is then not among the worst of the population's latest results, it goes on.
    Otherwise it is given up, and a trial begins in its place that has the weights of one of the best members, and its
    hyperparameters changed a little. Where that member was in its training, the new one goes on: along a line of
    ancestors nobody is trained for more than `max_resource`. Members that are behind are looked at first, so that a
    population larger than the number of workers moves on together.

    A member that fails is replaced in the same way. Each replacement is a trial, and `max_trials` counts it; when they
    are used up, members are trained to the end. When all are, the next population begins. As long as less than half of
    the population has a result, nobody is replaced. Nor is anybody where no variation is left that has not been tried.

    To change a hyperparameter, it is drawn anew with `resample_probability`; otherwise numbers are multiplied by one of
    `perturb` (a 0 moves by as much of its range), and kept in their range and steps, ordered choices move one place,
    and unordered ones stay.

    Args:
        population_size: number of members.
        interval: epochs (or visits to training shards) between two looks at a member.
        truncation: the part of the population that is replaced, and the part that replaces it; 0.5 at most.
        perturb: factors for numbers, all positive.
        resample_probability: probability that a hyperparameter is drawn anew.
        explore: names of the hyperparameters that are changed. None: those whose name says that they belong to the
            training (learning rates, optimizers, momentum, decay, dropout, regularisers, batch sizes and so on), as
            others shape the network, whose weights would then not fit; all, if there is none of that kind.
        populations: how many are trained, one after the other. None: as many as `max_trials` has trials for.
        **kwargs: see `StagedOracle`: `max_resource`, `resource`, and those of every oracle.
    """

    def __init__(
        self,
        *,
        population_size: int = 8,
        interval: int = 1,
        truncation: float = 0.2,
        perturb: Sequence[float] = (0.8, 1.2),
        resample_probability: float = 0.25,
        explore: Sequence[str] | None = None,
        populations: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_int("population_size", population_size, least=2)
        check_int("interval", interval, least=1)
        if populations is not None:
            check_int("populations", populations, least=1)
        check_number("truncation", truncation, 0, 0.5)
        check_number("resample_probability", resample_probability, 0, 1)
        _check_perturb(perturb)
        self.population_size = population_size
        self.interval = interval
        self.truncation = truncation
        self.perturb = tuple(perturb)
        self.resample_probability = resample_probability
        self.explore = None if explore is None else self._checked(explore)
        self.populations = populations
        self._complete = 0
        # Places of the population; None: vacant. Of the vacant ones, whether somebody entirely new is due.
        self._members: list[str | None] = []
        self._vacant: dict[int, bool] = {}
        # Of each trial: what its ancestors were trained with, what it and they were, its latest loss.
        self._inherited: dict[str, int] = {}
        self._progress: dict[str, int] = {}
        self._losses: dict[str, Outcome | None] = {}

    # --- what comes next ----------------------------------------------------------------------------------------------

    def propose(self) -> Proposal | None:
        """Somebody for a place that is vacant.

        Raises:
            NeedsResults: none is.
        """
        for place in self._vacancies():
            fresh = self._vacant.get(place, True)
            proposal = (None if fresh else self._variation(place)) or self._newcomer(place)
            if proposal is not None:
                return proposal
        if self.active:
            raise NeedsResults
        return None

    def next_step(self) -> Promotion | Dismissal | None:
        """Have the paused member that is farthest behind go on, or give it up; vacant places are filled first."""
        if not self.waiting or (self._vacancies() and self.can_propose()):
            return None
        name = min(self.waiting, key=self._progress.__getitem__)
        if name in self._members and self._is_replaced(name):
            part = f"the worst {self.truncation:.0%} of the population"
            return Dismissal(name, "replaced", f"by a variation of a better member, as one of {part}")
        return Promotion(name, self._stage(name, self.stage_of(name).until + self.interval))

    def first_stage(self, trial_id: str) -> Stage:
        """One interval, or what is left to train along its line of ancestors."""
        return self._stage(trial_id, self.interval)

    def _stage(self, trial_id: str, until: int) -> Stage:
        left = self.max_resource - self._inherited[trial_id]
        return Stage(min(until, left), last=until >= left)

    def _vacancies(self) -> list[int]:
        places = sorted(self._vacant)
        return [len(self._members), *places] if len(self._members) < self.population_size else places

    def _is_replaced(self, trial_id: str) -> bool:
        ranked = self._ranked()
        count = self._quantile(ranked)
        left = self.remaining_trials()
        if len(ranked) * 2 < self.population_size or not count or (left is not None and left <= 0):
            return False
        if trial_id not in ranked[-count:] or not self._is_beaten(trial_id, ranked):
            return False
        # The proposal that is next would begin with the same numbers.
        self._rng = random.Random(f"{self._base}/{self._proposed}")  # noqa: S311 - not for secrets
        return self._variation(self._members.index(trial_id)) is not None

    def _is_beaten(self, trial_id: str, ranked: list[str]) -> bool:
        # Equal results are in some order, too, and replace nobody.
        better = {name for name in ranked[: ranked.index(trial_id)] if self._losses[name] != self._losses[trial_id]}
        return not better.isdisjoint(self._winners())

    def _winners(self) -> list[str]:
        """The best members that can be gone on from."""
        ranked = self._ranked()
        # Whoever takes the place of a failed member needs somebody to begin with, however small the population.
        count = max(self._quantile(ranked), 1) if self.truncation else 0
        better_half = ranked[: max(len(ranked) // 2, 1)]
        return [name for name in better_half if self._is_scored(name) and self._has_weights(name)][:count]

    def _has_weights(self, trial_id: str) -> bool:
        """Whether a trial has been trained itself, and there is something left to train with what it came to."""
        return self._inherited[trial_id] < self._progress[trial_id] < self.max_resource

    def _is_scored(self, trial_id: str) -> bool:
        return self._losses.get(trial_id) is not None

    def _ranked(self) -> list[str]:
        """The members that have a result, or failed, best first; with several objectives by fronts and crowding."""
        losses = {name: self._losses[name] for name in self._members if name is not None and name in self._losses}
        return sorted(losses, key=comparable(losses).__getitem__)

    def _quantile(self, ranked: list[str]) -> int:
        return min(math.ceil(len(ranked) * self.truncation), len(ranked) // 2)

    # --- who comes next -----------------------------------------------------------------------------------------------

    def _newcomer(self, place: int) -> Proposal | None:
        values = self.fresh_random_values()
        return None if values is None else Proposal(values, note={"member": place, "generation": 0, "lineage": []})

    def _variation(self, place: int) -> Proposal | None:
        winners = self._winners()
        for _ in range(self._max_collisions if winners else 0):
            parent = self._rng.choice(winners)
            values = self._varied(self._values(parent))
            if self.is_new(values):
                return Proposal(values, parent, self._note(place, parent))
        return None

    def _note(self, place: int, parent: str) -> dict[str, Any]:
        lineage = [*self.proposal_of(parent).note.get("lineage", []), parent]
        inherited = self._progress[parent]
        return {"member": place, "generation": len(lineage), "lineage": lineage, "inherited": inherited}

    def _varied(self, values: Values) -> Values:
        encoding = Encoding(self.hyperparameters.space)
        row = encoding.row(values)
        active = [item for item, unit in zip(encoding.dimensions, row, strict=True) if unit == unit and item.size != 1]
        names = self._explored([item.hp.name for item in active])
        given = dict(values)
        for item in active:
            if item.hp.name in names and item.hp.name in values:
                given[item.hp.name] = self._changed(item, values[item.hp.name])
        return self.complete_randomly(given)

    def _explored(self, names: list[str]) -> set[str]:
        if self.explore is not None:
            return set(self.explore)
        of_training = {name for name in names if _OF_TRAINING.search(name.rsplit("/", 1)[-1])}
        return of_training or set(names)

    def _changed(self, item: Dimension, value: Any) -> Any:
        if self._rng.random() < self.resample_probability:
            return self.sample(item.hp)
        factor = self._rng.choice(self.perturb)
        if isinstance(item.hp, _NUMBERS):
            return _multiplied(item, value, factor)
        if isinstance(item.hp, _Choice) and item.hp.ordered:
            return _moved(item, value, up=factor > 1)
        return value

    # --- what changes state -------------------------------------------------------------------------------------------

    def entered(self, trial_id: str, proposal: Proposal) -> None:
        """The trial takes its place, with the progress and the result of whom its weights are from."""
        place = proposal.note.get("member", next(iter(self._vacancies()), len(self._members)))
        self._members += [None] * (place + 1 - len(self._members))
        self._members[place] = trial_id
        self._vacant.pop(place, None)
        self._inherited[trial_id] = self._progress[trial_id] = proposal.note.get("inherited", 0)
        if proposal.parent is not None and self._is_scored(proposal.parent):
            self._losses[trial_id] = self._losses[proposal.parent]

    def paused(self, trial_id: str) -> None:
        """A member has a new result."""
        super().paused(trial_id)
        self._advance(trial_id)

    def take(self, step: Promotion | Dismissal) -> None:
        """The place of a member that is given up is vacant."""
        super().take(step)
        if isinstance(step, Dismissal):
            self._vacate(step.trial_id, fresh=False)

    def observe(self, observation: Observation) -> None:
        """The place of a member that failed is vacant; complete ones keep theirs until all are."""
        name = observation.trial_id
        if observation.loss is None:
            self._vacate(name, fresh=self.was_rejected(name) and self.proposal_of(name).parent is None)
        else:
            self._advance(name)
            # It is trained no further, also where something else than its last stage ended it.
            self._progress[name] = self.max_resource
        if self.populations is None or self._complete + 1 < self.populations:
            self._begin_the_next()

    def _begin_the_next(self) -> None:
        members = [member for member in self._members if member is not None]
        if members and all(self._progress[member] >= self.max_resource for member in members):
            self._complete += 1
            for member in members:
                self._vacate(member, fresh=True)

    def _advance(self, trial_id: str) -> None:
        self._progress[trial_id] = self._inherited[trial_id] + self.stage_of(trial_id).until
        self._losses[trial_id] = self.loss_now(trial_id)

    def _vacate(self, trial_id: str, *, fresh: bool) -> None:
        if trial_id in self._members:
            place = self._members.index(trial_id)
            self._members[place] = None
            self._vacant[place] = fresh

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values."""
        return {
            **super().get_state(),
            "complete": self._complete,
            "members": list(self._members),
            "vacant": [list(item) for item in self._vacant.items()],
            "inherited": dict(self._inherited),
            "progress": dict(self._progress),
            "losses": dict(self._losses),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        super().set_state(state)
        self._complete = state["complete"]
        self._members = list(state["members"])
        self._vacant = {place: fresh for place, fresh in state["vacant"]}
        self._inherited = dict(state["inherited"])
        self._progress = dict(state["progress"])
        self._losses = dict(state["losses"])

    def _checked(self, explore: Any) -> list[str]:
        known = {hp.name for hp in self.hyperparameters.space}
        names = list(explore) if isinstance(explore, (list, tuple)) else []
        if not names or not all(isinstance(name, str) and (name in known or not known) for name in names):
            raise ConfigError(
                "Argument `explore` should be a list of names of hyperparameters of the search space. "
                f"Received: explore={explore!r}. Pass, for example, ['learning_rate'], or leave it out."
            )
        return names


def _multiplied(item: Dimension, value: float, factor: float) -> Any:
    hp = item.hp
    target = value * factor if value else (factor - 1) * hp.max_value
    found = item.value(item.unit(min(max(target, hp.min_value), hp.max_value)))
    if found == value and item.grid is not None and target != value:
        # Too small a change for its steps, or the end of its range.
        beyond = [other for other in _neighbours(item, value) if (other - value) * (target - value) > 0]
        return beyond[0] if beyond else value
    return found


def _moved(item: Dimension, value: Any, *, up: bool) -> Any:
    below, above = _neighbours(item, value)
    return above if up else below


def _neighbours(item: Dimension, value: Any) -> tuple[Any, Any]:
    """The values before and after; itself where there is none."""
    grid = item.snap(np.array([item.unit(value)])) if item.grid is None else item.grid
    here = int(np.argmin(np.abs(grid - item.unit(value))))
    return item.value(float(grid[max(here - 1, 0)])), item.value(float(grid[min(here + 1, len(grid) - 1)]))


def _check_perturb(perturb: Any) -> None:
    if (
        not isinstance(perturb, (list, tuple))
        or not perturb
        or not all(is_number(factor) and factor > 0 for factor in perturb)
    ):
        raise ConfigError(
            "Argument `perturb` should be a list of positive numbers, by which hyperparameters are multiplied. "
            f"Received: perturb={perturb!r}. Pass, for example, (0.8, 1.2)."
        )
