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
    from cerebro_nas.tuners._objective import make_objective
    from cerebro_nas.tuners._random import RandomOracle
    from cerebro_nas.tuners._tuner import Exhausted
    from cerebro_nas.tuners._tuner import TrialSuggestion
    from cerebro_nas.tuners._tuner import Tuner
    from cerebro_nas.tuners._tuner import Wait

__all__ = [
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
