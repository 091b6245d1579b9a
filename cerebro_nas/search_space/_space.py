"""A search space: a graph of AutoKeras blocks, configured for a data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import keras
import keras_tuner

from cerebro_nas.errors import BuildError
from cerebro_nas.errors import ConfigError
from cerebro_nas.search_space import _adapter
from cerebro_nas.search_space import _io
from cerebro_nas.search_space._adapted import Adapter
from cerebro_nas.search_space._built import architecture_text
from cerebro_nas.search_space._built import check_size
from cerebro_nas.search_space._built import metric_name
from cerebro_nas.search_space._built import serialised
from cerebro_nas.search_space._class_weights import with_class_weights
from cerebro_nas.search_space._columns import InputInfo
from cerebro_nas.search_space._columns import Layout
from cerebro_nas.search_space._columns import NamedColumns
from cerebro_nas.search_space._describe import describe_graph
from cerebro_nas.search_space._explore import BATCH_SIZE
from cerebro_nas.search_space._explore import Explorer
from cerebro_nas.search_space._flops import count_flops
from cerebro_nas.search_space._head_parts import check_head
from cerebro_nas.search_space._layout import input_info
from cerebro_nas.search_space._layout import labels_of
from cerebro_nas.search_space._layout import make_layout
from cerebro_nas.search_space._own import check_parts
from cerebro_nas.search_space._own import refuse_objects_of_main
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import ColumnSpec

if TYPE_CHECKING:
    from cerebro_nas.data import PreparedData


class SearchSpace:
    """Turns values of hyperparameters into candidates.

    Building starts new Keras sessions: models that the process made before stay usable, but automatic names of layers
    and blocks count from 1 again.

    Args:
        inputs: an AutoKeras input, or a list of them.
        outputs: nodes that heads returned (functional API), or heads alone: then the blocks are those that AutoKeras
            chooses for the kind of input.
        seed: seed of the initial weights of candidates that are built without one of their own.
        max_model_size: parameters that a candidate may have at most.
        max_flops: floating point operations that it may take at most for a forward pass of one row.
    """

    def __init__(self, inputs: Any, outputs: Any, *, seed: int = 0, max_model_size: int | None = None) -> None:
        _check_max_model_size(max_model_size)
        self.seed = seed
        self.max_model_size = max_model_size
        self.max_flops: int | None = None
        self._graph = _adapter.make_graph(_checked_inputs(inputs), _checked_outputs(inputs, outputs))
        self._heads = _adapter.heads_of(self._graph)
        for head in self._heads:
            check_head(head)
        self._settings = [_io.head_settings(head) for head in self._heads]
        self._features: tuple[tuple[ColumnSpec, ...], ...] = ()
        self._labels: tuple[ColumnSpec, ...] = ()
        self._targets: tuple[dict[str, Any], ...] = ()
        self._statistics: Adapter | None = None
        _refuse_pretrained(self._graph)

    @property
    def features(self) -> tuple[tuple[ColumnSpec, ...], ...]:
        """Per input, the columns that feed it."""
        return self._features

    @property
    def labels(self) -> tuple[ColumnSpec, ...]:
        """Per head, the column that feeds it."""
        return self._labels

    @property
    def targets(self) -> tuple[dict[str, Any], ...]:
        """Per head, how workers make targets of the labels (see `SearchSpec.targets`)."""
        return self._targets

    @property
    def classifies(self) -> tuple[bool, ...]:
        """Per head, whether its outputs are probabilities of classes."""
        return tuple(_adapter.is_classification(head) for head in self._heads)

    @property
    def inputs(self) -> tuple[InputInfo, ...]:
        """What each input takes."""
        return tuple(input_info(node) for node in self._graph.inputs)

    @property
    def head_names(self) -> tuple[str, ...]:
        """Names of the heads."""
        return tuple(str(head.name) for head in self._heads)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What candidates report, as Keras names it, without the `val_` variants."""
        names = ["loss"]
        for head in self._heads:
            prefix = f"{head.name}_" if len(self._heads) > 1 else ""
            names += [prefix + metric_name(metric) for metric in head.metrics]
        return tuple(names)

    def check_own(self) -> None:
        """Refuse losses and metrics of the user's own that workers could not import; no data is needed.

        Raises:
            ConfigError: there is one.
        """
        check_parts([head.loss for head in self._heads], [head.metrics for head in self._heads])
        refuse_objects_of_main(json.dumps([self._losses(), self._metrics()]))

    def configure(
        self,
        prepared: PreparedData,
        *,
        feature_columns_per_input: Sequence[Sequence[str]] | None = None,
        batch_size: int,
        epochs: int,
        class_weight: Mapping[Any, float] | None = None,
    ) -> None:
        """Set the shapes, classes and statistics of a data set. May be called again for another one.

        Args:
            prepared: the data set in the store.
            feature_columns_per_input: columns of each input; by default all for a single input, else one for each.
            batch_size: rows per step.
            epochs: epochs that candidates train; learning-rate schedules depend on it.
            class_weight: by class, what the loss of its training rows is multiplied by.

        Raises:
            ConfigError: data and graph do not fit.
        """
        inputs = self._graph.inputs
        features = _io.features_by_input(prepared, inputs, feature_columns_per_input)
        labels_of(self._heads, NamedColumns(tuple(column.name for column in prepared.labels)))
        for node, columns in zip(inputs, features, strict=True):
            _io.configure_input(node, columns, prepared.train_rows, batch_size)
        self._targets = tuple(
            _io.configure_head(head, settings, column, prepared)
            for head, settings, column in zip(self._heads, self._settings, prepared.labels, strict=True)
        )
        if class_weight is not None:
            known = [
                self._classes_of(head, column, prepared)
                for head, column in zip(self._heads, prepared.labels, strict=True)
            ]
            self._targets = with_class_weights(self._targets, class_weight, known)
        self.check_own()
        # The rows are those of the training split already.
        self._graph.set_fit_args(0, epochs)
        self._features = features
        self._labels = tuple(prepared.labels)
        self._statistics = Adapter(features, prepared)

    def _classes_of(self, head: Any, column: ColumnSpec, prepared: PreparedData) -> Sequence[Any]:
        if not _adapter.is_classification(head):
            return ()
        # Of a vector of one number it says which of two classes.
        return range(max(2, column.shape[0])) if column.shape else prepared.statistics[column.name].classes

    def layout(
        self, features: NamedColumns, labels: NamedColumns, kind: Callable[[str], str | None] = lambda name: None
    ) -> Layout:
        """Give inputs and heads their columns.

        Args:
            features: what the user named for the inputs.
            labels: what the user named for the heads.
            kind: says what a column holds (see `cerebro_nas.data.Rows.kind`), None for one that is not there.

        Raises:
            ConfigError: columns, inputs and heads do not fit.
        """
        return make_layout(self._graph.inputs, self._heads, features, labels, kind)

    def describe(self) -> dict[str, Any]:
        """The graph as plain values by dotted path, equal for equal graphs; call it after `configure`."""
        return describe_graph(self._graph.get_config())

    def explore(
        self, overrides: keras_tuner.HyperParameters | None = None, *, warn_unused: bool = True
    ) -> keras_tuner.HyperParameters:
        """Find the complete space.

        Args:
            overrides: entries that replace those of the graph with the same name, under the graph's own conditions.
            warn_unused: warn of entries that replace nothing.

        Returns:
            Every hyperparameter of the graph, with default values.

        Raises:
            BuildError: the graph cannot be built with any of the values tried.
        """
        self._adapter_of_data()

        def is_known(name: str) -> bool:
            return _adapter.is_autokeras_block(self._graph, name)

        return Explorer(self._probe, overrides, is_known).explore(warn_unused)

    def build(self, hp: keras_tuner.HyperParameters, *, trial: str, seed: int | None = None) -> CandidateSpec:
        """Build the candidate for these values; the model itself is dropped.

        Args:
            hp: the space with values; active hyperparameters without a value take their default.
            trial: identifier of the trial.
            seed: seed of the initial weights; that of the search space if None.

        Raises:
            BuildError: `reason="invalid_graph"` if Keras refuses the architecture, `"oversized"` if it has more than
                `max_model_size` parameters or `max_flops` operations.
            ConfigError: it has a loss, metric or layer that no other process could import.
        """
        data = self._adapter_of_data()
        with _adapter.fresh_session():
            model = self._model(_completed(hp))
            parameters, flops = int(model.count_params()), count_flops(model)
            check_size(parameters, flops, max_model_size=self.max_model_size, max_flops=self.max_flops)
            spec = CandidateSpec(
                trial=trial,
                model=architecture_text(model),
                optimizer=keras.optimizers.serialize(model.optimizer),
                loss=self._losses(),
                metrics=self._metrics(),
                adapted=data.adapted(model),
                seed=self.seed if seed is None else seed,
                parameters=parameters,
                flops=flops,
                batch_size=int(hp.values.get(BATCH_SIZE, 0)),
            )
        refuse_objects_of_main(spec.model)
        return spec

    def _losses(self) -> tuple[Any, ...]:
        return tuple(serialised(head.loss, keras.losses.serialize) for head in self._heads)

    def _metrics(self) -> tuple[tuple[Any, ...], ...]:
        return tuple(
            tuple(serialised(metric, keras.metrics.serialize) for metric in head.metrics) for head in self._heads
        )

    def _probe(self, hp: keras_tuner.HyperParameters) -> None:
        with _adapter.fresh_session():
            self._model(hp)

    def _model(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        try:
            return self._graph.build(hp)
        except Exception as error:  # noqa: BLE001 - a block may raise anything, and only this candidate is at fault
            raise BuildError(f"The graph cannot be built with {dict(hp.values)}: {error}") from error

    def _adapter_of_data(self) -> Adapter:
        if self._statistics is None:
            raise ConfigError(
                "`SearchSpace.configure` should be called before `explore` and `build`. "
                "Received: a search space without data. Pass it the prepared data."
            )
        return self._statistics


def _check_max_model_size(value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigError(
            "Argument `max_model_size` should be a positive number of parameters, or None. "
            f"Received: max_model_size={value!r}. Pass such a number."
        )


def _checked_inputs(inputs: Any) -> list[Any]:
    flat = _adapter.flatten(inputs)
    if not flat or not all(_adapter.is_input(item) for item in flat):
        raise ConfigError(
            "Argument `inputs` should be an AutoKeras input, such as `ak.ImageInput()`, or a list of them. "
            f"Received: inputs={inputs!r}. Pass the input nodes."
        )
    return flat


def _checked_outputs(inputs: Any, outputs: Any) -> list[Any]:
    flat = _adapter.flatten(outputs)
    if flat and all(_adapter.is_head(item) for item in flat):
        return _adapter.assemble(_adapter.flatten(inputs), flat)
    nodes = flat and all(_adapter.is_node(item) and item.in_blocks for item in flat)
    if not nodes or not all(_adapter.is_head(item.in_blocks[0]) for item in flat):
        raise ConfigError(
            "Argument `outputs` should be heads, such as `ak.ClassificationHead()`, or what heads returned. "
            f"Received: outputs={outputs!r}. End every branch of the graph in a head."
        )
    return flat


def _refuse_pretrained(graph: _adapter.ShapeGraph) -> None:
    for block in graph.blocks:
        if getattr(block, "pretrained", None):
            raise ConfigError(
                "Argument `pretrained` of a block should be False or left out: candidates start from seeded random "
                f"weights. Received: pretrained=True for {block.name!r}. Leave it out."
            )


def _completed(hp: keras_tuner.HyperParameters) -> keras_tuner.HyperParameters:
    """A copy in which every active hyperparameter has a value."""
    # KerasTuner itself would draw missing ones, without a seed.
    copy = hp.copy()
    for entry in copy.space:
        if copy.is_active(entry):
            copy.values.setdefault(entry.name, entry.default)
    return copy
