"""Which trial comes next: tuners on KerasTuner's `Oracle`, driven by ask and tell.

Importing this module does not load KerasTuner; using one of its names does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from cerebro_nas.tuners._greedy import GreedyOracle
    from cerebro_nas.tuners._grid import GridOracle
    from cerebro_nas.tuners._make import make_tuner
    from cerebro_nas.tuners._make import tuner_names
    from cerebro_nas.tuners._objective import MEASURES
    from cerebro_nas.tuners._objective import ParetoObjective
    from cerebro_nas.tuners._objective import make_objective
    from cerebro_nas.tuners._objective import objectives_of
    from cerebro_nas.tuners._pareto import losses
    from cerebro_nas.tuners._random import RandomOracle
    from cerebro_nas.tuners._seeded import NeedsResults
    from cerebro_nas.tuners._seeded import Observation
    from cerebro_nas.tuners._seeded import SeededOracle
    from cerebro_nas.tuners._staged import StagedOracle
    from cerebro_nas.tuners._stages import Dismissal
    from cerebro_nas.tuners._stages import Promotion
    from cerebro_nas.tuners._stages import Proposal
    from cerebro_nas.tuners._stages import Stage
    from cerebro_nas.tuners._tuner import Exhausted
    from cerebro_nas.tuners._tuner import TrialSuggestion
    from cerebro_nas.tuners._tuner import Tuner
    from cerebro_nas.tuners._tuner import Wait

__all__ = [
    "Dismissal",
    "Exhausted",
    "GreedyOracle",
    "GridOracle",
    "MEASURES",
    "NeedsResults",
    "Observation",
    "ParetoObjective",
    "Promotion",
    "Proposal",
    "RandomOracle",
    "SeededOracle",
    "Stage",
    "StagedOracle",
    "TrialSuggestion",
    "Tuner",
    "Wait",
    "losses",
    "make_objective",
    "make_tuner",
    "objectives_of",
    "tuner_names",
]

_HOMES = {
    "Dismissal": "_stages",
    "Exhausted": "_tuner",
    "GreedyOracle": "_greedy",
    "GridOracle": "_grid",
    "MEASURES": "_objective",
    "NeedsResults": "_seeded",
    "Observation": "_seeded",
    "ParetoObjective": "_objective",
    "Promotion": "_stages",
    "Proposal": "_stages",
    "RandomOracle": "_random",
    "SeededOracle": "_seeded",
    "Stage": "_stages",
    "StagedOracle": "_staged",
    "TrialSuggestion": "_tuner",
    "Tuner": "_tuner",
    "Wait": "_tuner",
    "losses": "_pareto",
    "make_objective": "_objective",
    "make_tuner": "_make",
    "objectives_of": "_objective",
    "tuner_names": "_make",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
