"""Who takes part: our tuners by name, and their peers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras_tuner
from keras_tuner import oracles

from benchmarks._errors import BenchmarkError
from benchmarks.search._peers import make_peer
from benchmarks.search._problem import Problem
from benchmarks.search._simulator import METRIC
from benchmarks.search._simulator import Searcher
from cerebro_nas.tuners import Tuner
from cerebro_nas.tuners import make_tuner
from cerebro_nas.tuners import tuner_names

NUMERIC = ("branin", "hartmann6")
MIXED = (*NUMERIC, "cash")
MACROS = ("macro-6", "macro-106")
CURVES = ("power-laws", "fashion-mnist")
EVERY = (*MIXED, *MACROS, *CURVES)

_MOST_MEMBERS = 64


@dataclass(frozen=True)
class Contender:
    """One side of the comparison.

    Attributes:
        name: for the command line and the tables; "asha:shards" is asha with visits to shards as its resource.
        meant_for: problems on which it must beat random search; None of them: no claim.
        problems: problems that it is run on.
        peers: those that do the same, which it must not be worse than.
        staged: whether trials are trained in stages.
    """

    name: str
    meant_for: tuple[str, ...] = ()
    problems: tuple[str, ...] = EVERY
    peers: tuple[str, ...] = ()
    staged: bool = False

    @property
    def tuner(self) -> str:
        """Its name without the resource."""
        return self.name.partition(":")[0]

    @property
    def shards(self) -> bool:
        """Whether its resource is visits to shards; otherwise it is epochs."""
        return self.name.endswith(":shards")

    def make(self, problem: Problem, seed: int, evaluations: int) -> Searcher:
        """A new search.

        Raises:
            BenchmarkError: it cannot be used here.
        """
        if self.name.startswith(("optuna-", "hyperopt-", "deephyper-")):
            return make_peer(self.name, problem, seed, evaluations)
        if self.name.startswith("kt-"):
            return _keras_tuner(self.name, problem, seed, evaluations)
        options: dict[str, Any] = {}
        max_trials = evaluations
        if self.staged:
            resource = "shards" if self.shards else "epochs"
            options |= {"max_epochs": problem.epochs, "num_shards": problem.per_epoch, "resource": resource}
            # The budget ends the search: no trial costs less than one unit.
            max_trials = evaluations * problem.units
        if self.tuner == "pbt":
            # Along each member's line of ancestors one complete training is spent.
            options["population_size"] = min(evaluations, _MOST_MEMBERS)
        try:
            return make_tuner(
                self.tuner,
                objective=keras_tuner.Objective(METRIC, "min"),
                max_trials=max_trials,
                hyperparameters=problem.make_space(),
                seed=seed,
                **options,
            )
        except ImportError as error:
            raise BenchmarkError(f"{self.name} cannot be used here: {error}") from error


OURS = (
    Contender("random", peers=("kt-random",)),
    Contender("sobol"),
    Contender("greedy", ("cash", *MACROS)),
    Contender("bayesian", MIXED, peers=("kt-bayesian", "optuna-gp", "deephyper-cbo")),
    Contender("tpe", (*MIXED, *MACROS), peers=("hyperopt-tpe", "optuna-tpe")),
    Contender("multivariate_tpe", MIXED, peers=("optuna-mtpe",)),
    Contender("cmaes", NUMERIC, peers=("optuna-cmaes",)),
    Contender("evolution", ("cash", *MACROS)),
    Contender("differential_evolution", NUMERIC),
    Contender("rl", MACROS, MACROS),
    *(
        Contender(f"{name}{suffix}", CURVES, CURVES, peers, staged=True)
        for name, peers in (("hyperband", ("kt-hyperband",)), ("asha", ()), ("bohb", ()), ("async_bohb", ()))
        for suffix in ("", ":shards")
    ),
    Contender("pbt", (), CURVES, staged=True),
)

# Where they would take hours (seconds for each proposal), slow peers are left out.
PEERS = (
    Contender("kt-random"),
    Contender("kt-bayesian", (), MIXED),
    Contender("kt-hyperband", (), CURVES),
    Contender("hyperopt-tpe"),
    Contender("optuna-tpe"),
    Contender("optuna-mtpe", (), MIXED),
    Contender("optuna-gp", (), MIXED),
    Contender("optuna-cmaes", (), NUMERIC),
    Contender("deephyper-cbo", (), MIXED),
)

BY_NAME = {contender.name: contender for contender in (*OURS, *PEERS)}


def choose(names: list[str] | None, *, peers: bool) -> list[Contender]:
    """Those with these names, or all tuners that there are; with the peers of each, if wanted. Random is always one.

    Raises:
        BenchmarkError: a name is unknown.
    """
    known = tuner_names()
    if names is None:
        chosen = [contender for contender in OURS if contender.tuner in known]
    else:
        chosen = [_find(name, known) for name in names]
    if all(contender.name != "random" for contender in chosen):
        chosen.insert(0, BY_NAME["random"])
    also = [name for contender in chosen for name in contender.peers] if peers else []
    return list({c.name: c for c in (*chosen, *(BY_NAME[name] for name in also))}.values())


def _find(name: str, known: tuple[str, ...]) -> Contender:
    if name in BY_NAME and (BY_NAME[name] in PEERS or BY_NAME[name].tuner in known):
        return BY_NAME[name]
    if name in known:
        return Contender(name)
    raise BenchmarkError(
        f"`--tuners` must be of {', '.join(BY_NAME)} or what `make_tuner` knows: {', '.join(known)}. Received: {name}"
    )


def _keras_tuner(name: str, problem: Problem, seed: int, evaluations: int) -> Tuner:
    common = {
        "objective": keras_tuner.Objective(METRIC, "min"),
        "hyperparameters": problem.make_space(),
        # KerasTuner takes 0 for no seed, and neighbouring ones draw the same numbers one step apart.
        "seed": 1 + 100_003 * seed,
    }
    if name == "kt-hyperband":
        oracle = oracles.HyperbandOracle(max_epochs=problem.epochs, hyperband_iterations=100, **common)
        return Tuner(oracle, max_trials=None)
    if name == "kt-random":
        return Tuner(oracles.RandomSearchOracle(max_trials=evaluations, **common), max_trials=evaluations)
    return Tuner(oracles.BayesianOptimizationOracle(max_trials=evaluations, **common), max_trials=evaluations)
