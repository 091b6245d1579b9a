"""Quasi-random search: points that fill the space evenly."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import qmc

from cerebro_nas.tuners._stages import Proposal
from cerebro_nas.tuners._stages import Values
from cerebro_nas.tuners._unit_cube import Axis
from cerebro_nas.tuners._unit_cube import CubeOracle

_PASSED_OVER = 1000


class SobolOracle(CubeOracle):
    """Proposes the points of a scrambled Sobol sequence, which leave smaller gaps than random ones.

    Every hyperparameter that leaves a choice has a dimension of its own, conditional ones too, of which only the
    active ones are read. Points that come to a configuration that was tried are passed over. When the space grows
    during the search, the sequence goes on in more dimensions, scrambled anew.

    Sources: Sobol, "On the distribution of points in a cube and the approximate evaluation of integrals" (1967);
    Owen, "Randomly permuted (t,m,s)-nets and (t,s)-sequences" (1995), for the scrambling.

    Args:
        **kwargs: see `SeededOracle`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._next_point = 0

    def propose(self) -> Proposal | Values | None:
        """The next point that was not tried."""
        axes = self.cube.free
        if not axes:
            return self.fresh_random_values()
        sequence = qmc.Sobol(len(axes), scramble=True, seed=np.random.default_rng(self._base))
        if self._next_point:
            sequence.fast_forward(self._next_point)
        for point in range(self._next_point, self._next_point + _PASSED_OVER):
            places = dict(zip((axis.key for axis in axes), sequence.random(1)[0].tolist(), strict=True))
            values = self.cube.walk(lambda axis, places=places: _code(axis, places))  # type: ignore[misc]
            if self.is_new(values):
                return Proposal(values, note={"point": point})
        return self.fresh_random_values()

    def entered(self, trial_id: str, proposal: Proposal) -> None:
        """The sequence goes on after this point."""
        if "point" in proposal.note:
            self._next_point = proposal.note["point"] + 1

    def get_state(self) -> dict[str, Any]:
        """State as plain JSON values."""
        return {**super().get_state(), "next_point": self._next_point}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        super().set_state(state)
        self._next_point = state["next_point"]


def _code(axis: Axis, places: dict[str, float]) -> float:
    return axis.at(places[axis.key])
