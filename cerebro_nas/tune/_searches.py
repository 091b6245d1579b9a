"""`GridSearch`, `RandomSearch` and `TPESearch`, with Cerebro's names and arguments."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas import search
from cerebro_nas.errors import ConfigError
from cerebro_nas.keras import SETTINGS
from cerebro_nas.keras import EstimatorSearch
from cerebro_nas.keras import SparkEstimator
from cerebro_nas.tune._hyperparameters import Choice
from cerebro_nas.tune._hyperparameters import Hyperparameter
from cerebro_nas.tune._hyperparameters import ParameterSpace

if TYPE_CHECKING:
    import os

    from cerebro_nas.backend import Backend
    from cerebro_nas.storage import Store

_DEFAULT_NAME = "model_selection"
_TPE_OPTIONS = ("gamma", "n_ei_candidates", "n_startup_jobs", "prior_weight")


class _ModelSelection(EstimatorSearch):
    """What the three searches share."""

    def __init__(
        self,
        algorithm: str,
        arguments: Mapping[str, Any],
        settings: Mapping[str, Any],
        options: Sequence[str] = (),
        **own: Any,
    ) -> None:
        where = dict(arguments)
        make, entries = where.pop("estimator_gen_fn"), where.pop("search_space")
        num_epochs = where.pop("num_epochs")
        known = [name for name in (*SETTINGS, *options) if name not in own]
        unknown = {name: value for name, value in settings.items() if name not in known}
        search.refuse_unknown(unknown, (*known, *arguments), type(self).__name__)
        chosen = {name: value for name, value in settings.items() if name not in options}
        parameters = ParameterSpace(entries)
        super().__init__(
            make,
            parameters,
            where=where,
            num_epochs=num_epochs,
            tuner=algorithm,
            settings=self._limited({"project_name": _DEFAULT_NAME, **chosen, **own}, parameters),
            options={name: value for name, value in settings.items() if name in options},
        )

    def _limited(self, settings: dict[str, Any], parameters: ParameterSpace) -> dict[str, Any]:
        """The settings, with what the search space says of them."""
        return settings


class GridSearch(_ModelSelection):
    """Trains every combination of a search space of choices.

    Candidates hop between workers: each visits every part of the data once an epoch, so the result of a candidate
    does not depend on how many others there are. Call `fit` with the same arguments again to go on with a search that
    was interrupted, or to get the result of one that has ended; `overwrite=True` begins anew.

    Args:
        backend: `SparkBackend` or `LocalBackend`.
        store: where prepared data and states go: a `LocalStore`, or its path.
        estimator_gen_fn: from a dict of parameters (one value for each name of `search_space`) to a `SparkEstimator`.
            It is called once for each candidate, and a few times to look at what it makes.
        search_space: dict from names to what `hp_choice` gives.
        num_epochs: epochs of a candidate at most.
        evaluation_metric: metric of the validation rows that candidates are compared by: accuracies are maximised,
            losses minimised.
        validation: fraction of the rows that candidates are validated on, or a column of booleans or numbers whose
            True, or other than 0, marks them.
        label_columns: one column for each output of the model.
        feature_columns: columns that feed its inputs: all of them a single one, else one for each, or a list of
            lists, or a dict by the input's name. Rows of a column of tensors get the shape of the input.
        verbose: 0 silent, 1 live where the output can do that, 2 plain lines.
        **settings: `project_name` (`"model_selection"`), `directory`, `overwrite`, `seed` (2020, or what the
            environment's `CEREBRO_RANDOM_SEED` says), `parallelism` (live candidates; twice the workers), `objective`
            (instead of `evaluation_metric`), `num_shards`, `sample_weight_column`, `max_model_size`, `max_flops`,
            `max_latency_ms`, `visit_order`, `unit_timeout`, `time_budget`, `max_epochs_total`, `target`, `stoppers`,
            `force_fields`: see `HyperHyperModel.resource_bind` and `tuner_bind`.

    Raises:
        ConfigError: an argument cannot be used.
    """

    def __init__(
        self,
        backend: Backend,
        store: Store | str | os.PathLike[str],
        estimator_gen_fn: Callable[[dict[str, Any]], SparkEstimator],
        search_space: Mapping[str, Hyperparameter],
        num_epochs: int,
        evaluation_metric: str = "loss",
        validation: float | str = 0.25,
        label_columns: Any = ("label",),
        feature_columns: Any = ("features",),
        verbose: Any = 1,
        **settings: Any,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name in _SHARED}
        super().__init__("grid", arguments, settings)

    def _limited(self, settings: dict[str, Any], parameters: ParameterSpace) -> dict[str, Any]:
        count = parameters.count
        if count is None:
            ranges = {name: entry for name, entry in parameters.entries.items() if not isinstance(entry, Choice)}
            raise ConfigError(
                "`search_space` of `GridSearch` must hold what `hp_choice` gives: a range has no end of values. "
                f"Received: {ranges!r}. List the values with `hp_choice`, or use `RandomSearch` or `TPESearch`."
            )
        asked = settings.get("parallelism")
        # More than there are would be refused, and a grid may well be smaller than a cluster.
        live = min(asked, count) if isinstance(asked, int) and not isinstance(asked, bool) else asked
        return {**settings, "max_trials": count, "parallelism": live}


class RandomSearch(_ModelSelection):
    """Trains combinations that are drawn at random, each parameter independently of the others.

    No combination is drawn twice; where there are fewer than `num_models`, all of them are trained.

    Args:
        backend: see `GridSearch`.
        store: see `GridSearch`.
        estimator_gen_fn: see `GridSearch`.
        search_space: dict from names to what `hp_choice`, `hp_uniform`, `hp_quniform`, `hp_loguniform` and
            `hp_qloguniform` give.
        num_models: candidates to train.
        num_epochs: see `GridSearch`.
        evaluation_metric: see `GridSearch`.
        validation: see `GridSearch`.
        label_columns: see `GridSearch`.
        feature_columns: see `GridSearch`.
        verbose: see `GridSearch`.
        **settings: see `GridSearch`.

    Raises:
        ConfigError: an argument cannot be used.
    """

    def __init__(
        self,
        backend: Backend,
        store: Store | str | os.PathLike[str],
        estimator_gen_fn: Callable[[dict[str, Any]], SparkEstimator],
        search_space: Mapping[str, Hyperparameter],
        num_models: int,
        num_epochs: int,
        evaluation_metric: str = "loss",
        validation: float | str = 0.25,
        label_columns: Any = ("label",),
        feature_columns: Any = ("features",),
        verbose: Any = 1,
        **settings: Any,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name in _SHARED}
        super().__init__("random", arguments, settings, max_trials=_checked_models(num_models))


class TPESearch(_ModelSelection):
    """Trains combinations that a tree-structured Parzen estimator thinks likely to be good.

    It learns from each candidate as that ends, and does not wait for a batch of them. The first fifth of
    `num_models` is random, but at most 20; `n_startup_jobs` says how many otherwise.

    Args:
        backend: see `GridSearch`.
        store: see `GridSearch`.
        estimator_gen_fn: see `GridSearch`.
        search_space: see `RandomSearch`.
        num_models: candidates to train.
        num_epochs: see `GridSearch`.
        evaluation_metric: see `GridSearch`.
        validation: see `GridSearch`.
        label_columns: see `GridSearch`.
        feature_columns: see `GridSearch`.
        parallelism: live candidates at a time; twice the number of workers by default.
        verbose: see `GridSearch`.
        **settings: see `GridSearch`; and `gamma`, `n_ei_candidates`, `n_startup_jobs`, `prior_weight` of hyperopt.

    Raises:
        ConfigError: an argument cannot be used.
    """

    def __init__(
        self,
        backend: Backend,
        store: Store | str | os.PathLike[str],
        estimator_gen_fn: Callable[[dict[str, Any]], SparkEstimator],
        search_space: Mapping[str, Hyperparameter],
        num_models: int,
        num_epochs: int,
        evaluation_metric: str = "loss",
        validation: float | str = 0.25,
        label_columns: Any = ("label",),
        feature_columns: Any = ("features",),
        parallelism: int | None = None,
        verbose: Any = 1,
        **settings: Any,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name in _SHARED}
        models = _checked_models(num_models)
        super().__init__("tpe", arguments, settings, _TPE_OPTIONS, max_trials=models, parallelism=parallelism)


_SHARED = (
    *("backend", "store", "estimator_gen_fn", "search_space", "num_epochs", "evaluation_metric", "validation"),
    *("label_columns", "feature_columns", "verbose"),
)


def _checked_models(value: Any) -> int:
    if not isinstance(value, bool) and isinstance(value, numbers.Integral) and int(value) >= 1:
        return int(value)
    raise ConfigError(f"`num_models` must be a positive integer. Received: num_models={value!r}. Pass 1 or more.")
