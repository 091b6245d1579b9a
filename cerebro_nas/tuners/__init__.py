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
    "objectives_of",
    "MEASURES",
    "ParetoObjective",
    "Observation",
    "NeedsResults",
    "StagedOracle",
    "SeededOracle",
    "Stage",
    "Proposal",
    "Promotion",
    "Dismissal",
    "Exhausted",
    "GreedyOracle",
    "GridOracle",
    "RandomOracle",
    "TrialSuggestion",
    "Tuner",
    "Wait",
    "make_objective",
    "make_tuner",
    "tuner_names",
]

_HOMES = {
    "objectives_of": "_objective",
    "MEASURES": "_objective",
    "ParetoObjective": "_objective",
    "Observation": "_seeded",
    "NeedsResults": "_seeded",
    "StagedOracle": "_staged",
    "SeededOracle": "_seeded",
    "Stage": "_stages",
    "Proposal": "_stages",
    "Promotion": "_stages",
    "Dismissal": "_stages",
    "Exhausted": "_tuner",
    "GreedyOracle": "_greedy",
    "GridOracle": "_grid",
    "RandomOracle": "_random",
    "TrialSuggestion": "_tuner",
    "Tuner": "_tuner",
    "Wait": "_tuner",
    "make_objective": "_objective",
    "make_tuner": "_make",
    "tuner_names": "_make",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
