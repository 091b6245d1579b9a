"""Random search."""

from __future__ import annotations

from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._stages import Values


class RandomOracle(SeededOracle):
    """Proposes random configurations, never the same twice, and stops when a small space has no more."""

    def propose(self) -> Values | None:
        """Random values."""
        return self.fresh_random_values()
