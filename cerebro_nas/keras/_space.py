"""A search space whose candidates a function of the user's makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

from cerebro_nas.errors import BuildError
from cerebro_nas.errors import CerebroNasError
from cerebro_nas.errors import ConfigError
from cerebro_nas.keras._candidate import Candidate
from cerebro_nas.keras._candidate import Input
from cerebro_nas.keras._candidate import MakeEstimator
from cerebro_nas.keras._candidate import read_candidate
from cerebro_nas.keras._candidate import rehearse
from cerebro_nas.keras._own import check_transformation
from cerebro_nas.keras._own import row_specs
from cerebro_nas.search_space import Adapter
from cerebro_nas.search_space import Layout
from cerebro_nas.search_space import NamedColumns
from cerebro_nas.search_space import check_size
from cerebro_nas.search_space import groups_in_order
from cerebro_nas.tuners import RandomOracle

if TYPE_CHECKING:
    import keras_tuner

    from cerebro_nas.data import PreparedData
    from cerebro_nas.worker import CandidateSpec
    from cerebro_nas.worker import ColumnSpec

_TRIES = 5


class Parameters(Protocol):
    """What the function is given, and how it is searched."""

    def space(self) -> keras_tuner.HyperParameters:
        """As hyperparameters."""

    def params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the function is given for these values of the hyperparameters."""

    def describe(self) -> dict[str, Any]:
        """Plain values, equal for equal spaces."""


class EstimatorSpace:
    """Turns values of hyperparameters into candidates, by way of the user's function.

    A candidate has the architecture, optimizer, loss, metrics and batch size of the estimator that the function
    returns. Its initial weights follow from the seed, those of the model are not used.

    Each call of the function is in a Keras session of its own: automatic names of layers count from 1.

    Args:
        make: from a dict of parameters to an estimator.
        parameters: what the function is given.
        seed: seed of initial weights, and of the tries of `first`.
    """

    def __init__(self, make: MakeEstimator, parameters: Parameters, *, seed: int = 0) -> None:
        self.seed = seed
        self.max_model_size: int | None = None
        self.max_flops: int | None = None
        self._make = make
        self._parameters = parameters
        self._first: tuple[Candidate, tuple[str, ...]] | None = None
        self._features: tuple[tuple[ColumnSpec, ...], ...] = ()
        self._labels: tuple[ColumnSpec, ...] = ()
        self._targets: tuple[dict[str, Any], ...] = ()
        self._adapter: Adapter | None = None
        self._rows: Any = None

    @property
    def first(self) -> Candidate:
        """A candidate that the others are like: of the same inputs, outputs, losses and callbacks.

        Raises:
            ConfigError: the function gives none that could be trained.
        """
        return self._rehearsed()[0]

    @property
    def features(self) -> tuple[tuple[ColumnSpec, ...], ...]:
        """Per input, the columns that feed it."""
        return self._features

    @property
    def labels(self) -> tuple[ColumnSpec, ...]:
        """Per output, the column that feeds it."""
        return self._labels

    @property
    def targets(self) -> tuple[dict[str, Any], ...]:
        """Per output, how workers make targets of the labels (see `SearchSpec.targets`)."""
        return self._targets

    @property
    def classifies(self) -> tuple[bool, ...]:
        """Per output, whether its largest number says which class a row is of."""
        return tuple(output.classifies for output in self.first.outputs)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What candidates report, as Keras names it, without the `val_` variants."""
        return self._rehearsed()[1]

    def params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the function is given for these values of the hyperparameters."""
        return self._parameters.params(values)

    def layout(
        self, features: NamedColumns, labels: NamedColumns, kind: Callable[[str], str | None] = lambda name: None
    ) -> Layout:
        """Give inputs and outputs their columns.

        Args:
            features: what the user named for the inputs.
            labels: what the user named for the outputs.
            kind: not used: models of the user's own take every column as numbers.

        Raises:
            ConfigError: there are more or fewer columns than inputs or outputs.
        """
        first = self.first
        inputs, outputs = [item.name for item in first.inputs], [item.name for item in first.outputs]
        groups = groups_in_order("feature_columns", features, inputs, "input")
        if groups is None:
            groups = (features.names,) if len(inputs) == 1 else tuple((name,) for name in features.names)
        if len(groups) != len(inputs):
            raise ConfigError(
                f"`feature_columns` must say which columns feed each of the {len(inputs)} inputs of the model "
                f"({', '.join(inputs)}). Received: feature_columns={features.plain()}. Pass one column for each input, "
                "a list of columns for each, or a dict by input's name."
            )
        named = groups_in_order("label_columns", labels, outputs, "output")
        found = labels.names if named is None else tuple(name for group in named for name in group)
        if len(found) != len(outputs):
            raise ConfigError(
                f"`label_columns` must name one column for each of the {len(outputs)} outputs of the model "
                f"({', '.join(outputs)}). Received: label_columns={labels.plain()}. Name as many."
            )
        return Layout(groups, found, {})

    def configure(
        self,
        prepared: PreparedData,
        *,
        feature_columns_per_input: Sequence[Sequence[str]],
        batch_size: int,
        epochs: int,
        class_weight: Mapping[Any, float] | None = None,
    ) -> None:
        """Match columns with the inputs and outputs of the model.

        Args:
            prepared: the data set in the store.
            feature_columns_per_input: columns of each input, as `layout` gives them.
            batch_size: not used: each candidate says its own.
            epochs: not used: schedules of learning rates are the user's.
            class_weight: must be None.

        Raises:
            ConfigError: they do not fit.
        """
        if class_weight is not None:
            raise ConfigError(f"`class_weight` must be None for an estimator. Received: class_weight={class_weight!r}.")
        first = self.first
        stored = {column.name: column for column in prepared.features}
        features = tuple(tuple(stored[name] for name in group) for group in feature_columns_per_input)
        for given, columns in zip(first.inputs, features, strict=True):
            _check_input(given, columns)
        self._targets = tuple(
            output.target(column, prepared.statistics[column.name])
            for output, column in zip(first.outputs, prepared.labels, strict=True)
        )
        self._features = features
        self._labels = tuple(prepared.labels)
        widths = [output.width for output in first.outputs]
        self._rows = row_specs(features, widths, weighted=prepared.weights is not None)
        check_transformation(first.spec.transformation, self._rows)
        self._adapter = Adapter(features, prepared)

    def describe(self) -> dict[str, Any]:
        """Search space and first candidate as plain values by dotted path, equal for equal ones."""
        spec = self.first.spec
        found: dict[str, Any] = {f"search_space.{name}": value for name, value in self._parameters.describe().items()}
        config = json.loads(spec.model)["config"]
        for layer in config.get("layers", ()):
            settings = layer.get("config", {})
            found[f"model.{settings.get('name')}"] = f"{layer.get('class_name')}({json.dumps(settings)})"
        wiring = [config.get("input_layers"), config.get("output_layers")]
        wiring.append([layer.get("inbound_nodes") for layer in config.get("layers", ())])
        found["model"] = json.dumps(wiring)
        for name in ("optimizer", "loss", "metrics"):
            found[name] = json.dumps(getattr(spec, name))
        for name in ("loss_weights", "transformation"):
            if getattr(spec, name):
                found[name] = json.dumps(getattr(spec, name))
        return found

    def explore(
        self, overrides: keras_tuner.HyperParameters | None = None, *, warn_unused: bool = True
    ) -> keras_tuner.HyperParameters:
        """The hyperparameters.

        Args:
            overrides: must be None: the search space is the user's own.
            warn_unused: not used.

        Raises:
            ConfigError: there are `overrides`.
        """
        if overrides is not None:
            raise ConfigError("`hyperparameters` must be None where there is a `search_space`. Change that one.")
        return self._parameters.space()

    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int | None = None) -> CandidateSpec:
        """Build the candidate for these values; the model itself is dropped.

        Args:
            hp: the hyperparameters with values.
            trial: identifier of the trial.
            seed: seed of the initial weights; that of the search space if None.

        Raises:
            BuildError: the function failed or gave something else than for other values, or the candidate has more
                than `max_model_size` parameters or `max_flops` operations.
        """
        if self._adapter is None:
            raise CerebroNasError("The space must be configured for the data before candidates are built.")
        params = self.params(hp.values)
        try:
            found = read_candidate(self._make, params, self._adapter)
            if found.spec.transformation != self.first.spec.transformation:
                check_transformation(found.spec.transformation, self._rows)
        except ConfigError as error:
            raise BuildError(f"With {params}: {error}") from error
        self._check_alike(found, params)
        spec = found.spec
        check_size(spec.parameters, spec.flops, max_model_size=self.max_model_size, max_flops=self.max_flops)
        return replace(spec, trial=trial, seed=self.seed if seed is None else seed)

    def _rehearsed(self) -> tuple[Candidate, tuple[str, ...]]:
        if self._first is None:
            self._first = self._try()
            self._compare()
        return self._first

    def _values(self, number: int) -> dict[str, Any]:
        """Parameters to try: default ones, then random ones."""
        space = self._parameters.space()
        oracle = RandomOracle(objective=None, max_trials=1, hyperparameters=space, seed=self.seed + number)
        return self.params(oracle.complete_randomly({}) if number else oracle.complete({}))

    def _try(self) -> tuple[Candidate, tuple[str, ...]]:
        """Rehearse the candidate of default values, or of others if the function cannot make that one."""
        failures: list[BuildError] = []
        for number in range(_TRIES if self._parameters.space().space else 1):
            try:
                return rehearse(self._make, self._values(number))
            except BuildError as error:
                failures.append(error)
        said = str(failures[0]).rstrip(".")
        raise ConfigError(f"{said}. So it did with {len(failures)} configurations. Call it yourself to see why.")

    def _compare(self) -> None:
        """Look at another candidate too: what all of them would be rejected for is told before there is work."""
        params = self._values(1)
        try:
            found = read_candidate(self._make, params)
        except (BuildError, ConfigError):
            # It is rejected if it is proposed; others may be fine.
            return
        try:
            self._check_alike(found, params)
        except BuildError as error:
            self._first = None
            raise ConfigError(str(error)) from error

    def _check_alike(self, found: Candidate, params: Mapping[str, Any]) -> None:
        first = self.first
        for what, mine, others in (
            ("inputs", found.inputs, first.inputs),
            ("outputs", found.outputs, first.outputs),
            ("metrics", found.spec.metrics, first.spec.metrics),
            ("callbacks", (found.rules, found.logdirs), (first.rules, first.logdirs)),
        ):
            if mine != others:
                raise BuildError(
                    f"`estimator_gen_fn` must give all candidates the same {what}. "
                    f"Received: {mine} with {dict(params)}, and {others} before. Leave what is searched out of them."
                )


def _check_input(given: Input, columns: tuple[ColumnSpec, ...]) -> None:
    if len(columns) > 1 and any(column.shape for column in columns):
        shapes = ", ".join(f"{column.name}: {column.shape}" for column in columns)
        raise ConfigError(
            "`feature_columns` must give an input one tensor column or several scalar ones. "
            f"Received: {shapes}. Assemble them into one column (Spark's `VectorAssembler`)."
        )
    shape = columns[0].shape or (len(columns),)
    # Keras itself drops a last dimension of 1 for an input of scalars.
    fits = given.shape == () and shape == (1,)
    if len(shape) == len(given.shape):
        fits = all(mine in (None, theirs) for mine, theirs in zip(given.shape, shape, strict=True))
    if not fits:
        raise ConfigError(
            f"`feature_columns` must give the input {given.name!r} of the model rows of shape {given.shape}. "
            f"Received: {', '.join(repr(column.name) for column in columns)} with rows of shape {shape}. "
            "Change the columns, or the shape of the input."
        )
