"""`HyperHyperModel`: the class that users meet."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas import search
from cerebro_nas.errors import ConfigError
from cerebro_nas.hypermodel._arrays import resources_of_arrays
from cerebro_nas.hypermodel._arrays import rows_of_arrays
from cerebro_nas.hypermodel._checks import check_hyperparameters
from cerebro_nas.hypermodel._checks import need_tensorflow
from cerebro_nas.hypermodel._checks import refuse_arrays
from cerebro_nas.hypermodel._fixed_arch import architecture_of
from cerebro_nas.hypermodel._fixed_arch import check_arguments
from cerebro_nas.hypermodel._fixed_arch import settings_of_one
from cerebro_nas.hypermodel._fixed_arch import space_of_one
from cerebro_nas.hypermodel._refit import refit
from cerebro_nas.hypermodel._searching import Searching
from cerebro_nas.hypermodel._searching import seed_of
from cerebro_nas.results import ModelSelectionResult
from cerebro_nas.tracking import load_tensorflow
from cerebro_nas.tracking import quiet_libraries

if TYPE_CHECKING:
    import os

    import keras_tuner
    from pyspark.sql import DataFrame

    from cerebro_nas.backend import Backend
    from cerebro_nas.search import FitArguments
    from cerebro_nas.storage import Store

_CONSTRUCTOR = ("project_name", "max_trials", "directory", "objective", "tuner", "overwrite", "max_model_size", "seed")


InputShape = Sequence[int] | int | Mapping[str, Sequence[int]] | None
Columns = str | Sequence[str] | Sequence[Sequence[str]] | Mapping[str, str | Sequence[str]]


class HyperHyperModel(Searching):
    """A search over a graph of AutoKeras blocks, on data in Spark.

    The order of calls is: this constructor, `resource_bind`, `tuner_bind` (optional), `fit`. Arguments that both the
    constructor and `tuner_bind` take may be given to either; the later call wins.

    Args:
        inputs: an AutoKeras input (`ak.ImageInput()`), or a list of them.
        outputs: what heads returned, or heads alone: then the blocks are those that AutoKeras chooses for the input.
        project_name: name of the search; its files are in a directory of that name.
        max_trials: trials at most. Defaults to 100, or to those of an oracle.
        directory: where the search's files go; the store's directory for runs by default.
        objective: metric to optimise, `"val_accuracy"` say, or a `keras_tuner.Objective`; by default the
            `evaluation_metric` of `resource_bind` on the validation split, or what an oracle has.
        tuner: a name, `"greedy"` (default) say, or a `keras_tuner.Oracle`, see `tuner_bind`.
        overwrite: remove an earlier search of that name. Without it, `fit` goes on with one that did not end, and
            gives the result of one that did; it refuses if the graph, the objective or the data is another one.
        seed: seed of the data's shuffle, the tuner and the initial weights.
        max_model_size: parameters that a candidate may have at most.

    Raises:
        ConfigError: an argument cannot be used.
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        project_name: str | None = None,
        max_trials: int | None = None,
        directory: str | os.PathLike[str] | None = None,
        objective: Any = None,
        tuner: Any = None,
        overwrite: bool | None = None,
        seed: int | None = None,
        max_model_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        search.refuse_unknown(kwargs, _CONSTRUCTOR, "HyperHyperModel")
        quiet_libraries()
        need_tensorflow()
        load_tensorflow()
        from cerebro_nas.search_space import SearchSpace

        settings = search.Settings()
        settings.update(
            project_name=project_name,
            max_trials=max_trials,
            directory=directory,
            objective=objective,
            tuner=tuner,
            overwrite=overwrite,
            seed=seed,
            max_model_size=max_model_size,
        )
        settings.check()
        # With arrays, `_resources` has the columns that are made of them.
        self._bound_resources: search.Resources | None = None
        super().__init__(SearchSpace(inputs, outputs, seed=seed_of(settings), max_model_size=max_model_size), settings)

    # --- what to run on, and how to search ------------------------------------------------------------------------

    def resource_bind(
        self,
        backend: Backend,
        store: Store | str | os.PathLike[str],
        validation: float | str = 0.2,
        evaluation_metric: str = "loss",
        label_columns: Columns = "labels",
        feature_columns: Columns = "features",
        verbose: Any = 1,
        num_shards: int | None = None,
        sample_weight_column: str | None = None,
    ) -> None:
        """Say where the search runs and on which columns.

        Args:
            backend: `SparkBackend` or `LocalBackend`.
            store: where prepared data and states go: a `LocalStore`, or its path.
            validation: fraction of the rows that candidates are validated on, or a boolean column that marks them.
            evaluation_metric: metric that candidates are compared by where no `objective` is given.
            label_columns: one column for each head, in order, or a dict by head's name.
            feature_columns: columns that feed the inputs: a list (all for a single input, else one for each), a list
                with a list of columns for each input, or a dict by input's name. Strings feed a
                `StructuredDataInput` as categories, or a `TextInput`.
            verbose: 0 silent, 1 live where the output can do that, 2 plain lines.
            num_shards: parts that the training rows are cut into; one for each worker by default. More of them give
                the scheduler more freedom, and cost a hop each.
            sample_weight_column: column of weights of 0 or more, by which rows' losses and weighted metrics are
                multiplied, in training and validation.

        Raises:
            ConfigError: an argument cannot be used.
        """
        self._resources = self._bound_resources = search.make_resources(
            backend=backend,
            store=store,
            validation=validation,
            evaluation_metric=evaluation_metric,
            label_columns=label_columns,
            feature_columns=feature_columns,
            verbose=verbose,
            num_shards=num_shards,
            sample_weight_column=sample_weight_column,
        )

    def tuner_bind(
        self,
        tuner: Any = None,
        *,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        objective: Any = None,
        max_trials: int | None = None,
        overwrite: bool | None = None,
        parallelism: int | None = None,
        project_name: str | None = None,
        directory: str | os.PathLike[str] | None = None,
        max_model_size: int | None = None,
        seed: int | None = None,
        visit_order: str | None = None,
        unit_timeout: float | None = None,
        time_budget: Any = None,
        max_epochs_total: int | None = None,
        target: float | None = None,
        stoppers: Any = None,
        max_flops: int | None = None,
        max_latency_ms: float | None = None,
        force_fields: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        """Choose the search algorithm. What a call leaves out stays as it was said before, all but `options`.

        Args:
            tuner: `"greedy"`, `"random"`, `"grid"`, `"bayesian"`, `"tpe"`, `"multivariate_tpe"`, `"cmaes"`, `"sobol"`,
                `"hyperband"`, `"asha"`, `"bohb"`, `"async_bohb"`, `"pbt"`, `"evolution"`, `"differential_evolution"`,
                `"rl"`, or a `keras_tuner.Oracle`. docs/tuners.md says which one when.
            hyperparameters: entries that replace those of the graph with the same name, `Fixed` ones say.
            objective: see the constructor; a list of several is searched for what no other trial dominates.
            max_trials: see the constructor.
            overwrite: see the constructor.
            parallelism: live trials at a time; twice the number of workers by default.
            project_name: see the constructor.
            directory: see the constructor.
            max_model_size: see the constructor.
            seed: see the constructor.
            visit_order: `"adaptive"` (default): candidates visit shards where a worker is free, the quickest way;
                `"fixed"`: in an order that follows from the seed, so that metrics do not depend on timing, on faults or
                on the number of workers.
            unit_timeout: seconds that one sub-epoch may take; by default ten times what is expected of it, and then
                only if it makes no step for five minutes.
            time_budget: what the search may take, `"4h"`, `"90m"`, or seconds; then it ends with what it has.
            max_epochs_total: epochs that all trials together may be trained.
            target: value of the objective that is good enough: the search ends once a trial reaches it.
            stoppers: rules that stop trials early, from `cerebro_nas.stoppers`, or `"median"`, `"learning_curve"`.
            max_flops: floating point operations that a candidate may take at most for one row.
            max_latency_ms: milliseconds that a row may take at most in an evaluation; slower candidates fail.
            force_fields: what may differ from the search that is gone on with: any of `tuner`, `tuner_options`,
                `hyperparameters`, `seed`, `batch_size`, `epochs`, `max_model_size`, `visit_order`, `stoppers`,
                `max_flops`, `max_latency_ms`.
            **options: further arguments of the tuner: `initial_hps`, configurations that are tried first, and its own
                (docs/tuners.md): `exploration` and `cold_start` for greedy, `factor` for hyperband, and so on.

        Raises:
            ConfigError: called before `resource_bind`, or an argument cannot be used.
        """
        self._bound("tuner_bind")
        settings = search.Settings(dict(self._settings.values), dict(options))
        settings.update(
            tuner=tuner,
            hyperparameters=hyperparameters,
            objective=objective,
            max_trials=max_trials,
            overwrite=overwrite,
            parallelism=parallelism,
            project_name=project_name,
            directory=directory,
            max_model_size=max_model_size,
            seed=seed,
            visit_order=visit_order,
            unit_timeout=unit_timeout,
            time_budget=time_budget,
            max_epochs_total=max_epochs_total,
            target=target,
            stoppers=stoppers,
            max_flops=max_flops,
            max_latency_ms=max_latency_ms,
            force_fields=force_fields,
        )
        settings.check()
        check_hyperparameters(hyperparameters)
        self._check_tuner(settings)
        self._settings = settings

    # --- running --------------------------------------------------------------------------------------------------

    def fit(
        self,
        df: DataFrame | None = None,
        batch_size: int = 32,
        epochs: int | None = None,
        callbacks: Sequence[Any] | None = None,
        verbose: Any = None,
        input_shape: InputShape = None,
        *,
        x: Any = None,
        y: Any = None,
        validation_data: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | None = None,
    ) -> ModelSelectionResult:
        """Prepare the data and search.

        Args:
            df: one row per example. Or leave it out, and pass arrays.
            batch_size: rows per training step.
            epochs: epochs per trial at most; None: up to 1000, stopped after 10 without improvement of `val_loss`.
            callbacks: `keras.callbacks.EarlyStopping` stops a candidate, `keras.callbacks.TensorBoard` logs all.
            verbose: overrides that of `resource_bind`.
            input_shape: shape of one row of a single feature column, such as (28, 28, 1) for a vector of 784; a dict
                of them by column where there are several. Encoded pictures are resized to it.
            x: instead of `df`, for each input an array of n rows, or a pandas frame for a `StructuredDataInput`; a
                list of them for several inputs, or a dict by input's name. No Spark is needed.
            y: for each head an array of n labels.
            validation_data: arrays (x, y) to validate on; without it, `validation` of `resource_bind` says.
            sample_weight: with `x`, a weight of 0 or more for each row.
            class_weight: what the loss of a class's training rows is multiplied by, by class.

        Returns:
            The result: models, leaderboard, schedule.

        Raises:
            ConfigError: an argument cannot be used.
            DataError: the data cannot be used; the message lists every problem.
            BackendError: there are fewer slots than workers, or the backend failed.
            SearchAborted: the search could not go on.
        """
        if x is None:
            refuse_arrays(df)
        arguments = search.make_fit_arguments(
            batch_size=batch_size, epochs=epochs, input_shape=input_shape, class_weight=class_weight
        )
        rules, logdirs = search.split_callbacks(callbacks, arguments.patience)
        data, shapes = self._rows(df, x, y, validation_data, sample_weight)
        arguments = replace(arguments, input_shape=arguments.input_shape or shapes)
        self._check(verbose, arguments)
        self._check_data(data, arguments)
        with self._claim() as claim, self._bound("fit").backend as backend:
            if not self._has_ended(claim, arguments):
                # Workers import TensorFlow while Spark prepares the data.
                backend.launch()
            self._prepare(data, arguments, claim.session)
            return self._search(claim, arguments, rules, logdirs, verbose)

    def _check(self, verbose: Any, arguments: FitArguments) -> None:
        super()._check(verbose, arguments)
        self._space.check_own()

    def _rows(self, df: Any, x: Any, y: Any, validation_data: Any, sample_weight: Any) -> tuple[Any, Any]:
        """The rows to search on, with the columns that are said of them, and the shapes of their tensors."""
        bound = self._bound("fit")
        if (df is None) == (x is None) or (x is None) != (y is None):
            given = [name for name, value in (("df", df), ("x", x), ("y", y)) if value is not None]
            raise ConfigError(
                "`fit` needs a DataFrame, or arrays `x` and `y`. "
                f"Received: {', '.join(given) or 'none of them'}. Pass `df`, or both `x=` and `y=`."
            )
        self._resources = self._bound_resources or bound
        if x is None:
            if validation_data is not None or sample_weight is not None:
                raise ConfigError(
                    "`validation_data` and `sample_weight` are for arrays. Received: them with a DataFrame. "
                    "Name columns in `resource_bind(validation=, sample_weight_column=)`."
                )
            return df, None
        arrays = rows_of_arrays(x, y, self._space.inputs, self._space.head_names, validation_data, sample_weight)
        self._resources = arrays.resources(self._resources)
        return arrays.rows, arrays.shapes or None

    def fit_on_prepared_data(
        self,
        df: DataFrame | None = None,
        batch_size: int = 32,
        epochs: int | None = None,
        callbacks: Sequence[Any] | None = None,
        verbose: Any = None,
        input_shape: InputShape = None,
        class_weight: Mapping[Any, float] | None = None,
    ) -> ModelSelectionResult:
        """Search on the data that an earlier `fit` or `sys_setup` of this project prepared.

        Args:
            df: if given, its columns and types must be those of the prepared data.
            batch_size: see `fit`.
            epochs: see `fit`.
            callbacks: see `fit`.
            verbose: see `fit`.
            input_shape: if given, it must be that of the data.
            class_weight: see `fit`.

        Raises:
            StoreError: no prepared data is there.
            DataError: what is there was made from something else.
        """
        from cerebro_nas.data import check_fingerprint
        from cerebro_nas.data import load_prepared

        arguments = search.make_fit_arguments(
            batch_size=batch_size, epochs=epochs, input_shape=input_shape, class_weight=class_weight
        )
        rules, logdirs = search.split_callbacks(callbacks, arguments.patience)
        resources = self._bound("fit_on_prepared_data")
        search.check_verbose(resources.verbose if verbose is None else verbose)
        prepared = load_prepared(resources.store, self._settings.project_name)
        if df is None:
            resources = self._resources = resources_of_arrays(prepared, resources)
        self._check(verbose, arguments)
        resources.backend.check()
        layout = self._layout(df)
        check_fingerprint(
            prepared,
            df,
            feature_columns=layout.feature_columns,
            label_columns=layout.labels,
            input_shape=arguments.input_shape,
            uses=None if df is None else layout.uses,
            weight_column=resources.weight_column,
        )
        self._prepared = prepared
        with self._claim() as claim, resources.backend:
            return self._search(claim, arguments, rules, logdirs, verbose)

    def fixed_arch_search(
        self,
        df: DataFrame | None = None,
        optimizer: Sequence[str] | None = None,
        learning_rate: Sequence[float] | None = None,
        batch_size: Sequence[int] | None = None,
        architecture: Mapping[str, Any] | None = None,
        epochs: int | None = None,
        callbacks: Sequence[Any] | None = None,
        verbose: Any = None,
        input_shape: InputShape = None,
        *,
        x: Any = None,
        y: Any = None,
        validation_data: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | None = None,
    ) -> ModelSelectionResult:
        """Take one architecture, and try every combination of optimizer, learning rate and batch size on it.

        It is a search of its own, named like this one with `_fixed_arch` behind; `result` is then that of it. Budgets,
        `target` and `stoppers` are those of the search before, and end nothing here.

        Args:
            df: see `fit`.
            optimizer: names of optimizers, `"adam"` say; None: all of the graph's.
            learning_rate: learning rates; None: all of the graph's.
            batch_size: rows per step; None: those of `hyperparameters` where it has a `batch_size`, else 32.
            architecture: values of hyperparameters, the others take their defaults; None: those of the best trial of
                the last search, or of a random architecture, which is told, where there was none.
            epochs: see `fit`.
            callbacks: see `fit`.
            verbose: see `fit`.
            input_shape: see `fit`.
            x: see `fit`.
            y: see `fit`.
            validation_data: see `fit`.
            sample_weight: see `fit`.
            class_weight: see `fit`.

        Raises:
            ConfigError: an argument cannot be used.
        """
        shown = self._bound("fixed_arch_search").verbose if verbose is None else verbose
        search.check_verbose(shown)
        asked = {"optimizer": optimizer, "learning_rate": learning_rate, "batch_size": batch_size}
        choices = check_arguments(asked, architecture)
        arguments = search.make_fit_arguments(batch_size=32, epochs=epochs, input_shape=input_shape)
        search.split_callbacks(callbacks, arguments.patience)
        if self._prepared is None:
            self.sys_setup(df, input_shape, epochs=arguments.epochs, x=x, y=y, validation_data=validation_data)
        before, found = self._settings, self._result
        known = self._space.explore(before.hyperparameters)
        values = architecture_of(known, architecture, found, self._seed, shown)
        overrides, count = space_of_one(self._space, known, values, choices)
        self._settings = settings_of_one(before, self._objective(before), overrides, count)
        try:
            return self.fit(
                *(df, 32, epochs, callbacks, verbose, input_shape),
                x=x,
                y=y,
                validation_data=validation_data,
                sample_weight=sample_weight,
                class_weight=class_weight,
            )
        finally:
            # Where it was interrupted, the last search is still the one whose architecture it took.
            self._settings, self._result = before, self._result or found

    def sys_setup(
        self,
        df: DataFrame | None = None,
        input_shape: InputShape = None,
        batch_size: int = 32,
        epochs: int = 1,
        *,
        x: Any = None,
        y: Any = None,
        validation_data: Any = None,
    ) -> None:
        """Prepare the data and the search space without training; `fit_on_prepared_data` goes on from there.

        The arguments are those of `fit`.
        """
        arguments = search.make_fit_arguments(batch_size=batch_size, epochs=epochs, input_shape=input_shape)
        data, shapes = self._rows(df, x, y, validation_data, None)
        arguments = replace(arguments, input_shape=arguments.input_shape or shapes)
        self._check_data(data, arguments)
        with self._claim() as claim:
            self._prepare(data, arguments, claim.session)
        self._configure(arguments)
        space = self._space.explore(self._settings.hyperparameters)
        self._tuner = self._make_tuner(self._settings, space, None, arguments.epochs)

    def test_tuner_space(
        self, df: DataFrame | None = None, input_shape: InputShape = None, *, x: Any = None, y: Any = None
    ) -> keras_tuner.HyperParameters:
        """Print the search space as it is for this data, without training, and return it."""
        self.sys_setup(df, input_shape, x=x, y=y)
        self.tuner.search_space_summary()
        return self.tuner.oracle.get_space()

    def refit(
        self,
        epochs: int | None = None,
        batch_size: int = 32,
        all_rows: bool = True,
        class_weight: Mapping[Any, float] | None = None,
        verbose: Any = None,
    ) -> ModelSelectionResult:
        """Train the best configuration of the last search anew, on training and validation rows, as AutoKeras does.

        It is a search of its own with one candidate, named like this one with `_refit` behind; where it breaks off, the
        same call goes on with it. `result` is then that of it, with the weights of the last epoch.

        Args:
            epochs: how many; None: as many as the best model was trained for.
            batch_size: rows per step.
            all_rows: False trains on the training rows alone.
            class_weight: see `fit`.
            verbose: see `fit`.

        Raises:
            ConfigError: there was no search.
            SearchAborted: the configuration could not be trained.
        """
        return refit(
            self, epochs=epochs, batch_size=batch_size, all_rows=all_rows, class_weight=class_weight, verbose=verbose
        )

    def __repr__(self) -> str:
        bound = "bound" if self._resources is not None else "not bound"
        return f"HyperHyperModel(project_name={self.project_name!r}, resources {bound}, max_trials={self.max_trials})"
