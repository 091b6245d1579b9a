"""What can be said of arguments before there is data, and what an oracle of the user's own brings with it."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError

if TYPE_CHECKING:
    from cerebro_nas import search

_UNSET = "default_objective"


def need_tensorflow() -> None:
    """Refuse to work without TensorFlow.

    Raises:
        ImportError: it is not installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(
            "`HyperHyperModel` needs TensorFlow, which is not installed. Install it in the checkout of cerebro_nas: "
            "`pip install -e '.[cpu]'`, or `pip install -e '.[gpu]'` for NVIDIA GPUs."
        )


def is_oracle(tuner: Any) -> bool:
    """Whether it is an oracle and no name of a tuner."""
    import keras_tuner

    return isinstance(tuner, keras_tuner.Oracle)


def objective_of(settings: search.Settings) -> Any:
    """The objective that the user has named, to us or to an oracle; None where neither."""
    if settings.objective is not None or not is_oracle(settings.tuner):
        return settings.objective
    return None if settings.tuner.objective.name == _UNSET else settings.tuner.objective


def max_trials_of(settings: search.Settings) -> int | None:
    """Trials at most: those that the user has named to us, those of an oracle, or the default: all of a grid, 100."""
    own = settings.tuner.max_trials if is_oracle(settings.tuner) else None
    given = settings.values.get("max_trials") or own
    if given is None and isinstance(settings.tuner, str) and settings.tuner.lower().startswith("grid"):
        return None
    return int(given or settings.max_trials)


def check_oracle(settings: search.Settings) -> None:
    """Check what is given along with an oracle, and leave that alone: it is the user's.

    Raises:
        ConfigError: it is used already, or contradicts what else is given.
    """
    from cerebro_nas.tuners import make_objective

    oracle, name = settings.tuner, type(settings.tuner).__name__
    if settings.tuner_options:
        raise ConfigError(
            "`tuner_bind` takes options of a tuner with its name only. "
            f"Received: {', '.join(sorted(settings.tuner_options))} with an oracle of class {name}. Give the oracle "
            "its options where you make it."
        )
    if oracle.trials:
        raise ConfigError(
            "`tuner` must be an oracle that has given no trials yet. "
            f"Received: {name} with {len(oracle.trials)} trials. Make a new one with the same arguments."
        )
    if settings.objective is None or oracle.objective.name == _UNSET:
        return
    if make_objective(settings.objective) != oracle.objective:
        raise ConfigError(
            f"`objective` must be that of the oracle, {oracle.objective}, or None. "
            f"Received: objective={settings.objective!r}. Leave one of them out."
        )


def refuse_arrays(df: Any) -> None:
    """Refuse an array where a DataFrame belongs: who calls `fit(x, y)` as in AutoKeras has labels as `batch_size`.

    Raises:
        ConfigError: it is one, or a list or dict of them.
    """
    if isinstance(df, list | tuple | dict) or hasattr(type(df), "__array__"):
        raise ConfigError(
            f"`df` must be a Spark DataFrame. Received: an object of type {type(df).__name__}. "
            "Pass arrays by name: `fit(x=..., y=...)`."
        )


def check_hyperparameters(given: Any) -> None:
    """Check entries that replace those of the graph, as far as they can be judged without it.

    Raises:
        ConfigError: they are no `HyperParameters`, or a batch size among them can be no batch size.
    """
    import keras_tuner

    if given is None:
        return
    if not isinstance(given, keras_tuner.HyperParameters):
        raise ConfigError(
            "`hyperparameters` must be a `keras_tuner.HyperParameters`, or None. "
            f"Received: hyperparameters={given!r} (of type {type(given).__name__}). Make one, and call for example "
            '`hp.Fixed("learning_rate", 0.001)` on it.'
        )
    for entry in given.space:
        if entry.name == "batch_size" and not all(_is_batch_size(value) for value in _ends(entry)):
            raise ConfigError(
                "`hyperparameters` must give 'batch_size' whole numbers of at least 1. "
                f"Received: {entry}. Use `hp.Choice` or `hp.Int` with such numbers."
            )


def _ends(entry: Any) -> list[Any]:
    low = getattr(entry, "min_value", None)
    return list(entry.values) if low is None else [low, entry.max_value]


def _is_batch_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
