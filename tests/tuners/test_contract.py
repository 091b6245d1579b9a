from __future__ import annotations

from typing import Any

import keras_tuner

from cerebro_nas.testing import TunerContract
from cerebro_nas.tuners import GreedyOracle
from cerebro_nas.tuners import GridOracle
from cerebro_nas.tuners import RandomOracle
from cerebro_nas.tuners._asha import AshaOracle
from cerebro_nas.tuners._bayesian import BayesianOracle
from cerebro_nas.tuners._bohb import AsyncBohbOracle
from cerebro_nas.tuners._bohb import BohbOracle
from cerebro_nas.tuners._cmaes import CmaEsOracle
from cerebro_nas.tuners._differential_evolution import DifferentialEvolutionOracle
from cerebro_nas.tuners._evolution import EvolutionOracle
from cerebro_nas.tuners._hyperband import HyperbandOracle
from cerebro_nas.tuners._multivariate_tpe import MultivariateTPEOracle
from cerebro_nas.tuners._pbt import PbtOracle
from cerebro_nas.tuners._reinforce import ReinforceOracle
from cerebro_nas.tuners._sobol import SobolOracle
from cerebro_nas.tuners._tpe import TPEOracle


class OurContract(TunerContract):
    oracle: type[keras_tuner.Oracle]
    arguments: dict[str, Any] = {}

    def make_oracle(
        self,
        space: keras_tuner.HyperParameters,
        seed: int,
        objective: keras_tuner.Objective,
        max_trials: int | None,
        **kwargs: Any,
    ) -> keras_tuner.Oracle:
        return self.oracle(
            hyperparameters=space,
            seed=seed,
            objective=objective,
            max_trials=max_trials,
            **(self.arguments | kwargs),
        )


class TestRandom(OurContract):
    oracle = RandomOracle


class TestGreedy(OurContract):
    oracle = GreedyOracle


class TestGrid(OurContract):
    oracle = GridOracle
    seeded = False
    # Its first forty trials differ in the last hyperparameter but one at most.
    learns_quickly = False


class TestTPE(OurContract):
    oracle = TPEOracle
    arguments = {"n_startup_jobs": 4}


class TestSobol(OurContract):
    oracle = SobolOracle


class TestMultivariateTPE(OurContract):
    oracle = MultivariateTPEOracle
    arguments = {"n_startup_trials": 4}


class TestCmaEs(OurContract):
    oracle = CmaEsOracle
    arguments = {"population_size": 4}


class TestEvolution(OurContract):
    oracle = EvolutionOracle
    arguments = {"population_size": 5, "sample_size": 3, "inherit_weights": True}


class TestDifferentialEvolution(OurContract):
    oracle = DifferentialEvolutionOracle
    arguments = {"population": 4}


class TestBayesian(OurContract):
    oracle = BayesianOracle
    arguments = {"num_initial_points": 4, "num_candidates": 200}
    examples = 4


class TestBayesianForest(OurContract):
    oracle = BayesianOracle
    arguments = {"num_initial_points": 4, "num_candidates": 200, "surrogate": "forest"}
    examples = 2


class TestReinforce(OurContract):
    oracle = ReinforceOracle


class TestAsha(OurContract):
    oracle = AshaOracle
    arguments = {"max_resource": 9}


class TestAshaOfBrackets(OurContract):
    oracle = AshaOracle
    arguments = {"max_resource": 4, "factor": 2, "brackets": 2, "resource": "shards"}


class TestHyperband(OurContract):
    oracle = HyperbandOracle
    arguments = {"max_resource": 9}


class TestBohb(OurContract):
    oracle = BohbOracle
    arguments = {"max_resource": 4, "factor": 2, "min_points": 4}


class TestAsyncBohb(OurContract):
    oracle = AsyncBohbOracle
    arguments = {"max_resource": 4, "factor": 2, "min_points": 4}


class TestPbt(OurContract):
    oracle = PbtOracle
    arguments = {"max_resource": 4, "population_size": 4}
    # With the last trials gone nobody is replaced any more.
    foresees_nothing = False


class TestKerasTunersRandomSearch(OurContract):
    oracle = keras_tuner.oracles.RandomSearchOracle
    # It gives up after a number of collisions, and takes seed 0 for none.
    exhausts = False
    seeded = False
    takes_initial_hps = False
    # It gives them the value that was drawn for another one.
    namesakes = False
