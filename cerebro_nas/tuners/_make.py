"""Tuners by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection
from importlib import import_module
from typing import Any
from typing import get_args

import keras_tuner

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._checks import check_int
from cerebro_nas.tuners._initial import check_initial
from cerebro_nas.tuners._objective import make_objective
from cerebro_nas.tuners._seeded import SeededOracle
from cerebro_nas.tuners._staged import StagedOracle
from cerebro_nas.tuners._stages import Resource
from cerebro_nas.tuners._tuner import Tuner

# Names to where they live: libraries that only one of them needs are loaded with it.
_ORACLES: dict[str, tuple[str, str]] = {
    "greedy": ("_greedy", "GreedyOracle"),
    "random": ("_random", "RandomOracle"),
    "grid": ("_grid", "GridOracle"),
    "bayesian": ("_bayesian", "BayesianOracle"),
    "tpe": ("_tpe", "TPEOracle"),
    "multivariate_tpe": ("_multivariate_tpe", "MultivariateTPEOracle"),
    "cmaes": ("_cmaes", "CmaEsOracle"),
    "sobol": ("_sobol", "SobolOracle"),
    "hyperband": ("_hyperband", "HyperbandOracle"),
    "asha": ("_asha", "AshaOracle"),
    "bohb": ("_bohb", "BohbOracle"),
    "async_bohb": ("_bohb", "AsyncBohbOracle"),
    "pbt": ("_pbt", "PbtOracle"),
    "evolution": ("_evolution", "EvolutionOracle"),
    "differential_evolution": ("_differential_evolution", "DifferentialEvolutionOracle"),
    "rl": ("_reinforce", "ReinforceOracle"),
}
# As KerasTuner's classes, Katib and others call them.
_ALIASES = {
    "randomsearch": "random",
    "random_search": "random",
    "gridsearch": "grid",
    "grid_search": "grid",
    "bayesianoptimization": "bayesian",
    "bayesian_optimization": "bayesian",
    "cma_es": "cmaes",
    "de": "differential_evolution",
    "regularized_evolution": "evolution",
    "reinforce": "rl",
    "enas": "rl",
    "nasrl": "rl",
}
_TUNER_OPTIONS = ("directory", "project_name", "resume", "max_rejections")
# What is given otherwise, or belongs to KerasTuner's protocol.
_NO_OPTIONS = {
    *("self", "kwargs", "objective", "max_trials", "hyperparameters", "seed", "max_resource", "parallelism"),
    *("allow_new_entries", "tune_new_entries", "max_retries_per_trial", "max_consecutive_failed_trials"),
}
# What `tuner_bind` takes beside the options of a tuner: a slip in one of them arrives here as an option.
_OF_TUNER_BIND = (
    *("tuner", "hyperparameters", "objective", "max_trials", "overwrite", "parallelism", "project_name", "directory"),
    *("max_model_size", "seed", "visit_order", "unit_timeout", "time_budget", "max_epochs_total", "target", "stoppers"),
    *("max_flops", "max_latency_ms", "force_fields"),
)
_NEAR = 0.7
_UNKNOWN_EPOCHS = 3**12
"""Epochs to check the options of a tuner with, before `fit` says how many there are: enough for any of them."""


def tuner_names() -> tuple[str, ...]:
    """The names that `make_tuner` knows; it knows some of them by others too."""
    return tuple(_ORACLES)


def known_tuner(name: Any) -> str | None:
    """The one of `tuner_names` that somebody means, in whatever case and by whichever of its names; None if none."""
    if not isinstance(name, str):
        return None
    plain = name.lower().replace("-", "_").replace(" ", "_")
    plain = _ALIASES.get(plain, plain)
    return plain if plain in _ORACLES else None


def make_tuner(
    name_or_oracle: Any,
    *,
    objective: Any = None,
    max_trials: int | None = None,
    hyperparameters: keras_tuner.HyperParameters | None = None,
    seed: int | None = None,
    exploration: float | None = None,
    parallelism: int | None = None,
    max_epochs: int | None = None,
    num_shards: int = 1,
    **options: Any,
) -> Tuner:
    """Make a tuner.

    Args:
        name_or_oracle: one of `tuner_names()`, or any `keras_tuner.Oracle`.
        objective: metric to optimise, or several, see `make_objective`; of an oracle that has one, leave it None.
        max_trials: trials at most; None (all of the space) for grid search only.
        hyperparameters: the complete space.
        seed: seed of the proposals; an oracle of your own keeps its own.
        exploration: (greedy) a float in [0, 1]: probability that a trial explores; an int: number of exploring
            trials in every `parallelism`; 0.2 if None.
        parallelism: number of trials that run at a time.
        max_epochs: epochs that a trial is trained at most, for tuners that train in stages.
        num_shards: training shards of an epoch, for those that count shards.
        **options: `directory`, `project_name`, `resume`, `max_rejections` (see `Tuner`); `initial_hps`, configurations
            to begin with; and those of the oracle, see its class.

    Returns:
        The tuner.

    Raises:
        ConfigError: an argument is wrong; nothing was written.
        ImportError: the tuner needs a package that is not installed.
    """
    tuner_options = {key: options.pop(key) for key in _TUNER_OPTIONS if key in options}
    check_int("max_rejections", tuner_options.get("max_rejections", 1), least=1)
    if isinstance(name_or_oracle, keras_tuner.Oracle):
        given = ([] if exploration is None else ["exploration"]) + list(options)
        _refuse(given, "of an oracle of your own; set it on the oracle instead")
        return _from_oracle(name_or_oracle, objective, max_trials, hyperparameters, tuner_options)
    name = _check_name(name_or_oracle)
    _check_max_trials(name, max_trials)
    kind = oracle_class(name)
    known = _options_of(kind)
    if exploration is not None:
        options["exploration"] = exploration
    unknown = [key for key in options if key not in known]
    _refuse(unknown, f"that the tuner {name!r} takes ({', '.join(sorted(known))})", known)
    if "initial_hps" in options:
        options["initial_hps"] = check_initial(options["initial_hps"], hyperparameters)
    arguments: dict[str, Any] = {
        "objective": make_objective("val_loss" if objective is None else objective),
        "max_trials": max_trials,
        "seed": _check_seed(seed),
        "hyperparameters": hyperparameters,
        **options,
    }
    if name == "greedy":
        arguments["parallelism"] = 1 if parallelism is None else parallelism
    if issubclass(kind, StagedOracle):
        arguments["max_resource"] = _max_resource(options.get("resource", "epochs"), max_epochs, num_shards)
    return Tuner(kind(**arguments), max_trials=max_trials, **tuner_options)


def oracle_class(name: str) -> type[SeededOracle]:
    """The class behind one of `tuner_names()`."""
    module, attribute = _ORACLES[name]
    found: type[SeededOracle] = getattr(import_module(f"cerebro_nas.tuners.{module}"), attribute)
    return found


def _options_of(kind: type[SeededOracle]) -> set[str]:
    """Names of the arguments that a user may give."""
    signatures = (inspect.signature(base.__init__) for base in kind.__mro__ if issubclass(base, SeededOracle))
    return {name for signature in signatures for name in signature.parameters} - _NO_OPTIONS


def _max_resource(resource: Any, max_epochs: int | None, num_shards: int) -> int:
    if resource not in get_args(Resource):
        raise ConfigError(
            f"Argument `resource` should be one of {', '.join(map(repr, get_args(Resource)))}. "
            f"Received: resource={resource!r}. Pass one of them."
        )
    epochs = _UNKNOWN_EPOCHS if max_epochs is None else max_epochs
    return epochs * num_shards if resource == "shards" else epochs


def _from_oracle(
    oracle: keras_tuner.Oracle,
    objective: Any,
    max_trials: int | None,
    hyperparameters: keras_tuner.HyperParameters | None,
    options: dict[str, Any],
) -> Tuner:
    _check_max_trials("grid", max_trials)
    if oracle.trials:
        raise ConfigError(
            "Argument `tuner` should be an oracle that has given no trials yet: a search that is gone on with replays "
            f"them from its journal. Received: {type(oracle).__name__} with {len(oracle.trials)} trials. Make a new "
            "one with the same arguments."
        )
    if oracle.objective.name == "default_objective":
        oracle.objective = make_objective("val_loss" if objective is None else objective)
    elif objective is not None and make_objective(objective) != oracle.objective:
        raise ConfigError(
            "Argument `objective` should be that of the oracle. "
            f"Received: objective={objective!r}, and an oracle with {oracle.objective}. Leave one of them out."
        )
    if hyperparameters is not None:
        oracle.update_space(hyperparameters)
    return Tuner(oracle, max_trials=max_trials, **options)


def _check_name(name: Any) -> str:
    if isinstance(name, type) and issubclass(name, keras_tuner.Oracle):
        own = next((known for known, (_, kind) in _ORACLES.items() if kind == name.__name__), None)
        raise ConfigError(
            "Argument `tuner` should be the name of a tuner or an instance of a class, not a class. "
            f"Received: tuner={name.__name__}. Pass {'' if own is None else repr(own) + ', or '}"
            f"`{name.__name__}(...)` with its arguments."
        )
    found = known_tuner(name)
    if found is not None:
        return found
    known = ", ".join(repr(n) for n in _ORACLES)
    near = difflib.get_close_matches(str(name).lower(), [*_ORACLES, *_ALIASES], n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "Pass one of them."
    raise ConfigError(
        f"Argument `tuner` should be one of {known}, or a `keras_tuner.Oracle`. Received: tuner={name!r}. {hint}"
    )


def _check_max_trials(name: str, max_trials: int | None) -> None:
    if max_trials is None and name.startswith("grid"):
        return
    check_int("max_trials", max_trials, least=1)


def _check_seed(seed: int | None) -> int | None:
    if seed is not None:
        check_int("seed", seed, least=0)
    return seed


def _refuse(names: list[str], expectation: str, known: Collection[str] = ()) -> None:
    if names:
        near = difflib.get_close_matches(names[0], [*known, *_OF_TUNER_BIND], n=1, cutoff=_NEAR)
        hint = "Remove what is not needed."
        if near:
            hint = f"Did you mean {near[0]!r}{'' if near[0] in known else ', which `tuner_bind` itself takes'}?"
        raise ConfigError(f"Option `{names[0]}` should be one {expectation}. Received: {', '.join(names)}. {hint}")
