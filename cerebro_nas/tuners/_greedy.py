"""Greedy search: vary a part of the best configuration found so far."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import keras_tuner

from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._seeded import Values


@dataclass
class _Node:
    """A node of the tree that the "/" in the names of hyperparameters spans."""

    name: str | None = None
    children: dict[str, _Node] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The hyperparameters at and below this node."""
        own = [] if self.name is None else [self.name]
        return own + [name for child in self.children.values() for name in child.names()]

    def walk(self) -> Iterator[_Node]:
        """This node and all below it."""
        yield self
        for child in self.children.values():
            yield from child.walk()


class GreedyOracle(SeededOracle):
    """Mostly varies one part of the best trial, sometimes proposes something entirely new.

    The active hyperparameters of the best trial form a tree by the parts of their names
    (`image_block_1/conv_block_1/filters_0_0`). To exploit, a node is drawn with probability proportional to one over
    the number of hyperparameters below it; those are drawn anew and all others copied.

    Args:
        exploration: a float is the probability that a trial explores (takes random values throughout); an int is the
            number of exploring trials in every round of `parallelism` trials.
        parallelism: trials in a round.
        cold_start: number of trials before the first that exploits.
        initial_hps: configurations to begin with; hyperparameters they leave out take their defaults.
        **kwargs: see `keras_tuner.Oracle`.
    """

    def __init__(
        self,
        *,
        exploration: float = 0.2,
        parallelism: int = 1,
        cold_start: int = 5,
        initial_hps: Sequence[Values] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.exploration = exploration
        self.parallelism = parallelism
        self.cold_start = cold_start
        self.initial_hps = [dict(values) for values in initial_hps]
        self._proposed = 0

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values."""
        return {**super().get_state(), "proposed": self._proposed}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        super().set_state(state)
        self._proposed = state["proposed"]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Values for one trial, in KerasTuner's protocol."""
        number = self._proposed
        self._proposed += 1
        if number < len(self.initial_hps):
            return self.answer(self._initial(self.initial_hps[number]))
        best = self._best()
        values = None
        if best is not None and number >= self.cold_start and not self._explores(number - self.cold_start):
            values = self._exploit(best)
        return self.answer(values or self.fresh_random_values())

    def _explores(self, number: int) -> bool:
        if isinstance(self.exploration, int):
            return number % self.parallelism < self.exploration
        return self._rng.random() < self.exploration

    def _best(self) -> keras_tuner.HyperParameters | None:
        # KerasTuner fills this list up with trials that are not complete.
        best = self.get_best_trials(1)
        return best[0].hyperparameters if best and best[0].status == "COMPLETED" else None

    def _initial(self, given: Values) -> Values:
        hps = keras_tuner.HyperParameters()
        for hp in self.hyperparameters.space:
            hps.merge([hp])
            if hps.is_active(hp) and hp.name in given:
                hps.values[hp.name] = given[hp.name]
        return dict(hps.values)

    def _exploit(self, best: keras_tuner.HyperParameters) -> Values | None:
        nodes = _tree(best)
        if not nodes:
            return None
        weights = [1 / len(node.names()) for node in nodes]
        for _ in range(self._max_collisions):
            (node,) = self._rng.choices(nodes, weights)
            values = self._vary(best, set(node.names()))
            if not self._duplicate(values):
                return values
        return None

    def _vary(self, best: keras_tuner.HyperParameters, names: set[str]) -> Values:
        hps = keras_tuner.HyperParameters()
        for hp in self.hyperparameters.space:
            hps.merge([hp])
            if not hps.is_active(hp):
                continue
            copied = hp.name not in names and hp.name in best.values
            hps.values[hp.name] = best.values[hp.name] if copied else self.sample(hp)
        return dict(hps.values)


def _tree(best: keras_tuner.HyperParameters) -> list[_Node]:
    """The nodes of the tree of what can be varied in `best`."""
    root = _Node()
    fixed = keras_tuner.engine.hyperparameters.Fixed
    for hp in best.space:
        if best.is_active(hp) and not isinstance(hp, fixed):
            node = root
            for part in hp.name.split("/"):
                node = node.children.setdefault(part, _Node())
            node.name = hp.name
    return list(root.walk()) if root.children else []
