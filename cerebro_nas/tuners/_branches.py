"""Other branches of a conditional space than the one in which the best trial is.

A model of all results seldom leaves the branch that is best so far: there it knows where the next small gain is, while
a branch that begins badly (a kind of network that must be set well to be good) would need several trials before it is
worth anything. So a share of the proposals is made within another branch, and what only that branch has is chosen as
if there were no others.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner

from cerebro_nas.tuners._tree import active_entries

_TYPES = keras_tuner.engine.hyperparameters


@dataclass(frozen=True)
class Branch:
    """All configurations with one value of a choice that decides which other hyperparameters there are.

    Attributes:
        name: the hyperparameter.
        value: its value.
        under: names and values of the hyperparameters that it is active under.
    """

    name: str
    value: Any
    under: tuple[tuple[str, Any], ...] = ()

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether a configuration is in it."""
        return bool(self.name in values and values[self.name] == self.value)

    def owns(self, hp: Any) -> bool:
        """Whether a hyperparameter is there because of the choice."""
        return any(condition.name == self.name for condition in hp.conditions)


def other_branches(space: keras_tuner.HyperParameters, best: Mapping[str, Any], rng: random.Random) -> list[Branch]:
    """Branches in which `best` is not: the other values of one choice that it makes; none if the space has none.

    Any of the choices that `best` makes and that others depend on is as probable as the next. Counts of layers and
    other ordered values are no branches: what is learnt of one holds for the next.
    """
    parents = {condition.name for hp in space.space for condition in hp.conditions}
    choices = [(name, hp) for name, hp in active_entries(space, best).items() if name in parents and _is_unordered(hp)]
    if not choices:
        return []
    name, hp = rng.choice(choices)
    under = tuple((condition.name, best[condition.name]) for condition in hp.conditions)
    return [Branch(name, value, under) for value in _values(hp) if value != best[name]]


def draw_branch(
    space: keras_tuner.HyperParameters,
    known: Sequence[tuple[Mapping[str, Any], float | None]],
    share: float,
    rng: random.Random,
) -> Branch | None:
    """A branch to look in this time; None: everywhere.

    Of the branches in which the best trial is not, the one with the n-th best result is drawn with probability
    proportional to 1 / n; one without a result comes first.

    Args:
        space: the space.
        known: trials that have ended, with their losses; None: it failed.
        share: probability that it is a branch.
        rng: source of chance.
    """
    losses = [(values, loss) for values, loss in known if loss is not None]
    branches = other_branches(space, min(losses, key=lambda item: item[1])[0], rng) if losses else []
    if not branches or rng.random() >= share:
        return None

    def least(branch: Branch) -> float:
        return min((loss for values, loss in losses if branch.holds(values)), default=-math.inf)

    return rng.choices(sorted(branches, key=least), [1 / (rank + 1) for rank in range(len(branches))])[0]


def _is_unordered(hp: Any) -> bool:
    if isinstance(hp, _TYPES.Boolean):
        return True
    return isinstance(hp, _TYPES.Choice) and not hp.ordered and len(set(hp.values)) > 1


def _values(hp: Any) -> list[Any]:
    return [False, True] if isinstance(hp, _TYPES.Boolean) else list(dict.fromkeys(hp.values))
