"""What the user has said so far, from three calls, and what it comes to."""

from __future__ import annotations

import difflib
import math
import numbers
import os
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.search._budgets import Budgets
from cerebro_nas.search._identity import FORCEABLE
from cerebro_nas.search_space import named_columns
from cerebro_nas.stoppers import Stopper
from cerebro_nas.stoppers import make_stoppers
from cerebro_nas.storage import LocalStore
from cerebro_nas.storage import check_name

if TYPE_CHECKING:
    from cerebro_nas.backend import Backend
    from cerebro_nas.search_space import NamedColumns
    from cerebro_nas.storage import Store

_DEFAULTS: dict[str, Any] = {
    "project_name": "auto_model",
    "max_trials": 100,
    "directory": None,
    "objective": None,
    "tuner": "greedy",
    "overwrite": False,
    "max_model_size": None,
    "parallelism": None,
    "hyperparameters": None,
    "seed": None,
    "visit_order": "adaptive",
    "unit_timeout": None,
    "time_budget": None,
    "max_epochs_total": None,
    "target": None,
    "stoppers": None,
    "max_flops": None,
    "max_latency_ms": None,
    "force_fields": (),
}
VISIT_ORDERS = ("adaptive", "fixed")
_AUTO_EPOCHS = 1000
_AUTO_PATIENCE = 10


@dataclass
class Settings:
    """Settings by name; a later `update` wins over an earlier one, except that None says nothing."""

    values: dict[str, Any] = field(default_factory=dict)
    tuner_options: dict[str, Any] = field(default_factory=dict)

    def update(self, **given: Any) -> None:
        """Take over every setting that is not None."""
        self.values.update({name: value for name, value in given.items() if value is not None})

    def __getattr__(self, name: str) -> Any:
        if name not in _DEFAULTS:
            raise AttributeError(name)
        return self.values.get(name, _DEFAULTS[name])

    @property
    def budgets(self) -> Budgets:
        """What the search may use up.

        Raises:
            ConfigError: a budget cannot be used.
        """
        return Budgets.make(time_budget=self.time_budget, max_epochs_total=self.max_epochs_total, target=self.target)

    @property
    def rules(self) -> tuple[Stopper, ...]:
        """What stops trials early.

        Raises:
            ConfigError: it is no such rules.
        """
        return make_stoppers(self.stoppers)

    def check(self) -> None:
        """Check what can be checked without data.

        Raises:
            ConfigError: a setting cannot be used.
        """
        check_name(self.project_name)
        _check_count("max_trials", self.max_trials)
        for name in ("max_model_size", "max_flops", "parallelism"):
            if getattr(self, name) is not None:
                _check_count(name, getattr(self, name))
        if self.parallelism is not None and self.parallelism > self.max_trials:
            raise ConfigError(
                "`parallelism` must be at most `max_trials`: more trials cannot be live than there are. "
                f"Received: parallelism={self.parallelism}, max_trials={self.max_trials}. Change one of them."
            )
        if not isinstance(self.overwrite, bool):
            raise ConfigError(f"`overwrite` must be True or False. Received: overwrite={self.overwrite!r}. Pass one.")
        check_directory(self.directory)
        _check_choice("visit_order", self.visit_order, VISIT_ORDERS)
        fields = self.force_fields
        if not isinstance(fields, (list, tuple, set, frozenset)) or not all(field in FORCEABLE for field in fields):
            raise ConfigError(
                f"`force_fields` must be a list of {', '.join(FORCEABLE)}. "
                f"Received: force_fields={self.force_fields!r}. Graph, objective and data cannot be forced."
            )
        _check_above_0("unit_timeout", self.unit_timeout, "seconds")
        _check_above_0("max_latency_ms", self.max_latency_ms, "milliseconds")
        _ = self.budgets, self.rules
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0):
            raise ConfigError(
                f"`seed` must be an integer of 0 or more. Received: seed={self.seed!r}. Pass one, or None."
            )


@dataclass(frozen=True)
class Resources:
    """What `resource_bind` was given, checked; or what it comes to for arrays.

    Attributes:
        arrays: whether the columns are those that arrays became.
    """

    backend: Backend
    store: Store
    validation: float | str
    evaluation_metric: str
    labels: NamedColumns
    features: NamedColumns
    verbose: int
    num_shards: int
    weight_column: str | None = None
    arrays: bool = False

    @property
    def default_objective(self) -> str:
        """The objective that `evaluation_metric` names, on the validation split."""
        name = "accuracy" if self.evaluation_metric == "acc" else self.evaluation_metric
        return name if name.startswith("val_") else f"val_{name}"


def make_resources(
    *,
    backend: Any,
    store: Any,
    validation: Any,
    evaluation_metric: Any,
    label_columns: Any,
    feature_columns: Any,
    verbose: Any,
    num_shards: Any = None,
    sample_weight_column: Any = None,
) -> Resources:
    """Check the arguments of `resource_bind`.

    Raises:
        ConfigError: one of them cannot be used.
    """
    from cerebro_nas.backend import Backend
    from cerebro_nas.storage import Store

    if not isinstance(backend, Backend):
        raise ConfigError(
            "`backend` must be a backend such as `SparkBackend(spark_context=sc, num_workers=2)`. "
            f"Received: backend={backend!r} (of type {type(backend).__name__}). Pass one from `cerebro_nas.backend`."
        )
    if isinstance(store, (str, os.PathLike)):
        store = LocalStore(store)
    if not isinstance(store, Store):
        raise ConfigError(
            "`store` must be a store such as `LocalStore(prefix_path=...)`, or a path. "
            f"Received: store={store!r} (of type {type(store).__name__}). Pass one from `cerebro_nas.storage`."
        )
    if not isinstance(evaluation_metric, str) or not evaluation_metric:
        raise ConfigError(
            "`evaluation_metric` must be the name of a metric, such as 'accuracy' or 'loss'. "
            f"Received: evaluation_metric={evaluation_metric!r}. Pass a name."
        )
    check_verbose(verbose)
    if num_shards is not None and (isinstance(num_shards, bool) or not isinstance(num_shards, int) or num_shards < 1):
        raise ConfigError(
            "`num_shards` must be a whole number of at least 1, or None for one shard a worker. "
            f"Received: num_shards={num_shards!r}. Leave it out unless workers come and go."
        )
    if sample_weight_column is not None and not (isinstance(sample_weight_column, str) and sample_weight_column):
        raise ConfigError(
            "`sample_weight_column` must be the name of a column, or None. "
            f"Received: sample_weight_column={sample_weight_column!r}. Pass a name."
        )
    return Resources(
        backend=backend,
        store=store,
        validation=_checked_validation(validation),
        evaluation_metric=evaluation_metric,
        labels=named_columns("label_columns", label_columns),
        features=named_columns("feature_columns", feature_columns),
        verbose=verbose,
        num_shards=num_shards or backend.num_workers,
        weight_column=sample_weight_column,
    )


@dataclass(frozen=True)
class FitArguments:
    """What `fit` was given, checked."""

    batch_size: int
    epochs: int
    input_shape: tuple[int, ...] | dict[str, tuple[int, ...]] | None
    patience: int | None
    class_weight: dict[Any, float] | None = None


def make_fit_arguments(
    *, batch_size: Any, epochs: Any, input_shape: Any = None, class_weight: Any = None
) -> FitArguments:
    """Check the arguments of `fit`; `epochs=None` means up to 1000 with early stopping, as in AutoKeras.

    Raises:
        ConfigError: one of them cannot be used.
    """
    batch_size, epochs = _plain(batch_size), _plain(epochs)
    patience = None
    if epochs is None:
        epochs, patience = _AUTO_EPOCHS, _AUTO_PATIENCE
    _check_count("batch_size", batch_size)
    _check_count("epochs", epochs)
    return FitArguments(
        int(batch_size), int(epochs), _checked_shapes(input_shape), patience, _checked_weights(class_weight)
    )


def _checked_weights(given: Any) -> dict[Any, float] | None:
    if given is None:
        return None
    if (
        not isinstance(given, Mapping)
        or not given
        or not all(isinstance(weight, numbers.Real) and 0 <= float(weight) < math.inf for weight in given.values())
    ):
        raise ConfigError(
            "`class_weight` must be a dict from classes to weights of 0 or more. "
            f"Received: class_weight={given!r}. Pass for example {{'cat': 1.0, 'dog': 2.5}}."
        )
    return {_plain(key): float(weight) for key, weight in given.items()}


def _checked_shapes(given: Any) -> tuple[int, ...] | dict[str, tuple[int, ...]] | None:
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {str(name): _checked_shape(shape, given) for name, shape in given.items()}
    return _checked_shape(given, given)


def _checked_shape(shape: Any, given: Any) -> tuple[int, ...]:
    if isinstance(shape, int):
        shape = (shape,)
    if not isinstance(shape, Sequence) or not shape or not all(_is_count(n) for n in shape):
        raise ConfigError(
            "`input_shape` must be a tuple of positive integers, the shape of one row without the batch "
            f"dimension, or a dict of them by column. Received: input_shape={given!r}. Pass for example (28, 28, 1)."
        )
    return tuple(int(n) for n in shape)


def check_directory(value: Any) -> None:
    """Refuse what is no directory for searches.

    Raises:
        ConfigError: it is neither a path nor None.
    """
    if value is not None and (not isinstance(value, (str, os.PathLike)) or not os.fspath(value)):
        raise ConfigError(
            f"`directory` must be a path, or None. Received: directory={value!r}. Pass the directory in "
            "which searches are kept."
        )


def check_verbose(verbose: Any) -> None:
    """Check `verbose`.

    Raises:
        ConfigError: it is none of the values that mean something.
    """
    if verbose not in (0, 1, 2, "auto"):
        raise ConfigError(f"`verbose` must be 0, 1, 2 or 'auto'. Received: verbose={verbose!r}. Choose one of them.")


def refuse_unknown(kwargs: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Refuse keyword arguments that nothing would read.

    Raises:
        ConfigError: there is one; the message names the nearest known one.
    """
    for name, value in kwargs.items():
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known arguments are: {', '.join(sorted(known))}."
        raise ConfigError(f"`{where}` has no argument {name!r}. Received: {name}={value!r}. {hint}")


def _check_above_0(name: str, value: Any, unit: str) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
        raise ConfigError(
            f"`{name}` must be {unit} above 0, or None. Received: {name}={value!r}. Leave it out to have no limit of "
            "your own."
        )


def _check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"`{name}` must be one of {', '.join(map(repr, known))}. Received: {name}={value!r}.")


def _checked_validation(value: Any) -> float | str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 < value < 1:
        return float(value)
    raise ConfigError(
        "`validation` must be a fraction between 0 and 1, or the name of a boolean column. "
        f"Received: validation={value!r}. Pass for example 0.2."
    )


def _plain(value: Any) -> Any:
    """NumPy's whole numbers as Python's; anything else as it is."""
    return value if isinstance(value, bool) or not isinstance(value, numbers.Integral) else int(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_count(name: str, value: Any) -> None:
    if not _is_count(value):
        raise ConfigError(f"`{name}` must be a positive integer. Received: {name}={value!r}. Pass 1 or more.")
