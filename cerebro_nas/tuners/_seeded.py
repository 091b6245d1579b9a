"""What our oracles share: a generator of their own, saved with their state, and lazily enumerated spaces."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import keras_tuner

from cerebro_nas.tuners._enumerate import next_values

RUNNING = "RUNNING"
STOPPED = "STOPPED"

Values = dict[str, Any]

_COLLISIONS = 100
_SMALL_SPACE = 10_000


class SeededOracle(keras_tuner.Oracle):  # type: ignore[misc]  # KerasTuner ships no types
    """An oracle whose proposals follow from its seed, its trials and nothing else.

    KerasTuner's own sampling treats `seed=0` as no seed and gives neighbouring seeds the same numbers, one step
    apart; AutoKeras' greedy oracle draws from NumPy's global generator. This one owns its generator and saves it.
    """

    def __init__(self, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self._rng = random.Random(seed)  # noqa: S311 - not for secrets
        self._max_collisions = _COLLISIONS

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values, the generator's included."""
        state: dict[str, Any] = super().get_state()
        version, words, gauss = self._rng.getstate()
        state["rng"] = [version, list(words), gauss]
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        super().set_state(state)
        version, words, gauss = state["rng"]
        self._rng.setstate((version, tuple(words), gauss))

    def sample(self, hp: Any) -> Any:
        """A random value of one hyperparameter."""
        return hp.prob_to_value(self._rng.random())

    def fresh_random_values(self) -> Values | None:
        """Random values that no trial has had, or None when the space has (almost surely) no more."""
        for _ in range(self._max_collisions):
            values = self._sample_all()
            if not self._duplicate(values):
                return values
        return self._untried_of_small_space()

    def answer(self, values: Values | None) -> dict[str, Any]:
        """The reply of `populate_space`: these values, or the end of the search."""
        return {"status": STOPPED if values is None else RUNNING, "values": values}

    def _sample_all(self) -> Values:
        hps = keras_tuner.HyperParameters()
        for hp in self.hyperparameters.space:
            hps.merge([hp])
            if hps.is_active(hp):
                hps.values[hp.name] = self.sample(hp)
        return dict(hps.values)

    def _untried_of_small_space(self) -> Values | None:
        # Chance finds the last few of a small space late or never; counting them does.
        untried = [values for values in self._first_values(_SMALL_SPACE) if not self._duplicate(values)]
        return self._rng.choice(untried) if untried else None

    def _first_values(self, limit: int) -> Iterator[Values]:
        values = next_values(self.hyperparameters, None)
        while values is not None and limit > 0:
            yield values
            limit -= 1
            values = next_values(self.hyperparameters, values)
