"""How a search is run, whatever its space is made of: resources, claim, data, space, tuner, plan."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas import search
from cerebro_nas.errors import CerebroNasError
from cerebro_nas.errors import ConfigError
from cerebro_nas.hypermodel._arrays import in_order
from cerebro_nas.hypermodel._arrays import named_frame
from cerebro_nas.hypermodel._checks import check_oracle
from cerebro_nas.hypermodel._checks import is_oracle
from cerebro_nas.hypermodel._checks import max_trials_of
from cerebro_nas.hypermodel._checks import objective_of
from cerebro_nas.hypermodel._fitted import Fitted
from cerebro_nas.tracking import configure_logging

if TYPE_CHECKING:
    import keras_tuner

    from cerebro_nas.data import PreparedData
    from cerebro_nas.results import ModelSelectionResult
    from cerebro_nas.search import FitArguments
    from cerebro_nas.search import SearchPlan
    from cerebro_nas.search_space import InputInfo
    from cerebro_nas.search_space import Layout
    from cerebro_nas.search_space import SearchSpace
    from cerebro_nas.tuners import Tuner
    from cerebro_nas.worker import ColumnSpec

_LOGGER = logging.getLogger(__name__)

_DEFAULT_SEED = 0


def seed_of(settings: search.Settings) -> int:
    """The seed that the user has given, or the default."""
    return int(_DEFAULT_SEED if settings.seed is None else settings.seed)


class Searching(Fitted):
    """A search space, what it runs on and how it is searched.

    Args:
        space: the search space.
        settings: how it is searched.
    """

    def __init__(self, space: SearchSpace, settings: search.Settings) -> None:
        self._space = space
        self._settings = settings
        self._resources: search.Resources | None = None
        self._tuner: Tuner | None = None
        self._prepared: PreparedData | None = None
        self._result: ModelSelectionResult | None = None

    @property
    def tuner(self) -> Tuner:
        """The tuner of the last search, with `search_space_summary()` and `results_summary()`."""
        if self._tuner is None:
            raise ConfigError("The tuner has no search space yet. Call `fit` (or `sys_setup`) first.")
        return self._tuner

    @property
    def objective(self) -> Any:
        """What is optimised."""
        return self._objective(self._settings)

    @property
    def max_trials(self) -> int | None:
        """Trials at most; None: as many as a grid has."""
        return max_trials_of(self._settings)

    @property
    def project_name(self) -> str:
        """Name of the search."""
        return str(self._settings.project_name)

    @property
    def directory(self) -> str:
        """Directory of the search's files."""
        given = self._settings.directory
        if given is not None:
            return f"{given}/{self.project_name}"
        return self._bound("directory").store.runs_url(self.project_name)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What candidates report, as Keras names it and in its order, without the `val_` variants."""
        return self._space.metric_names

    @property
    def label_rows(self) -> tuple[tuple[tuple[int, ...], tuple[Any, ...]], ...]:
        """Per head, the shape of a row of its labels and their classes, in the data that was prepared last."""
        if self._prepared is None:
            raise ConfigError("There is no prepared data yet. Call `fit` (or `sys_setup`) first.")
        statistics = self._prepared.statistics
        return tuple((column.shape, tuple(statistics[column.name].classes)) for column in self._prepared.labels)

    def _by_input(self, x: Any) -> Any:
        inputs = self._space.inputs
        if isinstance(x, Mapping):
            x = in_order(x, [info.name for info in inputs], "x")
        parts = list(x) if isinstance(x, (list, tuple)) else [x]
        if len(parts) != len(inputs) or not any(info.column_names for info in inputs):
            return x
        groups = self.result.best_model.source.inputs
        found = [self._by_name(*part) for part in zip(inputs, groups, parts, strict=True)]
        return found if isinstance(x, (list, tuple)) else found[0]

    def _by_name(self, info: InputInfo, group: Sequence[ColumnSpec], rows: Any) -> Any:
        """A frame with the names that its columns had in training; anything else as it is."""
        # A column that another input has too got the name of its input put before it.
        trained = {column.name.removeprefix(f"{info.name}.") for column in group}
        # Columns of a Spark DataFrame have the names that they have there.
        is_named = hasattr(rows, "iloc") and hasattr(rows, "columns") and trained == set(info.column_names)
        return named_frame(info, rows) if is_named else rows

    def _by_head(self, y: Any) -> Any:
        return in_order(y, self._space.head_names, "y") if isinstance(y, Mapping) else y

    @property
    def _seed(self) -> int:
        return seed_of(self._settings)

    def _objective(self, settings: search.Settings) -> Any:
        given = objective_of(settings)
        return given if given is not None or self._resources is None else self._resources.default_objective

    def _bound(self, call: str) -> search.Resources:
        if self._resources is None:
            raise ConfigError(
                f"`{call}` needs to know where the search runs. Received: no backend and no store. "
                "Call `resource_bind(backend=..., store=...)` first."
            )
        return self._resources

    def _check(self, verbose: Any, arguments: FitArguments) -> None:
        """Check everything that needs no data, before Spark does any work."""
        from cerebro_nas.tuners import make_objective

        resources = self._bound("fit")
        if verbose is not None:
            search.check_verbose(verbose)
        self._check_tuner(self._settings, arguments.epochs)
        self._space.layout(resources.features, resources.labels)
        search.check_objective(make_objective(self.objective), self._space)

    def _check_tuner(self, settings: search.Settings, epochs: int | None = None) -> None:
        """Have a tuner made, so that a wrong argument is told now; `fit` makes it anew once the space is known."""
        search.check_evaluation_metric(self._bound("tuner_bind").evaluation_metric, self._space)
        if is_oracle(settings.tuner):
            check_oracle(settings)
        else:
            self._make_tuner(settings, None, None, epochs).close()

    def _make_tuner(
        self,
        settings: search.Settings,
        space: keras_tuner.HyperParameters | None,
        directory: str | None,
        epochs: int | None,
    ) -> Tuner:
        from cerebro_nas.tuners import make_tuner

        resources = self._bound("tuner_bind")
        return make_tuner(
            settings.tuner,
            objective=self._objective(settings),
            max_trials=max_trials_of(settings),
            hyperparameters=space,
            seed=self._seed,
            parallelism=settings.parallelism or 2 * resources.backend.num_workers,
            max_epochs=epochs,
            num_shards=search.num_train_shards(None if space is None else self._prepared, resources),
            directory=directory,
            **settings.tuner_options,
        )

    def _check_data(self, data: Any, arguments: FitArguments) -> None:
        """Check what can be checked before Spark reads a row."""
        from cerebro_nas.data import Rows
        from cerebro_nas.data import check_arguments

        resources = self._bound("fit")
        if not isinstance(data, Rows) and not (hasattr(data, "schema") and hasattr(data, "columns")):
            raise ConfigError(
                f"`df` must be a Spark DataFrame. Received: df={data!r:.80} (of type {type(data).__name__}). "
                "Pass arrays as `x=` and `y=`."
            )
        layout = self._layout(data)
        check_arguments(
            data,
            feature_columns=layout.feature_columns,
            label_columns=layout.labels,
            validation=resources.validation,
            input_shape=arguments.input_shape,
            num_shards=resources.num_shards,
            uses=layout.uses,
            weight_column=resources.weight_column,
        )
        resources.backend.check()

    def _layout(self, data: Any) -> Layout:
        """Which columns of the data feed what; None for data: only what needs no types."""
        from cerebro_nas.data import rows_of

        resources = self._bound("fit")
        if data is None:
            return self._space.layout(resources.features, resources.labels)
        rows = rows_of(data)
        once = {name for name in rows.columns if rows.columns.count(name) == 1}
        return self._space.layout(
            resources.features, resources.labels, lambda name: rows.kind(name) if name in once else None
        )

    def _claim(self) -> search.SearchClaim:
        store = self._bound("fit").store
        data = store.data_url(self.project_name)
        return search.SearchClaim(store, self.directory, data=data, overwrite=bool(self._settings.overwrite))

    def _has_ended(self, claim: search.SearchClaim, arguments: FitArguments) -> bool:
        limits = {"max_trials": self.max_trials, "epochs": arguments.epochs}
        return claim.has_ended({**limits, "budgets": self._settings.budgets.to_dict()})

    def _prepare(self, data: Any, arguments: FitArguments, session: dict[str, Any] | None = None) -> None:
        self._prepared = search.prepare(
            data,
            self._bound("fit"),
            self._layout(data),
            name=self.project_name,
            input_shape=arguments.input_shape,
            seed=self._seed,
            session=session,
        )

    def _configure(self, arguments: FitArguments) -> None:
        if self._prepared is None:
            raise CerebroNasError("The data must be prepared before the search space is configured.")
        self._space.max_model_size = self._settings.max_model_size
        self._space.max_flops = self._settings.max_flops
        self._space.configure(
            self._prepared,
            feature_columns_per_input=self._layout(None).features,
            batch_size=arguments.batch_size,
            epochs=arguments.epochs,
            class_weight=arguments.class_weight,
        )

    def _search(
        self,
        claim: search.SearchClaim,
        arguments: FitArguments,
        rules: list[search.StoppingRule],
        logdirs: list[str],
        verbose: Any,
    ) -> ModelSelectionResult:
        resources = self._bound("fit")
        shown = resources.verbose if verbose is None else verbose
        configure_logging(1 if shown == "auto" else int(shown))
        self._configure(arguments)
        plan = self._plan(claim, arguments, rules, logdirs, shown)
        self._result = None  # of another search, or of this one with fewer trials
        if not self._has_ended(claim, arguments):
            # Workers make themselves ready while the driver explores the space.
            resources.backend.start(search.search_spec(plan))
        if self._tuner is not None:
            self._tuner.close()
        space = self._space.explore(self._settings.hyperparameters)
        self._tuner = self._make_tuner(self._settings, space, f"{plan.directory}/tuner", arguments.epochs)
        self._result = search.run_search(plan, self._tuner)
        return self._result

    def _plan(
        self,
        claim: search.SearchClaim,
        arguments: FitArguments,
        rules: list[search.StoppingRule],
        logdirs: list[str],
        verbose: Any,
    ) -> SearchPlan:
        resources = self._bound("fit")
        if self._prepared is None:
            raise CerebroNasError("The data must be prepared before a search is planned.")
        tuner = self._settings.tuner
        tuner_name = tuner if isinstance(tuner, str) else type(tuner).__name__
        description = search.describe_search(
            self._settings, self._objective(self._settings), self._space, self._prepared, arguments, self._seed
        )
        identity = uuid.uuid4().hex[:12]
        if claim.session is not None:
            began, identity = search.began_with(claim.session), search.identity_of(claim.session)
            search.check_same(began, description, self._settings.force_fields)
            if began.get("epochs") != arguments.epochs:
                _LOGGER.warning(
                    "The search began with epochs=%s. epochs=%s holds for trials to come; those that have ended stay "
                    "as they are. With `overwrite=True` it begins anew.",
                    *(began.get("epochs"), arguments.epochs),
                )
        return search.SearchPlan(
            project=self.project_name,
            tuner_name=tuner_name,
            directory=self.directory,
            identity=identity,
            description=description,
            journal=claim.begin(),
            check_claim=claim.check,
            prepared=self._prepared,
            space=self._space,
            backend=resources.backend,
            batch_size=arguments.batch_size,
            epochs=arguments.epochs,
            parallelism=self._settings.parallelism,
            seed=self._seed,
            visit_order=self._settings.visit_order,
            unit_timeout=self._settings.unit_timeout,
            rules=rules,
            logdirs=logdirs,
            verbose=verbose,
            stoppers=self._settings.rules,
            budgets=self._settings.budgets,
            max_latency_ms=self._settings.max_latency_ms,
            keep=self._keep,
        )
