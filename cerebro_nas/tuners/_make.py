"""Tuners by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any

import keras_tuner

from cerebro_nas.errors import ConfigError
from cerebro_nas.tuners._greedy import GreedyOracle
from cerebro_nas.tuners._grid import GridOracle
from cerebro_nas.tuners._objective import make_objective
from cerebro_nas.tuners._random import RandomOracle
from cerebro_nas.tuners._tuner import Tuner

_ORACLES: dict[str, type[keras_tuner.Oracle]] = {
    "greedy": GreedyOracle,
    "random": RandomOracle,
    "randomsearch": RandomOracle,
    "grid": GridOracle,
    "gridsearch": GridOracle,
}
_TUNER_OPTIONS = ("directory", "project_name", "resume", "max_rejections")
_GREEDY_OPTIONS = ("cold_start", "initial_hps")


def tuner_names() -> tuple[str, ...]:
    """The names that `make_tuner` knows."""
    return tuple(_ORACLES)


def make_tuner(
    name_or_oracle: Any,
    *,
    objective: Any = None,
    max_trials: int | None = None,
    hyperparameters: keras_tuner.HyperParameters | None = None,
    seed: int | None = None,
    exploration: float | None = None,
    parallelism: int | None = None,
    **options: Any,
) -> Tuner:
    """Make a tuner.

    Args:
        name_or_oracle: `"greedy"`, `"random"`, `"randomsearch"`, `"grid"`, `"gridsearch"`, or any
            `keras_tuner.Oracle`.
        objective: metric to optimise, see `make_objective`; of an oracle that has one, leave it None.
        max_trials: trials at most; None (all of the space) for grid search only.
        hyperparameters: the complete space.
        seed: seed of the proposals; an oracle of your own keeps its own.
        exploration: (greedy) a float in [0, 1]: probability that a trial explores; an int: number of exploring
            trials in every `parallelism`; 0.2 if None.
        parallelism: number of trials that run at a time.
        **options: `directory`, `project_name`, `resume`, `max_rejections` (see `Tuner`); for greedy also `cold_start`
            (trials before the first that exploits, 5) and `initial_hps` (configurations to begin with).

    Returns:
        The tuner.

    Raises:
        ConfigError: an argument is wrong; nothing was written.
    """
    tuner_options = {key: options.pop(key) for key in _TUNER_OPTIONS if key in options}
    _check_int("max_rejections", tuner_options.get("max_rejections", 1), least=1)
    if isinstance(name_or_oracle, keras_tuner.Oracle):
        given = ([] if exploration is None else ["exploration"]) + list(options)
        _refuse(given, "of an oracle of your own; set it on the oracle instead")
        return _from_oracle(name_or_oracle, objective, max_trials, hyperparameters, tuner_options)
    name = _check_name(name_or_oracle)
    _check_max_trials(name, max_trials)
    arguments: dict[str, Any] = {
        "objective": make_objective("val_loss" if objective is None else objective),
        "max_trials": max_trials,
        "seed": _check_seed(seed),
        "hyperparameters": hyperparameters,
    }
    if name == "greedy":
        arguments |= _greedy_arguments(exploration, parallelism, options, hyperparameters)
    else:
        given = ([] if exploration is None else ["exploration"]) + list(options)
        _refuse(given, f"that the tuner {name!r} takes; leave it out, or use 'greedy'")
    return Tuner(_ORACLES[name](**arguments), max_trials=max_trials, **tuner_options)


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
    if max_trials is not None:
        oracle.max_trials = max_trials
    if hyperparameters is not None:
        oracle.update_space(hyperparameters)
    return Tuner(oracle, max_trials=oracle.max_trials, **options)


def _greedy_arguments(
    exploration: float | None,
    parallelism: int | None,
    options: dict[str, Any],
    space: keras_tuner.HyperParameters | None,
) -> dict[str, Any]:
    unknown = [key for key in options if key not in _GREEDY_OPTIONS]
    _refuse(unknown, f"that the tuner 'greedy' takes ({', '.join(inspect.signature(GreedyOracle).parameters)})")
    exploration = 0.2 if exploration is None else exploration
    _check_exploration(exploration, parallelism)
    _check_int("cold_start", options.get("cold_start", 5), least=0)
    initial = options.get("initial_hps") or ()
    _check_initial(initial, space)
    return {
        "exploration": exploration,
        "parallelism": parallelism or 1,
        "cold_start": options.get("cold_start", 5),
        "initial_hps": initial,
    }


def _check_name(name: Any) -> str:
    known = ", ".join(repr(n) for n in _ORACLES)
    if isinstance(name, str) and name.lower() in _ORACLES:
        return name.lower()
    near = difflib.get_close_matches(str(name).lower(), _ORACLES, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "Pass one of them."
    raise ConfigError(
        f"Argument `tuner` should be one of {known}, or a `keras_tuner.Oracle`. Received: tuner={name!r}. {hint}"
    )


def _check_max_trials(name: str, max_trials: int | None) -> None:
    if max_trials is None and name.startswith("grid"):
        return
    _check_int("max_trials", max_trials, least=1)


def _check_int(argument: str, value: Any, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"Argument `{argument}` should be an integer of at least {least}. "
            f"Received: {argument}={value!r} (of type {type(value).__name__}). Pass such a number."
        )


def _check_seed(seed: int | None) -> int | None:
    if seed is not None:
        _check_int("seed", seed, least=0)
    return seed


def _check_exploration(exploration: Any, parallelism: int | None) -> None:
    if isinstance(exploration, bool) or not isinstance(exploration, int | float):
        valid = False
    elif isinstance(exploration, int):
        valid = 0 <= exploration <= (1 if parallelism is None else parallelism)
    else:
        valid = 0.0 <= exploration <= 1.0
    if not valid:
        raise ConfigError(
            "Argument `exploration` should be a float between 0.0 and 1.0 (the probability that a trial explores) or "
            "an integer between 0 and `parallelism` (how many of that many trials explore). "
            f"Received: exploration={exploration!r}, parallelism={parallelism!r}. Pass, for example, 0.2."
        )


def _check_initial(initial: Any, space: keras_tuner.HyperParameters | None) -> None:
    if not isinstance(initial, Sequence) or not all(isinstance(values, dict) for values in initial):
        raise ConfigError(
            "Argument `initial_hps` should be a list of dicts from names of hyperparameters to values. "
            f"Received: initial_hps={initial!r}. Pass, for example, [{{'learning_rate': 0.001}}]."
        )
    known = {} if space is None else {hp.name: hp for hp in space.space}
    for name in {name for values in initial for name in values} if known else ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise ConfigError(
                "Argument `initial_hps` should name hyperparameters of the search space. "
                f"Received: {name!r}. Near names: {', '.join(near) or 'none'}; see `search_space_summary()`."
            )
    for name, value in ((name, value) for values in initial for name, value in values.items()) if known else ():
        if not _is_in_range(known[name], value):
            raise ConfigError(
                f"Argument `initial_hps` should give {name!r} a value of its range, {_range(known[name])}. "
                f"Received: {name}={value!r}. Choose one of the range, or widen it with `hyperparameters`."
            )


def _is_in_range(entry: Any, value: Any) -> bool:
    if isinstance(entry, (keras_tuner.engine.hyperparameters.Int, keras_tuner.engine.hyperparameters.Float)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and entry.min_value <= value <= entry.max_value
    return value in entry.values


def _range(entry: Any) -> str:
    if isinstance(entry, (keras_tuner.engine.hyperparameters.Int, keras_tuner.engine.hyperparameters.Float)):
        return f"from {entry.min_value} to {entry.max_value}"
    return ", ".join(map(repr, entry.values))


def _refuse(names: list[str], expectation: str) -> None:
    if names:
        raise ConfigError(
            f"Option `{names[0]}` should be one {expectation}. Received: {', '.join(names)}. Remove what is not needed."
        )
