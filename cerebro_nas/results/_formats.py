"""The formats that a model is exported in: writing it, and predicting with what was written."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.results._probe import outputs_of

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from cerebro_nas.results._raw import RawInput

Rows = tuple["NDArray[Any]", ...]


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        kind: its name in `export.json`.
        suffix: of the path; empty for a folder.
        raw: whether models in it take the user's own values; else they take tensors of numbers.
        names: says by which names a model in it takes its inputs.
        write: writes a model.
        predict: loads what was written, and gives its outputs on rows.
        tolerance: by how much, relatively, its numbers may differ from those of the model.
    """

    kind: str
    suffix: str
    raw: bool
    names: Callable[[Sequence[RawInput]], list[str]]
    write: Callable[[keras.Model, Path, list[str]], None]
    predict: Callable[[Path, Rows, list[str]], list[Any]]
    tolerance: float = 1e-5


def format_of(path: Path) -> Format:
    """The format that a path asks for.

    Raises:
        ConfigError: none has that suffix.
    """
    if "://" in str(path) or re.match(r"[a-z0-9]+:/", str(path)):
        raise ConfigError(f"`path` must be a local one. Received: path={str(path)!r}. Copy the export afterwards.")
    for found in _FORMATS:
        if path.suffix == found.suffix:
            return found
    raise ConfigError(
        "`path` must end in '.keras' or '.onnx', or have no suffix, which makes a folder with a SavedModel of "
        f"TensorFlow. Received: path={str(path)!r}. Rename it."
    )


# --- Keras ------------------------------------------------------------------------------------------------------------


def _own_names(inputs: Sequence[RawInput]) -> list[str]:
    return [item.name for item in inputs]


def _write_keras(model: keras.Model, path: Path, names: list[str]) -> None:
    model.save(path)


def _predict_keras(path: Path, rows: Rows, names: list[str]) -> list[Any]:
    import keras

    from cerebro_nas.worker import CUSTOM_OBJECTS

    return outputs_of(keras.models.load_model(path, custom_objects=CUSTOM_OBJECTS), rows)


# --- TensorFlow -------------------------------------------------------------------------------------------------------


def _plain_names(inputs: Sequence[RawInput]) -> list[str]:
    """Names that TensorFlow takes for arguments of functions."""
    found: list[str] = []
    for item in inputs:
        name = re.sub(r"[^0-9A-Za-z_]", "_", item.name)
        name = name if re.match(r"[A-Za-z]", name) else f"input_{name}"
        while name in found:
            name += "_"
        found.append(name)
    return found


def _signature(model: keras.Model, names: list[str]) -> list[Any]:
    import tensorflow as tf

    pairs = zip(model.inputs, names, strict=True)
    return [tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for tensor, name in pairs]


def _write_saved_model(model: keras.Model, path: Path, names: list[str]) -> None:
    import keras

    specs = _signature(model, names)
    bare = isinstance(model, keras.Sequential) or not isinstance(model.input, (list, tuple))
    signature = specs if bare else [specs]
    model.export(path, format="tf_saved_model", verbose=False, input_signature=signature)


def _predict_saved_model(path: Path, rows: Rows, names: list[str]) -> list[Any]:
    import tensorflow as tf

    # By name, as it is served; without the model's Python.
    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]
    wanted = serve.structured_input_signature[1]
    given = {
        name: tf.reshape(tf.convert_to_tensor(row), [len(row), *wanted[name].shape[1:]])
        for name, row in zip(names, rows, strict=True)
    }
    found = serve(**given)
    return [found[name].numpy() for name in sorted(found, key=_number)]


def _number(name: str) -> tuple[int, str]:
    digits = re.search(r"(\d+)$", name)
    return (int(digits[1]) if digits else 0, name)


# --- ONNX -------------------------------------------------------------------------------------------------------------


def _write_onnx(model: keras.Model, path: Path, names: list[str]) -> None:
    from cerebro_nas.results._onnx import write_onnx

    write_onnx(model, path, _signature(model, names))


def _predict_onnx(path: Path, rows: Rows, names: list[str]) -> list[Any]:
    from cerebro_nas.results._onnx import predict_onnx

    return predict_onnx(path, dict(zip(names, rows, strict=True)))


_FORMATS = (
    Format("keras", ".keras", True, _own_names, _write_keras, _predict_keras),
    Format("saved_model", "", True, _plain_names, _write_saved_model, _predict_saved_model),
    Format("onnx", ".onnx", False, _plain_names, _write_onnx, _predict_onnx, tolerance=1e-4),
)
