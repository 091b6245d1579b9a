"""What `AutoModel(tuner=..., **kwargs)` takes, as `tuner_bind` takes it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import keras_tuner
from autokeras import tuners as autokeras_tuners
from autokeras.engine.tuner import AutoTuner
from autokeras.tuners import task_specific

from cerebro_nas.errors import ConfigError
from cerebro_nas.tasks._starts import STARTS
from cerebro_nas.tasks._starts import starts
from cerebro_nas.tuners import known_tuner
from cerebro_nas.tuners import tuner_names

_CLASSES = {
    autokeras_tuners.Greedy: "greedy",
    autokeras_tuners.RandomSearch: "random",
    autokeras_tuners.BayesianOptimization: "bayesian",
    autokeras_tuners.Hyperband: "hyperband",
}
_OF_TASKS = {
    task_specific.ImageClassifierTuner: "image_classifier",
    task_specific.TextClassifierTuner: "text_classifier",
    task_specific.StructuredDataClassifierTuner: "structured_data_classifier",
    task_specific.StructuredDataRegressorTuner: "structured_data_regressor",
}
# Arguments of `keras_tuner.Tuner` that say what is so anyway, with what they may be, and why they may be nothing else.
_GIVEN: dict[str, tuple[Any, str]] = {
    "allow_new_entries": (True, "the whole space is known before the search begins"),
    "tune_new_entries": (True, "the whole space is known before the search begins"),
    "distribution_strategy": (None, "candidates hop between workers, each of which trains on its own"),
    "executions_per_trial": (1, "a trial is trained once"),
    "logger": (None, "use `keras.callbacks.TensorBoard`, or the journal in the search's directory"),
    "loss": (None, "give the head its `loss`"),
    "max_consecutive_failed_trials": (3, "a search ends when the first trials all fail alike"),
    "max_retries_per_trial": (0, "what a trial is not to blame for is tried again on another worker anyway"),
    "metrics": (None, "give the head its `metrics`"),
    "optimizer": (None, "the optimizer is tuned; fix it with `hyperparameters`"),
    "tuner_id": (None, "one driver runs the search"),
}
# Names of KerasTuner's options, and ours.
_RENAMED = {"hyperband": {"hyperband_iterations": "iterations"}, "bayesian": {"beta": "kappa"}}


@dataclass(frozen=True)
class TunerChoice:
    """A tuner with its options.

    Attributes:
        tuner: a name, or an oracle.
        options: for `tuner_bind`.
        max_epochs: epochs of a trial in Hyperband's longest bracket, where the user has said it.
    """

    tuner: Any
    options: dict[str, Any] = field(default_factory=dict)
    max_epochs: int | None = None


def choose_tuner(tuner: Any, kwargs: Mapping[str, Any]) -> TunerChoice:
    """Read `tuner` and the further arguments that a tuner of AutoKeras takes.

    Raises:
        ConfigError: one of them cannot be used.
    """
    name, options = _name(tuner), dict(kwargs)
    for key, (value, reason) in _GIVEN.items():
        if key in options and options.pop(key) != value:
            raise ConfigError(f"`{key}` must be {value!r}: {reason}. Received: {key}={kwargs[key]!r}. Leave it out.")
    max_epochs = options.pop("max_epochs", None) if name == "hyperband" else None
    for old, new in _RENAMED.get(str(name), {}).items():
        if old in options:
            options[new] = options.pop(old)
            if new == "kappa":
                # What `beta` is of: KerasTuner's acquisition function.
                options.setdefault("acquisition", "lcb")
    if inspect.isclass(tuner) and tuner in _OF_TASKS and "initial_hps" not in options:
        options["initial_hps"] = starts(_OF_TASKS[tuner], options.get("hyperparameters"))
    if name == "greedy":
        # AutoKeras' own varies the best trial always.
        options.setdefault("exploration", 0.0)
    return TunerChoice(tuner if name is None else name, options, max_epochs)


def task_tuner(task: str, tuner: Any, kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The tuner of a task that the user has chosen none for: greedy, beginning with what AutoKeras begins with."""
    if tuner is not None:
        return tuner, dict(kwargs)
    begin = {"initial_hps": starts(task, kwargs.get("hyperparameters"))} if task in STARTS else {}
    return "greedy", {**begin, **kwargs}


def _name(tuner: Any) -> str | None:
    """Name of the tuner; None for an oracle."""
    if isinstance(tuner, keras_tuner.Oracle):
        return None
    known = known_tuner(tuner)
    if known is not None:
        return known
    if inspect.isclass(tuner) and tuner in _CLASSES:
        return _CLASSES[tuner]
    if inspect.isclass(tuner) and tuner in _OF_TASKS:
        return "greedy"
    if inspect.isclass(tuner) and issubclass(tuner, AutoTuner):
        raise ConfigError(
            "`tuner` may be one of AutoKeras' own tuner classes, and none of their subclasses: the methods of a tuner "
            f"train models in this process, and would not be called. Received: tuner={tuner.__name__}. Write a "
            "`keras_tuner.Oracle`, which says what to try next, and pass an instance of it."
        )
    near = difflib.get_close_matches(tuner.lower(), tuner_names(), n=1) if isinstance(tuner, str) else []
    hint = f"Did you mean {near[0]!r}?" if near else "Pass one of them."
    raise ConfigError(
        f"Expected the tuner argument to be one of {', '.join(map(repr, tuner_names()))}, an AutoKeras tuner class or "
        f"a `keras_tuner.Oracle`. Received: tuner={tuner!r}. {hint}"
    )
