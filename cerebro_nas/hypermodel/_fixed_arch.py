"""What `fixed_arch_search` was given, checked, and the space that it searches."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas import search
from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
    import keras_tuner

    from cerebro_nas.search_space import SearchSpace

# They would end this search, or a good trial of it, for what was said of another one.
_OF_ONE_SEARCH = ("time_budget", "max_epochs_total", "target", "stoppers")
_BATCH_SIZE = 32
_TRAINING = {"optimizer": "names of optimizers", "learning_rate": "numbers above 0", "batch_size": "whole numbers"}
_KINDS: dict[type, tuple[Any, str]] = {
    bool: (bool, "True or False"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "a text"),
}


def check_arguments(choices: Mapping[str, Any], architecture: Any) -> dict[str, list[Any] | None]:
    """Check what can be checked without data, and return the choices as lists.

    Args:
        choices: values of `optimizer`, `learning_rate` and `batch_size`, None for those not given.
        architecture: values of hyperparameters, or None.

    Raises:
        ConfigError: one of them cannot be used.
    """
    import keras_tuner

    if architecture is not None and not isinstance(architecture, Mapping):
        raise ConfigError(
            "`architecture` must be a dict from names of hyperparameters to values, or None. "
            f"Received: architecture={architecture!r} (of type {type(architecture).__name__}). Pass for example "
            "`result.best_model.hyperparameters`."
        )
    found = {name: None if given is None else _listed(name, given) for name, given in choices.items()}
    # Which optimizers there are, the graph says, and it needs data to be built.
    search.fixed_arch_space(keras_tuner.HyperParameters(), {}, {**found, "optimizer": None})
    return found


def space_of_one(
    space: SearchSpace,
    hyperparameters: keras_tuner.HyperParameters | None,
    architecture: Mapping[str, Any] | None,
    choices: Mapping[str, list[Any] | None],
    seed: int,
) -> tuple[keras_tuner.HyperParameters, int]:
    """The entries that leave nothing free but the training, and how many combinations of it there are.

    Args:
        space: configured for the data.
        hyperparameters: what the user has replaced of the graph's.
        architecture: values of hyperparameters, the others take their defaults; None: random ones.
        choices: what `check_arguments` returned.
        seed: of the random ones.

    Raises:
        ConfigError: the graph has no such hyperparameter, or its value is of another kind.
    """
    import keras_tuner

    known = space.explore(hyperparameters)
    values = search.random_architecture(known, seed) if architecture is None else _completed(known, architecture)
    if choices["batch_size"] is None and all(hp.name != "batch_size" for hp in known.space):
        choices = {**choices, "batch_size": [_BATCH_SIZE]}
    entries, count = search.fixed_arch_space(known, values, choices)
    # The complete space has parts that this architecture does not: of three layers' units one has but the first's.
    used = {hp.name for hp in space.explore(entries, warn_unused=False).space}
    kept = keras_tuner.HyperParameters()
    kept.merge([hp for hp in entries.space if hp.name in used])
    return kept, count


def _listed(name: str, given: Any) -> list[Any]:
    kind = str if name == "optimizer" else numbers.Real
    if not isinstance(given, (list, tuple)) or not given or not all(isinstance(value, kind) for value in given):
        raise ConfigError(
            f"`{name}` must be a list of {_TRAINING[name]}, at least one, or None. Received: {name}={given!r}. "
            "Pass such a list."
        )
    # KerasTuner's choices are of one type.
    return [float(v) if name == "learning_rate" and not isinstance(v, bool) else v for v in given]


def _completed(space: keras_tuner.HyperParameters, architecture: Mapping[str, Any]) -> dict[str, Any]:
    from cerebro_nas.tuners import RandomOracle

    defaults = {hp.name: hp.default for hp in space.space}
    for name, value in architecture.items():
        if name in _TRAINING:
            continue
        if name not in defaults:
            near = difflib.get_close_matches(str(name), defaults, n=3)
            raise ConfigError(
                f"`architecture` must name hyperparameters of the search space. Received: {name!r}. "
                f"Near names: {', '.join(near) or 'none'}; see `tuner.search_space_summary()`."
            )
        kind, expected = _KINDS[type(defaults[name])]
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise ConfigError(
                f"`architecture` must give {name!r} {expected}. Received: {name}={value!r} (of type "
                f"{type(value).__name__}). Pass for example {defaults[name]!r}."
            )
    return RandomOracle(objective=None, max_trials=1, hyperparameters=space).complete(architecture)


def settings_of_one(
    before: search.Settings, objective: Any, overrides: keras_tuner.HyperParameters, count: int
) -> search.Settings:
    """The settings of the search over one architecture's `count` configurations, from those of the search before."""
    kept = {key: value for key, value in before.values.items() if key not in _OF_ONE_SEARCH}
    found = search.Settings({**kept, "parallelism": before.parallelism and min(before.parallelism, count)})
    found.update(tuner="grid", objective=objective, hyperparameters=overrides, max_trials=count)
    found.update(project_name=f"{before.project_name}_fixed_arch")
    return found
