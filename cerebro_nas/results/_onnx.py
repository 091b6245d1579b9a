"""Models as ONNX: for programs that have neither Keras nor TensorFlow."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.results._raw import output_names

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray


def write_onnx(model: keras.Model, path: Path, signature: list[Any]) -> None:
    """Convert a model.

    Args:
        model: takes numbers; there are no operations on strings in ONNX Runtime.
        path: where it is written.
        signature: a `tf.TensorSpec` for each input.

    Raises:
        ConfigError: packages are missing, or an operation of the model has no counterpart.
    """
    # The last one is needed to try what was written.
    onnx, convert, _ = (_package(name) for name in ("onnx", "tf2onnx.convert", "onnxruntime"))
    graph, inputs, outputs = _frozen(model, signature)
    names = dict(zip(outputs, output_names(model), strict=True))
    names.update({name: spec.name for name, spec in zip(inputs, signature, strict=True)})
    try:
        with _quiet():
            found, _ = convert.from_graph_def(
                graph, input_names=inputs, output_names=outputs, tensors_to_rename=names, output_path=str(path)
            )
        onnx.checker.check_model(found)
    # The converter logs what it cannot convert and leaves it in, or fails in ways of its own.
    except (ValueError, TypeError, KeyError, RuntimeError, NotImplementedError, onnx.checker.ValidationError) as error:
        raise ConfigError(
            f"The model cannot be exported as ONNX: {' '.join(str(error).split())[:300]}. "
            "Export it as '.keras' or as a SavedModel (a path without a suffix)."
        ) from error


def predict_onnx(path: Path, rows: dict[str, NDArray[Any]]) -> list[Any]:
    """What ONNX Runtime makes of rows, one array for each output.

    Raises:
        ConfigError: it is not installed.
    """
    session = _package("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, rows))


def _frozen(model: keras.Model, signature: list[Any]) -> tuple[Any, list[str], list[str]]:
    """The graph with its weights as constants, and the names of its inputs and outputs."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # Keras' own export leaves what layers keep as plain tensors, the statistics of Normalization, among the inputs.
    def call(*tensors: Any) -> Any:
        return model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)

    concrete = tf.function(call).get_concrete_function(*signature)
    with _quiet():
        frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    return (
        frozen.graph.as_graph_def(),
        [tensor.name for tensor in frozen.inputs],
        [tensor.name for tensor in frozen.outputs],
    )


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            "Exporting as ONNX needs the packages onnx, tf2onnx and onnxruntime. "
            f'Received: {error}. Install them in the checkout of cerebro_nas: `pip install -e ".[onnx]"`.'
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converter's notes on every operation; what goes wrong is told by the error."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
