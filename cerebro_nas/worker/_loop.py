"""A whole sub-epoch inside one TensorFlow graph.

The data, the order of rows and the batch size are arguments, so that one trace serves every shard; learning rates are
variables of the optimizer, so that it serves every candidate of one architecture. There is no XLA: inside a loop it
makes convolutions many times slower on CPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cerebro_nas.worker._transformation import Transformation
from cerebro_nas.worker._transformation import transform_rows


class StepCount:
    """Counts steps from inside graphs. Any thread may read it while they run, and waits for nothing."""

    def __init__(self) -> None:
        # On the host, so that reading it never waits for an accelerator.
        with tf.device("CPU:0"):
            self._variable = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def value(self) -> int:
        """Steps so far."""
        return int(self._variable.numpy())

    def add_after(self, results: Any) -> None:
        """In a graph: count one step, once `results` are there."""
        with tf.control_dependencies(tf.nest.flatten(results)):
            self._variable.assign_add(1, read_value=False)


class Loop:
    """Training and evaluation loops over resident tensors, for one compiled model.

    Attributes:
        traces: how often a graph was traced.
    """

    def __init__(
        self,
        model: keras.Model,
        inputs: Sequence[Any],
        targets: Sequence[Any],
        steps: StepCount | None = None,
        *,
        weighted: bool = False,
        transformation: Transformation | None = None,
    ) -> None:
        """Make the loops for tensors of the types and row shapes of `inputs` and `targets`, counting in `steps`.

        The last of `targets` are sample weights where the model is `weighted`. The rows of each batch, as `(x, y)` or
        `(x, y, sample_weight)`, go through `transformation`, which keeps their number.
        """
        self._model = model
        self._weighted = weighted
        self._transformation = transformation
        self._steps = StepCount() if steps is None else steps
        self.traces = 0
        data = tuple(_any_rows(item) for item in inputs), tuple(_any_rows(item) for item in targets)
        order = tf.TensorSpec([None], tf.int32)
        size = tf.TensorSpec([], tf.int32)
        self._train = tf.function(self._train_graph, input_signature=[*data, order, size])
        self._test = tf.function(self._test_graph, input_signature=[*data, size])

    def train(self, inputs: Sequence[Any], targets: Sequence[Any], order: Any, batch_size: int) -> None:
        """Take one step per batch, over the rows in `order`; the last batch may be smaller. Metrics accumulate."""
        self._train(tuple(inputs), tuple(targets), order, tf.constant(batch_size, tf.int32))

    def test(self, inputs: Sequence[Any], targets: Sequence[Any], batch_size: int) -> None:
        """Evaluate all rows in their order. Metrics accumulate."""
        self._test(tuple(inputs), tuple(targets), tf.constant(batch_size, tf.int32))

    def reset_metrics(self) -> None:
        """Begin to accumulate anew."""
        self._model.reset_metrics()

    def metrics(self) -> dict[str, float]:
        """Loss and metrics of the rows since `reset_metrics`, each row counting alike."""
        found = self._model.get_metrics_result()
        return {name: float(np.asarray(value)) for name, value in found.items()}

    def _train_graph(self, inputs: Any, targets: Any, order: Any, size: Any) -> None:
        self.traces += 1
        rows = tf.shape(order)[0]
        for step in tf.range((rows + size - 1) // size):
            picked = order[step * size : tf.minimum((step + 1) * size, rows)]
            x, y = [tf.gather(item, picked) for item in inputs], [tf.gather(item, picked) for item in targets]
            self._steps.add_after(self._model.train_step(self._pack(x, y)))

    def _test_graph(self, inputs: Any, targets: Any, size: Any) -> None:
        self.traces += 1
        rows = tf.shape(inputs[0])[0]
        for step in tf.range((rows + size - 1) // size):
            begin, end = step * size, tf.minimum((step + 1) * size, rows)
            x, y = [item[begin:end] for item in inputs], [item[begin:end] for item in targets]
            self._steps.add_after(self._model.test_step(self._pack(x, y)))

    def _pack(self, inputs: list[Any], targets: list[Any]) -> tuple[Any, ...]:
        pack: tuple[Any, ...] = _single(inputs), _single(targets)
        if self._weighted:
            *targets, weights = targets
            pack = _single(inputs), _single(targets), _single([weights] * len(targets))
        return pack if self._transformation is None else transform_rows(self._transformation, pack)


def _any_rows(item: Any) -> tf.TensorSpec:
    return tf.TensorSpec([None, *item.shape[1:]], tf.as_dtype(item.dtype))


def _single(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else tuple(items)
