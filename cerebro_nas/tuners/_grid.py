"""Grid search."""

from __future__ import annotations

from typing import Any

from cerebro_nas.tuners._enumerate import next_values
from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._seeded import Values


class GridOracle(SeededOracle):
    """Proposes every configuration of the space once, in order; any number of trials may run at a time.

    Continuous ranges without `step` take ten representative values. Where the walk stands is part of the state.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._last: Values | None = None
        self._finished = False

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values."""
        return {**super().get_state(), "grid_last": self._last, "grid_finished": self._finished}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        super().set_state(state)
        self._last = state["grid_last"]
        self._finished = state["grid_finished"]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Values for one trial, in KerasTuner's protocol."""
        values = None if self._finished else next_values(self.hyperparameters, self._last)
        self._finished = values is None
        if values is not None:
            self._last = dict(values)
        return self.answer(values)
