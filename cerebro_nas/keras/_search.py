"""A search over what a function of the user's makes, run like every other search."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas import search
from cerebro_nas.errors import ConfigError
from cerebro_nas.hypermodel import Searching

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from cerebro_nas.keras._candidate import MakeEstimator
    from cerebro_nas.keras._space import EstimatorSpace
    from cerebro_nas.keras._space import Parameters
    from cerebro_nas.results import ModelSelectionResult
    from cerebro_nas.results import TrialModel
    from cerebro_nas.search import FitArguments

SETTINGS = (
    *("project_name", "directory", "overwrite", "seed", "objective", "num_shards", "max_model_size", "max_flops"),
    *("max_latency_ms", "visit_order", "unit_timeout", "time_budget", "max_epochs_total", "target", "stoppers"),
    *("force_fields", "parallelism", "sample_weight_column"),
)
"""Settings that every search takes; `HyperHyperModel.resource_bind` and `tuner_bind` say what they mean."""

_OF_RESOURCES = ("num_shards", "sample_weight_column")
_ACCURACY = ("accuracy", "acc")
_TENSORS = ("vector", "array", "binary", "image")
_SEED_VARIABLE = "CEREBRO_RANDOM_SEED"
_SEED = 2020


class EstimatorSearch(Searching):
    """Searches what a function makes of parameters.

    Args:
        make: from a dict of parameters to a `SparkEstimator`.
        parameters: the search space.
        where: arguments of `search.make_resources`.
        num_epochs: epochs of a candidate at most.
        tuner: name of the search algorithm.
        settings: some of `SETTINGS`.
        options: options of the search algorithm.

    Raises:
        ConfigError: an argument cannot be used.
    """

    def __init__(
        self,
        make: MakeEstimator,
        parameters: Parameters,
        *,
        where: Mapping[str, Any],
        num_epochs: Any,
        tuner: str,
        settings: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not callable(make):
            raise ConfigError(
                "`estimator_gen_fn` must be a function from a dict of parameters to a `SparkEstimator`. "
                f"Received: estimator_gen_fn={make!r} (of type {type(make).__name__}). Pass the function itself."
            )
        given = {"seed": _default_seed(), **{name: value for name, value in settings.items() if value is not None}}
        more = {name: given.pop(name) for name in _OF_RESOURCES if name in given}
        chosen = search.Settings(tuner_options=dict(options or {}))
        chosen.update(tuner=tuner, **given)
        chosen.check()
        self._num_epochs = _checked_epochs(num_epochs)
        resources = search.make_resources(**where, **more)
        from cerebro_nas.keras._space import EstimatorSpace

        space: Any = EstimatorSpace(make, parameters, seed=int(chosen.seed or 0))
        super().__init__(space, chosen)
        self._resources = resources

    @property
    def directory(self) -> str:
        """Directory of the search's files: the name of the project and that of the algorithm."""
        name = f"{self.project_name}_{self._settings.tuner}"
        given = self._settings.directory
        return self._bound("directory").store.runs_url(name) if given is None else f"{given}/{name}"

    def fit(self, df: DataFrame) -> ModelSelectionResult:
        """Prepare the data and search. The same call goes on with a search that was interrupted.

        Args:
            df: one row per example.

        Returns:
            The result: best model, all other models, leaderboard, schedule.

        Raises:
            ConfigError: an argument, or what the function returns, cannot be used.
            DataError: the data cannot be used; the message lists every problem.
            ResumeMismatchError: there is a search of this name, and it is another one.
            BackendError: there are fewer slots than workers, or the backend failed.
            SearchAborted: the search could not go on.
        """
        df = self._with_flags(df)
        arguments, rules, logdirs = self._arguments(df)
        self._check(None, arguments)
        self._check_data(df, arguments)
        with self._claim() as claim, self._bound("fit").backend as backend:
            if not self._has_ended(claim, arguments):
                # Workers import TensorFlow while Spark prepares the data.
                backend.launch()
            self._prepare(df, arguments, claim.session)
            return self._search(claim, arguments, rules, logdirs, None)

    def prepare_data(self, df: DataFrame) -> None:
        """Prepare the data without training; `fit_on_prepared_data` goes on from there.

        Args:
            df: see `fit`.

        Raises:
            ConfigError: see `fit`.
            DataError: see `fit`.
        """
        df = self._with_flags(df)
        arguments, _, _ = self._arguments(df)
        self._check(None, arguments)
        self._check_data(df, arguments)
        with self._claim() as claim:
            self._prepare(df, arguments, claim.session)

    def fit_on_prepared_data(self) -> ModelSelectionResult:
        """Search on the data that `prepare_data`, or `fit` of any search of this `project_name`, left in the store.

        Raises:
            StoreError: no prepared data is there.
            DataError: what is there was made from other columns.
        """
        from cerebro_nas.data import check_fingerprint
        from cerebro_nas.data import load_prepared

        arguments, rules, logdirs = self._arguments(None)
        resources = self._bound("fit_on_prepared_data")
        self._check(None, arguments)
        resources.backend.check()
        prepared = load_prepared(resources.store, self.project_name)
        layout = self._layout(None)
        check_fingerprint(
            prepared,
            None,
            feature_columns=layout.feature_columns,
            label_columns=layout.labels,
            uses=layout.uses,
            weight_column=resources.weight_column,
        )
        self._prepared = prepared
        with self._claim() as claim, resources.backend:
            return self._search(claim, arguments, rules, logdirs, None)

    def params_of(self, model: TrialModel) -> dict[str, Any]:
        """What the function was given for a trial of the result: `best_model`, or one of `get_all_models()`."""
        return self._estimators.params(model.hyperparameters)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(project_name={self.project_name!r}, max_trials={self.max_trials})"

    @property
    def _estimators(self) -> EstimatorSpace:
        found: Any = self._space
        return found  # type: ignore[no-any-return]

    def _objective(self, settings: search.Settings) -> Any:
        metric = self._bound("fit").evaluation_metric
        if settings.objective is None and metric in _ACCURACY:
            # Keras logs it under the name that the estimator gave it.
            logged = [name for name in _ACCURACY if name in self._estimators.metric_names]
            return f"val_{logged[0] if logged else metric}"
        return super()._objective(settings)

    def _arguments(self, df: Any) -> tuple[FitArguments, list[search.StoppingRule], list[str]]:
        """What `HyperHyperModel.fit` is given, from the first candidate."""
        first = self._estimators.first
        shapes = None if df is None else self._shapes(df)
        arguments = search.make_fit_arguments(
            batch_size=first.spec.batch_size, epochs=self._num_epochs, input_shape=shapes or None
        )
        return arguments, list(first.rules), list(first.logdirs)

    def _with_flags(self, df: Any) -> Any:
        """The rows with a boolean `validation` column; Cerebro took numbers as well."""
        from cerebro_nas.data import rows_of

        name = self._bound("fit").validation
        if not isinstance(name, str) or not hasattr(df, "withColumn") or df.columns.count(name) != 1:
            return df
        if rows_of(df).kind(name) != "number":
            return df
        quoted = "`" + name.replace("`", "``") + "`"
        return df.withColumn(name, df[quoted].cast("boolean"))

    def _shapes(self, df: Any) -> dict[str, Sequence[int]]:
        """Rows of a column of tensors get the shape of the input that they feed."""
        from cerebro_nas.data import rows_of

        if not hasattr(df, "schema") or not hasattr(df, "columns"):
            return {}  # it is refused later
        resources, inputs = self._bound("fit"), self._estimators.first.inputs
        groups = self._space.layout(resources.features, resources.labels).features
        rows = rows_of(df)
        found: dict[str, Sequence[int]] = {}
        for given, group in zip(inputs, groups, strict=True):
            shape = [size for size in given.shape if size is not None]
            is_fixed = bool(shape) and len(shape) == len(given.shape)
            if is_fixed and len(group) == 1 and rows.columns.count(group[0]) == 1 and rows.kind(group[0]) in _TENSORS:
                found[group[0]] = shape
        return found


def _checked_epochs(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ConfigError(f"`num_epochs` must be a positive integer. Received: num_epochs={value!r}. Pass 1 or more.")
    return int(value)


def _default_seed() -> int:
    given = os.environ.get(_SEED_VARIABLE, str(_SEED))
    if not given.isdecimal():
        raise ConfigError(
            f"The environment variable `{_SEED_VARIABLE}` must be an integer of 0 or more. Received: "
            f"{_SEED_VARIABLE}={given!r}. Set it to one, or pass `seed`."
        )
    return int(given)
