"""Grid search."""

from __future__ import annotations

from typing import Any

from cerebro_nas.tuners._enumerate import next_values
from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._stages import Proposal
from cerebro_nas.tuners._stages import Values


class GridOracle(SeededOracle):
    """Proposes every configuration of the space once, in order; any number of trials may run at a time.

    Continuous ranges without `step` take ten representative values. Where the walk stands is part of the state.
    Configurations that were tried first (`initial_hps`) are passed over.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._last: Values | None = None

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values."""
        return {**super().get_state(), "grid_last": self._last}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        super().set_state(state)
        self._last = state["grid_last"]

    def propose(self) -> Values | None:
        """The configuration after the last one."""
        values = next_values(self.hyperparameters, self._last)
        while values is not None and not self.is_new(values):
            values = next_values(self.hyperparameters, values)
        return values

    def entered(self, trial_id: str, proposal: Proposal) -> None:
        """The walk goes on from here."""
        if self.number > len(self.starts):
            self._last = dict(proposal.values)
