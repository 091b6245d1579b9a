"""What `fixed_arch_search` was given, checked, and the space that it searches."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas import search
from cerebro_nas.errors import ConfigError
from cerebro_nas.hypermodel._fixed_arch_space import fixed_arch_space
from cerebro_nas.hypermodel._fixed_arch_space import random_architecture
from cerebro_nas.tracking import make_reporter

if TYPE_CHECKING:
    import keras_tuner

    from cerebro_nas.results import ModelSelectionResult
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
    fixed_arch_space(keras_tuner.HyperParameters(), {}, {**found, "optimizer": None})
    return found


def architecture_of(
    known: keras_tuner.HyperParameters,
    architecture: Mapping[str, Any] | None,
    before: ModelSelectionResult | None,
    seed: int,
    verbose: Any,
) -> dict[str, Any]:
    """The values of one architecture.

    Args:
        known: the complete space.
        architecture: values of hyperparameters, the others take their defaults; None: those of the best trial of a
            search, or random ones, which are then shown.
        before: result of that search, None where there was none.
        seed: of the random ones.
        verbose: as `make_reporter` takes it.

    Raises:
        ConfigError: the graph has no such hyperparameter, or its value is of another kind.
    """
    if architecture is None and before is not None:
        architecture = before.best_model.hyperparameters
    if architecture is not None:
        return _completed(known, architecture)
    found = random_architecture(known, seed)
    shown = {name: value for name, value in found.items() if name not in _TRAINING}
    # Plain, as this comes before the search whose display would show it.
    make_reporter(2 if verbose else 0).message(
        f"There was no search before whose best architecture could be taken. A random one is, by seed={seed}: {shown}. "
        "Pass `architecture` to choose another."
    )
    return found


def space_of_one(
    space: SearchSpace,
    known: keras_tuner.HyperParameters,
    architecture: Mapping[str, Any],
    choices: Mapping[str, list[Any] | None],
) -> tuple[keras_tuner.HyperParameters, int]:
    """The entries that leave nothing free but the training, and how many combinations of it there are.

    Args:
        space: configured for the data.
        known: the complete space, with what the user has replaced of the graph's.
        architecture: what `architecture_of` returned.
        choices: what `check_arguments` returned.

    Raises:
        ConfigError: the graph has no such optimizer.
    """
    import keras_tuner

    if choices["batch_size"] is None and all(hp.name != "batch_size" for hp in known.space):
        choices = {**choices, "batch_size": [_BATCH_SIZE]}
    entries, count = fixed_arch_space(known, architecture, choices)
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

    # Under other conditions there may be another entry of the same name.
    entries: dict[str, list[Any]] = {}
    for hp in space.space:
        entries.setdefault(hp.name, []).append(hp)
    for name, value in architecture.items():
        if name in _TRAINING:
            continue
        if name not in entries:
            near = difflib.get_close_matches(str(name), entries, n=3)
            raise ConfigError(
                f"`architecture` must name hyperparameters of the search space. Received: {name!r}. "
                f"Near names: {', '.join(near) or 'none'}; see `tuner.search_space_summary()`."
            )
        if not any(_takes(hp, value) for hp in entries[name]):
            raise ConfigError(
                f"`architecture` must give {name!r} {_expected(entries[name][0], value)}. Received: {name}={value!r} "
                f"(of type {type(value).__name__}). Pass for example {entries[name][0].default!r}."
            )
    return RandomOracle(objective=None, max_trials=1, hyperparameters=space).complete(architecture)


def _takes(hp: Any, value: Any) -> bool:
    from keras_tuner.engine.hyperparameters import Choice

    return _is_of_kind(hp, value) and (not isinstance(hp, Choice) or value in hp.values)


def _is_of_kind(hp: Any, value: Any) -> bool:
    kind = _kind(hp)
    return isinstance(value, _KINDS[kind][0]) and isinstance(value, bool) == (kind is bool)


def _kind(hp: Any) -> type:
    from keras_tuner.engine.hyperparameters import Float
    from keras_tuner.engine.hyperparameters import Int

    # Not that of the default: AutoKeras' choice of 0.0, 0.25 and 0.5 has a whole number for one.
    return int if isinstance(hp, Int) else float if isinstance(hp, Float) else type(hp.values[0])


def _expected(hp: Any, value: Any) -> str:
    return f"one of {', '.join(map(repr, hp.values))}" if _is_of_kind(hp, value) else _KINDS[_kind(hp)][1]


def settings_of_one(
    before: search.Settings, objective: Any, overrides: keras_tuner.HyperParameters, count: int
) -> search.Settings:
    """The settings of the search over one architecture's `count` configurations, from those of the search before."""
    kept = {key: value for key, value in before.values.items() if key not in _OF_ONE_SEARCH}
    found = search.Settings({**kept, "parallelism": before.parallelism and min(before.parallelism, count)})
    found.update(tuner="grid", objective=objective, hyperparameters=overrides, max_trials=count)
    found.update(project_name=f"{before.project_name}_fixed_arch")
    return found
