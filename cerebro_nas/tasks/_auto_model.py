"""`AutoModel`: AutoKeras' class, over a search whose candidates hop between workers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import keras

from cerebro_nas import search
from cerebro_nas.errors import ConfigError
from cerebro_nas.hypermodel import HyperHyperModel
from cerebro_nas.hypermodel import refit
from cerebro_nas.tasks._course import Course
from cerebro_nas.tasks._course import history_of
from cerebro_nas.tasks._data import as_numbers
from cerebro_nas.tasks._data import check_lengths
from cerebro_nas.tasks._data import checked
from cerebro_nas.tasks._data import is_spark
from cerebro_nas.tasks._data import single
from cerebro_nas.tasks._data import split
from cerebro_nas.tasks._labels import Labels
from cerebro_nas.tasks._tuner import choose_tuner

if TYPE_CHECKING:
    import keras_tuner

    from cerebro_nas.backend import Backend
    from cerebro_nas.results import ModelSelectionResult
    from cerebro_nas.storage import Store
    from cerebro_nas.tuners import Tuner

_OBJECTIVE, _MAX_TRIALS = "val_loss", 100
_MOST_WORKERS = 4
_IS_VALIDATION = "__is_validation"
# Arguments of `keras.Model.fit` that mean nothing here, with the values that ask for nothing.
_KERAS_FIT: dict[str, Any] = {
    "initial_epoch": 0,
    "shuffle": True,
    "steps_per_epoch": None,
    "validation_batch_size": None,
    "validation_freq": 1,
    "validation_steps": None,
}
_OURS_FIT = ("class_weight", "sample_weight", "input_shape")
_KERAS_CALL: dict[str, Any] = {"callbacks": None, "steps": None, "sample_weight": None}

# What the calls name themselves: misspelt, it is what was meant.
_NAMED = {"fit": ("epochs", "callbacks", "validation_split", "validation_data")}


class AutoModel:
    """A model that is found by a search: AutoKeras' `AutoModel`, with the same arguments.

    The search runs on worker processes of this machine, at most four of them, and keeps its files in
    `<directory>/<project_name>`. `resource_bind` takes it elsewhere, to Spark say.

    Args:
        inputs: an AutoKeras input, or a list of them.
        outputs: heads, or what heads returned (functional API).
        project_name: name of the search.
        max_trials: configurations that are tried at most.
        directory: where its files go; None: the current directory.
        objective: metric that is optimised.
        tuner: `"greedy"`, `"bayesian"`, `"hyperband"`, `"random"`, any other name that `HyperHyperModel.tuner_bind`
            takes, one of AutoKeras' tuner classes, or a `keras_tuner.Oracle`.
        overwrite: remove an earlier search of that name; otherwise `fit` goes on with it, or gives its result.
        seed: seed of the data's shuffle, the tuner and the weights; None is 0.
        max_model_size: parameters that a candidate may have at most.
        **kwargs: further arguments of the tuner and of `HyperHyperModel.tuner_bind`.

    Raises:
        ConfigError: an argument cannot be used.
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        project_name: str = "auto_model",
        max_trials: int = _MAX_TRIALS,
        directory: str | os.PathLike[str] | None = None,
        objective: Any = _OBJECTIVE,
        tuner: Any = "greedy",
        overwrite: bool = False,
        seed: int | None = None,
        max_model_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        import keras_tuner
        from autokeras import Head

        # As for AutoKeras, an empty one is the current directory.
        search.check_directory(None if directory == "" else directory)
        self._choice = choose_tuner(tuner, kwargs)
        # An oracle of the user's own has its objective and its limit, unless told otherwise.
        is_own = isinstance(tuner, keras_tuner.Oracle)
        self._model = HyperHyperModel(
            inputs,
            outputs,
            project_name=project_name,
            max_trials=None if is_own and max_trials == _MAX_TRIALS else max_trials,
            objective=None if is_own and objective == _OBJECTIVE else objective,
            overwrite=overwrite,
            seed=seed,
            max_model_size=max_model_size,
        )
        self.inputs: list[Any] = keras.tree.flatten(inputs)
        self._heads = [part if isinstance(part, Head) else part.in_blocks[0] for part in keras.tree.flatten(outputs)]
        self.outputs = [head.outputs[0] for head in self._heads]
        self.overwrite = overwrite
        self.seed = seed
        self._directory = directory
        self._resources: dict[str, Any] = {}
        self._labels: list[Labels] = []
        self._found: ModelSelectionResult | None = None
        self._bind()

    # --- where it runs ------------------------------------------------------------------------------------------------

    def resource_bind(
        self,
        backend: Backend | None = None,
        store: Store | str | os.PathLike[str] | None = None,
        label_columns: Any = None,
        feature_columns: Any = None,
        sample_weight_column: str | None = None,
        num_shards: int | None = None,
    ) -> None:
        """Say where the search runs, in place of processes of this machine, and what columns a DataFrame has.

        Args:
            backend: `SparkBackend` or `LocalBackend`; None: the latter.
            store: where its files go; None: the directory of the project.
            label_columns: see `HyperHyperModel.resource_bind`; `y` of `fit` may name them instead.
            feature_columns: see `HyperHyperModel.resource_bind`.
            sample_weight_column: see `HyperHyperModel.resource_bind`.
            num_shards: see `HyperHyperModel.resource_bind`.

        Raises:
            ConfigError: an argument cannot be used.
        """
        self._resources = {
            "backend": backend,
            "store": store,
            "label_columns": label_columns,
            "feature_columns": feature_columns,
            "sample_weight_column": sample_weight_column,
            "num_shards": num_shards,
        }
        self._bind()

    def _bind(self, **changed: Any) -> None:
        if self._resources.get("backend") is None:
            self._resources["backend"] = _local_backend()
        given = {name: value for name, value in {**self._resources, **changed}.items() if value is not None}
        given.setdefault("store", Path(self.directory) / self.project_name)
        self._model.resource_bind(**given)
        self._model.tuner_bind(self._choice.tuner, **self._choice.options)

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def objective(self) -> keras_tuner.Objective:
        """What is optimised, with its direction."""
        from cerebro_nas.tuners import make_objective

        return make_objective(self._model.objective)

    @property
    def max_trials(self) -> int | None:
        """Configurations that are tried at most."""
        return self._model.max_trials

    @property
    def directory(self) -> str | os.PathLike[str]:
        """Directory that holds the project's."""
        return "." if self._directory is None else self._directory

    @property
    def project_name(self) -> str:
        """Name of the search."""
        return self._model.project_name

    @property
    def tuner(self) -> Tuner:
        """The tuner of the last search, with `search_space_summary()` and `results_summary()`."""
        return self._model.tuner

    @property
    def result(self) -> ModelSelectionResult:
        """The result of the search, before the best configuration was trained anew: leaderboard, models, schedule."""
        return self._model.result if self._found is None else self._found

    # --- searching and using ------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int = 32,
        epochs: int | None = None,
        callbacks: Sequence[Any] | None = None,
        validation_split: float = 0.2,
        validation_data: Any = None,
        verbose: Any = 1,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Search, then train the best configuration anew where AutoKeras does.

        Args:
            x: arrays or pandas frames, one for each input; or a Spark DataFrame that holds the labels too.
            y: likewise, one for each head; for a Spark DataFrame the label columns, or None: see `resource_bind`.
            batch_size: rows per training step.
            epochs: epochs of a trial at most. None: until ten epochs in a row have not improved it.
            callbacks: `keras.callbacks.EarlyStopping` and `keras.callbacks.TensorBoard`.
            validation_split: fraction of the rows that trials are compared on: the last ones of arrays, seeded random
                ones of a Spark DataFrame. The best configuration is trained anew on all rows.
            validation_data: `(x, y)`, or a Spark DataFrame, to compare trials on instead. It is never trained on.
            verbose: 0, 1 or 2.
            **kwargs: `class_weight`; `sample_weight`, along with `validation_data`, as in AutoKeras; and `input_shape`:
                the shape of a row of a vector column.

        Returns:
            Keras' `History` of the last training: of the best configuration anew, else of the best trial.

        Raises:
            ConfigError: an argument cannot be used.
            DataError: the data cannot be used.
            SearchAborted: the search could not go on.
        """
        extra = _read(kwargs, _KERAS_FIT, _OURS_FIT, "fit")
        if validation_data is None and not validation_split:
            raise ConfigError(
                "Either validation_data or a non-zero validation_split must be given: trials are compared on it. "
                f"Received: validation_split={validation_split!r}, validation_data=None. Pass for example 0.2."
            )
        if validation_data is None and extra.get("sample_weight") is not None:
            raise ConfigError(
                "`sample_weight` needs `validation_data`: rows that are split off would weigh something else. "
                "Received: sample_weight with validation_split. Pass the rows to validate on."
            )
        course = Course.of(epochs, callbacks, validation_data is None, self._choice.max_epochs)
        feed = self._spark_feed if is_spark(x) else self._array_feed
        data = feed(x, y, validation_split, validation_data)
        with self._replacing(None if is_spark(x) else y):
            found = self._model.fit(
                batch_size=batch_size,
                epochs=course.epochs,
                callbacks=list(course.callbacks),
                verbose=verbose,
                **data,
                **extra,
            )
        if not course.refits:
            return history_of(found.get_history())
        again = refit(
            self._model,
            epochs=course.refit_epochs,
            batch_size=batch_size,
            all_rows=course.all_rows,
            class_weight=extra.get("class_weight"),
            logdirs=course.logdirs,
            verbose=verbose,
        )
        self._found = found
        return history_of(again.get_history(), leave_out=("epochs",))

    def predict(self, x: Any, batch_size: int = 32, verbose: Any = 1, **kwargs: Any) -> Any:
        """Predict with the best model.

        Args:
            x: arrays or pandas frames, one for each input, or a Spark DataFrame.
            batch_size: rows per step.
            verbose: 0, 1 or 2; nothing is shown in either case.
            **kwargs: none that would change anything.

        Returns:
            An array (a list of them for several heads). Of classes: their labels as text, of shape (n, 1); 0.0 or 1.0
            where they were 0 and 1; rows of zeros and ones where they were encoded. Of numbers: of shape (n, k). For a
            Spark DataFrame, that DataFrame with columns of predictions.

        Raises:
            ConfigError: an argument cannot be used.
        """
        _read(kwargs, _KERAS_CALL, (), "predict")
        search.check_verbose(verbose)
        if is_spark(x):
            return self._model.predict(x, batch_size)
        found = self._model.predict(self._rows(x), batch_size)
        several = found if len(self._heads) > 1 else [found]
        return single([labels.show(part) for labels, part in zip(self._labels, several, strict=True)])

    def evaluate(self, x: Any, y: Any = None, batch_size: int = 32, verbose: Any = 1, **kwargs: Any) -> Any:
        """Evaluate the best model.

        Args:
            x: see `predict`.
            y: labels as in `fit`; left out for a Spark DataFrame, which holds them.
            batch_size: rows per step.
            verbose: 0, 1 or 2; nothing is shown in either case.
            **kwargs: `return_dict=True` gives a dict by name.

        Returns:
            `[loss, metric, ...]` in the order of Keras: of several heads their losses, and then their metrics by name.
            The loss alone where there are no metrics.

        Raises:
            ConfigError: an argument cannot be used.
        """
        extra = _read(kwargs, _KERAS_CALL, ("return_dict",), "evaluate")
        search.check_verbose(verbose)
        if not is_spark(x):
            labels = checked(y, self._head_names, "y")
            check_lengths(checked(x, self._input_names, "x"), labels)
            x, y = self._rows(x), single(labels)
        found: dict[str, float] = self._model.evaluate(x, y, batch_size, return_dict=True)
        if extra.get("return_dict"):
            return found
        values = [found[name] for name in sorted(found, key=self._place)]
        return values if len(values) > 1 else values[0]

    def export_model(self, path: str | os.PathLike[str] | None = None) -> keras.Model:
        """Return the best model, compiled.

        Args:
            path: see `HyperHyperModel.export_model`.
        """
        return self._model.export_model(path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(project_name={self.project_name!r}, max_trials={self.max_trials})"

    # --- inside -------------------------------------------------------------------------------------------------------

    @property
    def _input_names(self) -> list[str]:
        return [node.name for node in self.inputs]

    @property
    def _head_names(self) -> list[str]:
        return [head.name for head in self._heads]

    @contextlib.contextmanager
    def _replacing(self, y: Any) -> Iterator[None]:
        """While a search runs: what is known of the result before stays, unless there comes another one.

        Args:
            y: labels that were given as arrays; None: columns of a DataFrame.
        """
        before = self._model.result if self._model.has_result else None
        try:
            yield
        finally:
            # Even of a search that was interrupted; one that was refused leaves the model of the one before.
            after = self._model.result if self._model.has_result else None
            if after is not before:
                self._found, self._labels = None, [] if after is None else self._labels_of(y)

    def _labels_of(self, y: Any) -> list[Labels]:
        if y is not None:
            tables = checked(y, self._head_names, "y")
            return [Labels.of(head, table) for head, table in zip(self._heads, tables, strict=True)]
        return [Labels.of_column(head, *found) for head, found in zip(self._heads, self._model.label_rows, strict=True)]

    def _rows(self, x: Any) -> Any:
        """Arrays and frames to predict on, as the model takes them."""
        tables = checked(x, self._input_names, "x")
        return single([as_numbers(node, table) for node, table in zip(self.inputs, tables, strict=True)])

    def _place(self, metric: str) -> tuple[int, int, str]:
        """Where a metric stands in the list that Keras returns."""
        if metric == "loss":
            return 0, 0, ""
        if len(self._heads) == 1:
            # In the order in which they were given.
            names = self._model.metric_names
            return 2, names.index(metric) if metric in names else len(names), metric
        losses = [f"{name}_loss" for name in self._head_names]
        return (1, losses.index(metric), "") if metric in losses else (2, 0, metric)

    def _array_feed(self, x: Any, y: Any, validation_split: float, validation_data: Any) -> dict[str, Any]:
        inputs, labels = checked(x, self._input_names, "x"), checked(y, self._head_names, "y")
        check_lengths(inputs, labels)
        if validation_data is None:
            _check_fraction(validation_split)
            inputs, held_inputs = split(inputs, validation_split)
            labels, held_labels = split(labels, validation_split)
        else:
            held_inputs, held_labels = self._held(validation_data)
        backend = self._resources["backend"]
        self._bind(num_shards=self._resources.get("num_shards") or min(backend.num_workers, len(inputs[0])))
        held = single(held_inputs), single(held_labels)
        return {"x": single(inputs), "y": single(labels), "validation_data": held}

    def _held(self, validation_data: Any) -> tuple[list[Any], list[Any]]:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
            size = f" of {len(validation_data)}" if isinstance(validation_data, (tuple, list)) else ""
            raise ConfigError(
                "`validation_data` must be a tuple of x and y. "
                f"Received: validation_data, a {type(validation_data).__name__}{size}. Pass (x, y)."
            )
        where = " in validation_data"
        inputs = checked(validation_data[0], self._input_names, "x", where)
        labels = checked(validation_data[1], self._head_names, "y", where)
        check_lengths(inputs, labels, where)
        return inputs, labels

    def _spark_feed(self, df: Any, y: Any, validation_split: float, validation_data: Any) -> dict[str, Any]:
        validation: Any = validation_split
        if validation_data is not None:
            if not is_spark(validation_data):
                raise ConfigError(
                    "`validation_data` must be a Spark DataFrame where `x` is one. "
                    f"Received: validation_data of type {type(validation_data).__name__}. Pass such a DataFrame."
                )
            df, validation = _marked(df, False).unionByName(_marked(validation_data, True)), _IS_VALIDATION
        self._bind(validation=validation, label_columns=self._resources.get("label_columns") if y is None else y)
        return {"df": df}


def _marked(df: Any, is_validation: bool) -> Any:
    from pyspark.sql import functions as F

    return df.withColumn(_IS_VALIDATION, F.lit(is_validation))


def _local_backend() -> Backend:
    from cerebro_nas.backend import LocalBackend

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return LocalBackend(max(1, min(_MOST_WORKERS, cores)))


def _check_fraction(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise ConfigError(
            "`validation_split` must be a fraction between 0 and 1. "
            f"Received: validation_split={value!r}. Pass for example 0.2."
        )


def _read(kwargs: Mapping[str, Any], inert: Mapping[str, Any], known: Sequence[str], where: str) -> dict[str, Any]:
    """The further arguments that mean something; those of Keras that ask for nothing are left out."""
    found = {name: value for name, value in kwargs.items() if name in known}
    rest = {name: value for name, value in kwargs.items() if name not in known}
    for name, value in inert.items():
        if name in rest and rest.pop(name) != value:
            raise ConfigError(
                f"`{where}` can take `{name}` as {value!r} only: rows are cut into shards that workers train on. "
                f"Received: {name}={kwargs[name]!r}. Leave it out."
            )
    search.refuse_unknown(rest, (*known, *_NAMED.get(where, ()), "batch_size", "verbose"), where)
    return found
