"""Greedy search: vary a part of the best configuration found so far."""

from __future__ import annotations

from typing import Any

import keras_tuner

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._checks import is_int
from cerebro_nas.tuners._checks import is_number
from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._tree import tree

_TRUST = 0.5
_DRAWS = 5


class GreedyOracle(SeededOracle):
    """Mostly varies one part of the best trial, sometimes proposes something entirely new.

    It begins with the default values: they are what the authors of the blocks found to work, where random values of all
    hyperparameters at once seldom do. Until a trial has a result, about half of the further ones vary them, and the
    others take random values.

    The active hyperparameters of the best trial form a tree by the parts of their names
    (`image_block_1/conv_block_1/filters_0_0`). To exploit, a node is drawn with probability proportional to one over
    the number of hyperparameters below it, and four times as probably if none of those was varied yet, in any trial.
    The hyperparameters of the node are drawn anew (until the configuration is a new one, so that two values get their
    turn as five do) and all others copied.

    Args:
        exploration: a float is the probability that a trial explores (takes random values throughout); an int is the
            number of exploring trials in every round of `parallelism` trials.
        parallelism: trials in a round.
        cold_start: number of trials that explore before the first that exploits. With any, none begins with the
            default values.
        **kwargs: see `SeededOracle`.
    """

    def __init__(self, *, exploration: float = 0.2, parallelism: int = 1, cold_start: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_int("parallelism", parallelism, least=1)
        check_int("cold_start", cold_start, least=0)
        _check_exploration(exploration, parallelism)
        self.exploration = exploration
        self.parallelism = parallelism
        self.cold_start = cold_start

    def propose(self) -> Values | None:
        """Part of the best trial drawn anew, or all of it; at first, the default values."""
        if self.number == 0 and self.cold_start == 0:
            return self.complete({})
        parent = self._parent()
        values = None if parent is None else self._exploit(parent)
        return values or self.fresh_random_values()

    def _parent(self) -> keras_tuner.HyperParameters | None:
        """What the next trial varies; None: nothing, it explores."""
        if self.number < self.cold_start or self._explores(self.number - self.cold_start):
            return None
        best = self._best()
        if best is not None:
            return best
        # Nobody knows yet whether the default values are any good.
        return self._defaults() if self._rng.random() < _TRUST else None

    def _explores(self, number: int) -> bool:
        if isinstance(self.exploration, int):
            return number % self.parallelism < self.exploration
        return self._rng.random() < self.exploration

    def _best(self) -> keras_tuner.HyperParameters | None:
        done = [(item.loss, number, item) for number, item in enumerate(self.observations()) if item.loss is not None]
        return self.trials[min(done)[2].trial_id].hyperparameters if done else None

    def _defaults(self) -> keras_tuner.HyperParameters:
        found = self.hyperparameters.copy()
        found.values = self.complete({})
        return found

    def _exploit(self, best: keras_tuner.HyperParameters) -> Values | None:
        nodes = tree(_names(best))
        if not nodes:
            return None
        varied = self._varied(best.values)
        below = [sorted(node.names()) for node in nodes]
        weights = [len(names) / sum(1 + (name in varied) for name in names) ** 2 for names in below]
        for _ in range(self._max_collisions):
            (names,) = self._rng.choices(below, weights)
            for _ in range(_DRAWS):
                values = self._vary(best, set(names))
                if self.is_new(values):
                    return values
        return None

    def _varied(self, best: Values) -> set[str]:
        """The hyperparameters of the best trial that have other values in a trial that has ended or runs."""
        known = [*(item.values for item in self.observations()), *self.pending()]
        return {name for name in best if any(values.get(name, best[name]) != best[name] for values in known)}

    def _vary(self, best: keras_tuner.HyperParameters, names: set[str]) -> Values:
        return self.complete_randomly({name: value for name, value in best.values.items() if name not in names})


def _names(best: keras_tuner.HyperParameters) -> list[str]:
    """What can be varied in `best`."""
    fixed = keras_tuner.engine.hyperparameters.Fixed
    return [hp.name for hp in best.space if best.is_active(hp) and not isinstance(hp, fixed)]


def _check_exploration(exploration: Any, parallelism: int) -> None:
    most = parallelism if is_int(exploration) else 1.0
    if not is_number(exploration) or not 0 <= exploration <= most:
        raise ConfigError(
            "Argument `exploration` should be a float between 0.0 and 1.0 (the probability that a trial explores) or "
            "an integer between 0 and `parallelism` (how many of that many trials explore). "
            f"Received: exploration={exploration!r}, parallelism={parallelism!r}. Pass, for example, 0.2."
        )
