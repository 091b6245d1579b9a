"""From what the user's function returned to plain values that workers train from."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cerebro_nas import search
from cerebro_nas.errors import BuildError
from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.keras._arguments import EstimatorArguments
from cerebro_nas.keras._parts import loss_parts
from cerebro_nas.keras._parts import loss_weights
from cerebro_nas.keras._parts import metric_parts
from cerebro_nas.keras._parts import optimizer_part
from cerebro_nas.keras._targets import Output
from cerebro_nas.search_space import Adapter
from cerebro_nas.search_space import architecture_text
from cerebro_nas.search_space import count_flops
from cerebro_nas.search_space import fresh_session
from cerebro_nas.search_space import refuse_objects_of_main
from cerebro_nas.worker import CUSTOM_OBJECTS
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import build_model
from cerebro_nas.worker import check_objects
from cerebro_nas.worker import parse_json

MakeEstimator = Callable[[dict[str, Any]], Any]
Adapted = dict[str, dict[str, list[float]]]

# Layer -> where its configuration has what `adapt` would find out.
_LOOKUPS = {
    "Discretization": "bin_boundaries",
    "IntegerLookup": "vocabulary",
    "StringLookup": "vocabulary",
    "TextVectorization": "vocabulary",
}


@dataclass(frozen=True)
class Input:
    """One input of a model: its name and the shape of a row, with None where that is not fixed."""

    name: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Candidate:
    """A model as plain values.

    Attributes:
        inputs: of the model; `outputs` likewise.
        spec: what workers are told, still without trial and seed.
        rules: early stopping that its callbacks ask for; `logdirs`: directories for TensorBoard.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    spec: CandidateSpec
    rules: tuple[search.StoppingRule, ...]
    logdirs: tuple[str, ...]


def read_candidate(make: MakeEstimator, params: Mapping[str, Any], adapter: Adapter | None = None) -> Candidate:
    """Have the user's function make an estimator, and read it.

    Args:
        make: the function.
        params: what it is given.
        adapter: gives `Normalization` layers that were not adapted the statistics of the data.

    Raises:
        ConfigError: it returned no estimator, or one that cannot be trained here.
        BuildError: it failed.
    """
    with fresh_session():
        return _read(_made(make, params), adapter)


def rehearse(make: MakeEstimator, params: Mapping[str, Any]) -> tuple[Candidate, tuple[str, ...]]:
    """Read a candidate, and build its model as a worker will.

    Returns:
        The candidate, and what it reports: its loss and metrics, as Keras names them.

    Raises:
        ConfigError: it cannot be trained here.
        BuildError: the function failed.
    """
    with fresh_session():
        estimator = _made(make, params)
        candidate = _read(estimator, None)
        try:
            built = build_model(candidate.spec)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(
                "`model`, `optimizer`, `loss` and `metrics` must make a model that Keras can build again from its "
                f"configuration. Received: {error} Change the part that is named."
            ) from error
        _refuse_trained(estimator.model, built)
        return candidate, tuple(built.get_metrics_result())


def _made(make: MakeEstimator, params: Mapping[str, Any]) -> EstimatorArguments:
    try:
        found = make(dict(params))
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - the user's function may raise anything
        raise BuildError(f"`estimator_gen_fn` failed with {dict(params)}: {type(error).__name__}: {error}") from error
    if not isinstance(found, EstimatorArguments):
        raise ConfigError(
            "`estimator_gen_fn` must return a `cerebro_nas.keras.SparkEstimator`. "
            f"Received: {found!r:.80} (of type {type(found).__name__}). Return `SparkEstimator(model=..., ...)`."
        )
    return found


def _read(estimator: EstimatorArguments, adapter: Adapter | None) -> Candidate:
    model = estimator.model
    inputs, outputs = _ends(model)
    names = _output_names(model)
    losses = loss_parts(estimator.loss, names)
    _check_lookups(model)
    adapted = {**({} if adapter is None else adapter.adapted(model)), **_adapted_by_user(model)}
    spec = CandidateSpec(
        trial="",
        model=_text(model),
        optimizer=optimizer_part(estimator.optimizer),
        loss=tuple(part.serialised for part in losses),
        loss_weights=loss_weights(estimator.loss_weights, names),
        metrics=metric_parts(estimator.metrics, names),
        adapted=adapted,
        parameters=int(model.count_params()),
        flops=count_flops(model),
        batch_size=estimator.batch_size,
        transformation=estimator.transformation,
    )
    _check_parts(spec)
    rules, logdirs = search.split_callbacks(estimator.callbacks)
    return Candidate(
        inputs=inputs,
        outputs=tuple(
            Output(name, width, part.family) for name, width, part in zip(names, outputs, losses, strict=True)
        ),
        spec=spec,
        rules=tuple(rules),
        logdirs=tuple(logdirs),
    )


def _ends(model: keras.Model) -> tuple[tuple[Input, ...], list[int]]:
    """The inputs, and the widths of the outputs."""
    try:
        inputs, outputs = list(model.inputs), list(model.outputs)
        # A sequential model has one input and one output, and packs neither.
        packs = [] if isinstance(model, keras.Sequential) else [model.input, model.output]
    except (AttributeError, ValueError) as error:
        raise ConfigError(
            "`model` must be a functional model, or a sequential one that begins with `keras.Input(shape=...)`: a "
            "worker builds it from its configuration. Received: "
            f"{type(model).__name__} {model.name!r} ({error}). Add the input, or make it of layers with "
            "`keras.Model(inputs, outputs)`."
        ) from error
    for pack in packs:
        parts = pack if isinstance(pack, (list, tuple)) else [pack]
        nested = [type(part).__name__ for part in parts if isinstance(part, (dict, list, tuple))]
        if nested:
            raise ConfigError(
                "`model` must have single tensors or flat lists of them as inputs and outputs, which columns are "
                f"given to in order. Received: a {nested[0]}. "
                "Make it with `keras.Model(list(inputs.values()), [output, ...])`."
            )
    widths = []
    for name, tensor in zip(_output_names(model), outputs, strict=True):
        shape = tuple(tensor.shape[1:])
        if len(shape) != 1 or shape[0] is None:
            raise ConfigError(
                "`model` must have outputs of one vector a row. "
                f"Received: output {name!r} of shape {shape} a row. Add `keras.layers.Flatten()`, or pool it."
            )
        widths.append(int(shape[0]))
    # Tensors have names of their own, which count what else was made; those of layers the user knows.
    return tuple(Input(tensor._keras_history.operation.name, tuple(tensor.shape[1:])) for tensor in inputs), widths


def _output_names(model: keras.Model) -> list[str]:
    return [model.layers[-1].name] if isinstance(model, keras.Sequential) else list(model.output_names)


def _text(model: keras.Model) -> str:
    try:
        return architecture_text(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ConfigError(
            "`model` must be made of layers that Keras can describe: a worker builds it from its configuration. "
            f"Received: {type(model).__name__} {model.name!r} ({error}). Use Keras' own layers."
        ) from error


def _check_parts(spec: CandidateSpec) -> None:
    """Refuse what no worker would build, as it would refuse it itself."""
    parts = [parse_json(spec.model), spec.optimizer, list(spec.loss), [list(group) for group in spec.metrics]]
    try:
        check_objects(parts, {*CUSTOM_OBJECTS, *keras.saving.get_custom_objects()}, "the estimator")
    except UnsafeModelError as error:
        found = str(error).split("Received: ")[-1].split(". It was not loaded")[0]
        raise ConfigError(
            "`model`, `optimizer`, `loss` and `metrics` must be made of what Keras has, or of what is registered with "
            "it (`keras.saving.register_keras_serializable`) in a module that workers can import. "
            f"Received: {found}. Register it, or use Keras' layers and functions (instead of `Lambda`, say, those of "
            "`keras.ops`, `keras.layers.Rescaling`, ...)."
        ) from error
    refuse_objects_of_main(json.dumps([*parts, spec.transformation]))


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _check_lookups(model: keras.Model) -> None:
    for layer in _layers(model):
        key = _LOOKUPS.get(type(layer).__name__)
        if key is not None and layer.get_config().get(key) is None:
            raise ConfigError(
                f"`model` must have layers of type {type(layer).__name__} with `{key}` given: a worker builds them "
                f"from their configuration, in which `adapt` leaves nothing. Received: layer {layer.name!r} without. "
                f"Make it with `{key}=...`."
            )


def _adapted_by_user(model: keras.Model) -> Adapted:
    """What the user's own call of `adapt` found, which is in no configuration."""
    found: Adapted = {}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Normalization) or layer.input_mean is not None:
            continue
        mean, variance = np.asarray(layer.adapt_mean), np.asarray(layer.adapt_variance)
        if not mean.any() and (variance == 1).all():
            continue
        if mean.ndim > 1:
            raise ConfigError(
                "`model` must have `Normalization` layers over one axis, or with `mean` and `variance` given. "
                f"Received: layer {layer.name!r} with statistics of shape {mean.shape}. Pass them to its constructor."
            )
        found[layer.name] = {"mean": _numbers(mean), "variance": _numbers(variance)}
    return found


def _numbers(values: Any) -> list[float]:
    return [float(value) for value in values.reshape(-1)]


def _refuse_trained(model: keras.Model, fresh: keras.Model) -> None:
    """Refuse weights that would be lost without a word, as far as one can tell them from initial ones.

    What an initialiser makes zeros or ones (biases, moving statistics) is neither once it was trained or loaded.
    """
    for mine, new in zip(model.weights, fresh.weights, strict=True):
        there, begun = np.asarray(mine), np.asarray(new)
        if (np.all(begun == 0) or np.all(begun == 1)) and not np.array_equal(there, begun):
            raise ConfigError(
                "`model` must have initial weights: each candidate begins with weights that follow from the search's "
                f"seed, and those of the model are not used. Received: {mine.path!r} with other values than its "
                "initialiser gives, so the model was trained, loaded or set. Make it anew; for a bias of your own "
                "pass `bias_initializer=keras.initializers.Constant(...)`."
            )
