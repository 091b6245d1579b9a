"""Which trial comes next: tuners on KerasTuner's `Oracle`, driven by ask and tell.

Importing this module does not load KerasTuner; using one of its names does, and the class of a tuner loads what only
that tuner needs (hyperopt, cmaes).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from cerebro_nas.tuners._asha import AshaOracle
    from cerebro_nas.tuners._bayesian import BayesianOracle
    from cerebro_nas.tuners._bohb import AsyncBohbOracle
    from cerebro_nas.tuners._bohb import BohbOracle
    from cerebro_nas.tuners._cmaes import CmaEsOracle
    from cerebro_nas.tuners._differential_evolution import DifferentialEvolutionOracle
    from cerebro_nas.tuners._evolution import EvolutionOracle
    from cerebro_nas.tuners._greedy import GreedyOracle
    from cerebro_nas.tuners._grid import GridOracle
    from cerebro_nas.tuners._hyperband import HyperbandOracle
    from cerebro_nas.tuners._make import known_tuner
    from cerebro_nas.tuners._make import make_tuner
    from cerebro_nas.tuners._make import tuner_names
    from cerebro_nas.tuners._multivariate_tpe import MultivariateTPEOracle
    from cerebro_nas.tuners._objective import MEASURES
    from cerebro_nas.tuners._objective import ParetoObjective
    from cerebro_nas.tuners._objective import make_objective
    from cerebro_nas.tuners._objective import objectives_of
    from cerebro_nas.tuners._pareto import comparable
    from cerebro_nas.tuners._pareto import losses
    from cerebro_nas.tuners._pbt import PbtOracle
    from cerebro_nas.tuners._random import RandomOracle
    from cerebro_nas.tuners._reinforce import ReinforceOracle
    from cerebro_nas.tuners._seeded import NeedsResults
    from cerebro_nas.tuners._seeded import Observation
    from cerebro_nas.tuners._seeded import SeededOracle
    from cerebro_nas.tuners._sobol import SobolOracle
    from cerebro_nas.tuners._staged import StagedOracle
    from cerebro_nas.tuners._stages import Dismissal
    from cerebro_nas.tuners._stages import Promotion
    from cerebro_nas.tuners._stages import Proposal
    from cerebro_nas.tuners._stages import Stage
    from cerebro_nas.tuners._tpe import TPEOracle
    from cerebro_nas.tuners._tuner import Exhausted
    from cerebro_nas.tuners._tuner import TrialSuggestion
    from cerebro_nas.tuners._tuner import Tuner
    from cerebro_nas.tuners._tuner import Wait

__all__ = [
    "AshaOracle",
    "AsyncBohbOracle",
    "BayesianOracle",
    "BohbOracle",
    "CmaEsOracle",
    "DifferentialEvolutionOracle",
    "Dismissal",
    "EvolutionOracle",
    "Exhausted",
    "GreedyOracle",
    "GridOracle",
    "HyperbandOracle",
    "MEASURES",
    "MultivariateTPEOracle",
    "NeedsResults",
    "Observation",
    "ParetoObjective",
    "PbtOracle",
    "Promotion",
    "Proposal",
    "RandomOracle",
    "ReinforceOracle",
    "SeededOracle",
    "SobolOracle",
    "Stage",
    "StagedOracle",
    "TPEOracle",
    "TrialSuggestion",
    "Tuner",
    "Wait",
    "comparable",
    "known_tuner",
    "losses",
    "make_objective",
    "make_tuner",
    "objectives_of",
    "tuner_names",
]

_HOMES = {
    "AshaOracle": "_asha",
    "AsyncBohbOracle": "_bohb",
    "BayesianOracle": "_bayesian",
    "BohbOracle": "_bohb",
    "CmaEsOracle": "_cmaes",
    "DifferentialEvolutionOracle": "_differential_evolution",
    "Dismissal": "_stages",
    "EvolutionOracle": "_evolution",
    "Exhausted": "_tuner",
    "GreedyOracle": "_greedy",
    "GridOracle": "_grid",
    "HyperbandOracle": "_hyperband",
    "MEASURES": "_objective",
    "MultivariateTPEOracle": "_multivariate_tpe",
    "NeedsResults": "_seeded",
    "Observation": "_seeded",
    "ParetoObjective": "_objective",
    "PbtOracle": "_pbt",
    "Promotion": "_stages",
    "Proposal": "_stages",
    "RandomOracle": "_random",
    "ReinforceOracle": "_reinforce",
    "SeededOracle": "_seeded",
    "SobolOracle": "_sobol",
    "Stage": "_stages",
    "StagedOracle": "_staged",
    "TPEOracle": "_tpe",
    "TrialSuggestion": "_tuner",
    "Tuner": "_tuner",
    "Wait": "_tuner",
    "comparable": "_pareto",
    "known_tuner": "_make",
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
