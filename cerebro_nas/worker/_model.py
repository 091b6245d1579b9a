"""Building a candidate's Keras model from its specification, always the same for the same seed."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from cerebro_nas.worker._allowed import check_objects
from cerebro_nas.worker._allowed import parse_json
from cerebro_nas.worker._layers import CUSTOM_OBJECTS
from cerebro_nas.worker._spec import CandidateSpec


def build_model(spec: CandidateSpec) -> keras.Model:
    """Build and compile the model; its weights follow from `spec.seed` alone.

    Preprocessing layers get the statistics in `spec.adapted`. Global random states are left as they were.

    Raises:
        UnsafeModelError: the specification names what no model is made of; nothing of it was executed.
        ValueError: Keras refuses the specification.
    """
    check_spec(spec)
    with _seeded(spec.seed):
        model = keras.models.model_from_json(spec.model, custom_objects=CUSTOM_OBJECTS)
        # Keras changes what it deserialises in place.
        optimizer = keras.optimizers.deserialize(copy.deepcopy(spec.optimizer))
    adapt(model, spec)
    model.compile(
        optimizer=optimizer,
        loss=_single([_loss(item) for item in spec.loss]),
        loss_weights=list(spec.loss_weights) or None,
        metrics=_single([[_metric(item) for item in group] for group in spec.metrics]),
    )
    # Optimizer state exists only after this, and it has to travel with the first hop.
    model.optimizer.build(model.trainable_variables)
    _build_metrics(model)
    return model


def check_spec(spec: CandidateSpec) -> None:
    """Refuse a specification, which may come from the store or the wire, that names anything but parts of models.

    Raises:
        UnsafeModelError: it does.
        ValueError: its text is no JSON.
    """
    registered = {*CUSTOM_OBJECTS, *keras.saving.get_custom_objects()}
    parts = [parse_json(spec.model), spec.optimizer, list(spec.loss), [list(group) for group in spec.metrics]]
    check_objects(parts, registered, "The specification of a candidate")


def adapt(model: keras.Model, spec: CandidateSpec) -> None:
    """Give preprocessing layers the statistics of the whole data set, before anything is traced."""
    for name, statistics in spec.adapted.items():
        layer = model.get_layer(name)
        for key, variable in (("mean", layer.adapt_mean), ("variance", layer.adapt_variance)):
            variable.assign(np.broadcast_to(np.asarray(statistics[key], dtype="float32"), variable.shape))
        layer.finalize_state()


def _build_metrics(model: keras.Model) -> None:
    """Have the metrics make their variables now: made inside a graph, they cost a second trace of it."""
    outputs = [np.zeros((1, *(n or 1 for n in output.shape[1:])), dtype="float32") for output in model.outputs]
    pack = _single(outputs)
    model.compute_loss(x=None, y=pack, y_pred=pack)
    results = model.compute_metrics(x=None, y=pack, y_pred=pack, sample_weight=None)
    model.reset_metrics()
    _check_numbers({name: tuple(getattr(value, "shape", ())) for name, value in results.items()})


def _check_numbers(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse metrics of several numbers, in words that say which: the driver knows only those that it could try."""
    for name, shape in shapes.items():
        if shape:
            raise ValueError(
                f"Argument `metrics` should be metrics that give one number. Received: {name!r}, which gives numbers "
                f'of shape {shape}. Make it with `average="macro"`, or choose one that gives their mean.'
            )


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Python's random state set for a while: initialisers and random layers draw their default seeds from it."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def _loss(item: Any) -> Any:
    return keras.losses.deserialize(copy.deepcopy(item)) if isinstance(item, dict) else item


def _metric(item: Any) -> Any:
    return keras.metrics.deserialize(copy.deepcopy(item)) if isinstance(item, dict) else item


def _single(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items
