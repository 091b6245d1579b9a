"""Mean and variance of `Normalization` layers, from the statistics of the whole data set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import keras
import numpy as np

from cerebro_nas.errors import BuildError
from cerebro_nas.search_space._adapter import PASS_THROUGH
from cerebro_nas.worker import ColumnSpec

if TYPE_CHECKING:
    from cerebro_nas.data import PreparedData

_LOGGER = logging.getLogger(__name__)
_Moments = tuple[list[float], list[float]]


class Adapter:
    """Finds the statistics for each `Normalization` layer of a model.

    Args:
        features: columns of each model input.
        prepared: the data set.
    """

    def __init__(self, features: Sequence[tuple[ColumnSpec, ...]], prepared: PreparedData) -> None:
        self._moments = [_moments(columns, prepared) for columns in features]
        self._warned = False

    def adapted(self, model: keras.Model) -> dict[str, dict[str, list[float]]]:
        """Statistics by layer name; layers left out keep mean 0 and variance 1."""
        found: dict[str, dict[str, list[float]]] = {}
        for layer in model.layers:
            # One that was given its mean has it in its configuration.
            if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
                source = self._source(model, layer)
                if source is not None:
                    mean, variance = _fit(layer, self._moments[source])
                    found[layer.name] = {"mean": mean, "variance": variance}
        return found

    def _source(self, model: keras.Model, layer: Any) -> int | None:
        """Index of the input whose values reach this layer unchanged, if there is one."""
        inputs = [tensor for tensor in model.inputs]
        tensor = layer.input
        while not any(tensor is item for item in inputs):
            producer = tensor._keras_history.operation
            if isinstance(producer, keras.layers.Normalization):
                # What comes out of the first has mean 0 and variance 1 already.
                return None
            if type(producer).__name__ not in PASS_THROUGH:
                self._warn(layer.name)
                return None
            tensor = producer.input
        return next(i for i, item in enumerate(inputs) if tensor is item)

    def _warn(self, name: str) -> None:
        if not self._warned:
            self._warned = True
            _LOGGER.warning(
                "Normalization layer %r does not follow an input directly: it keeps mean 0 and variance 1.", name
            )


def _moments(columns: tuple[ColumnSpec, ...], prepared: PreparedData) -> _Moments:
    statistics = [prepared.statistics[column.name] for column in columns]
    return [m for s in statistics for m in s.mean], [v for s in statistics for v in s.variance]


def _fit(layer: Any, moments: _Moments) -> _Moments:
    """The moments in the shape that the layer needs, pooled over the last axis where it needs one value."""
    wanted = int(np.prod(layer.adapt_mean.shape))
    last_axis = len(layer.input.shape) - 1
    if tuple(layer._keep_axis) not in ((), (last_axis,)):
        raise BuildError(
            "Argument `axis` of `Normalization` should be -1 (the channels) or None. "
            f"Received: axis={layer.axis}. Statistics are kept for the last axis only."
        )
    if len(moments[0]) == wanted:
        return moments
    if wanted != 1 or not moments[0]:
        raise BuildError(
            f"Layer {layer.name!r} should have as many values as the data has channels. "
            f"Received: {wanted} values for {len(moments[0])} channels. Check the shape of the input."
        )
    return _pooled(moments)


def _pooled(moments: _Moments) -> _Moments:
    # Each entry of the last axis has equally many values.
    mean, variance = (np.asarray(values, dtype=np.float64) for values in moments)
    centre = mean.mean()
    return [float(centre)], [float((variance + (mean - centre) ** 2).mean())]
