"""Random search."""

from __future__ import annotations

from typing import Any

from cerebro_nas.tuners._seeded import SeededOracle


class RandomOracle(SeededOracle):
    """Proposes random configurations, never the same twice, and stops when a small space has no more."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Values for one trial, in KerasTuner's protocol."""
        return self.answer(self.fresh_random_values())
