"""Loading a model that `export_model` saved, after looking at it."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import StoreError
from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.results._archive import repack_checked
from cerebro_nas.results._manifest import check_sha256
from cerebro_nas.results._weights import check_weights
from cerebro_nas.worker import check_objects

if TYPE_CHECKING:
    import keras

_HDF5 = (".h5", ".hdf5", ".hdf")
# Layers may have a few numbers that are not saved: seeds, say.
_UNSAVED_NUMBERS = 10_000
# They may work out tables of their own when they are built.
_WORKED_OUT_NUMBERS = 1 << 22


def load_model(path: str | os.PathLike[str], *, custom_objects: Mapping[str, Any] | None = None) -> keras.Model:
    """Load a `.keras` file that `export_model` wrote. Nothing in the file is executed.

    The file is checked and packed anew first: the members of the archive, every class and function that the
    configuration names (Keras' own, this package's, and what is registered with
    `keras.saving.register_keras_serializable`), links and sizes in the weights, and that the model is no larger than
    the weights that came with it. Functions stored as bytecode (`Lambda` layers) are always refused. If the description
    that `export_model` wrote lies beside the file (`<path>.json`), the file must have the checksum in it.

    Args:
        path: the file.
        custom_objects: classes and functions of your own by name, beside those that are registered.

    Returns:
        The model, compiled if it was when it was saved.

    Raises:
        ConfigError: the path does not name a `.keras` file.
        StoreError: it cannot be read.
        UnsafeModelError: it holds something that models are not made of; the message says what and where.
        CorruptStateError: it is damaged, or another file than the one that is described beside it.
    """
    source = _checked_path(path)
    with tempfile.TemporaryDirectory(prefix="cerebro_nas_model_") as name:
        clean, weights = Path(name) / "model.keras", Path(name) / "weights.h5"
        try:
            stream = source.open("rb")
        except OSError as error:
            raise StoreError(f"{source} could not be read: {error}. Check the path and permissions.") from error
        with stream:
            check_sha256(source, stream)
            config = repack_checked(stream, os.fstat(stream.fileno()).st_size, clean, weights)
        numbers = check_weights(weights)
        weights.unlink()
        return _load(clean, config, numbers, custom_objects or {})


def _checked_path(path: str | os.PathLike[str]) -> Path:
    source = Path(path)
    if source.suffix.lower() in _HDF5:
        raise ConfigError(
            f"`path` must end in '.keras': HDF5 files of whole models can carry code. Received: path={str(source)!r}. "
            "Where the model comes from and if you trust it, load it and save it again: "
            "`keras.models.load_model(...).save('model.keras')`."
        )
    if source.suffix != ".keras":
        raise ConfigError(
            f"`path` must end in '.keras', as `export_model` writes it. Received: path={str(source)!r}. "
            "Pass the path of such a file."
        )
    return source


def _load(clean: Path, config: dict[str, Any], numbers: int, given: Mapping[str, Any]) -> keras.Model:
    from cerebro_nas.tracking import load_tensorflow
    from cerebro_nas.tracking import quiet_libraries

    quiet_libraries()
    load_tensorflow()
    import keras

    from cerebro_nas.worker import CUSTOM_OBJECTS

    known = {**CUSTOM_OBJECTS, **given}
    check_objects(config, {*known, *keras.saving.get_custom_objects()}, "The model in the file")
    try:
        # In a thread of its own, whose state of Keras ends with it: the variables of a model that is refused would stay
        # on its list of those to be filled, and be filled the next time that a model is built.
        with ThreadPoolExecutor(1, "check-size") as thread:
            thread.submit(_check_size, config, numbers, known).result()
        return keras.models.load_model(clean, custom_objects=known, safe_mode=True)
    except (UnsafeModelError, CorruptStateError):
        raise
    except Exception as error:  # noqa: BLE001 - a configuration that makes no sense fails anywhere in Keras
        raise CorruptStateError(
            f"Keras cannot load the model: {str(error).strip()[:500]} ({type(error).__name__}). "
            "The file is damaged, or of another version of Keras."
        ) from error


def _check_size(config: dict[str, Any], numbers: int, known: Mapping[str, Any]) -> None:
    """Refuse a model that would take more memory than the weights that came with it, before it takes any."""
    import keras
    import tensorflow as tf

    plain = _without_vocabularies({key: value for key, value in config.items() if key != "compile_config"})
    graph = tf.Graph()
    # Within these scopes variables have a shape and no memory, and what layers work out when they are built (the
    # statistics of Normalization, say) is written down and not done.
    with graph.as_default(), keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(plain, custom_objects=dict(known), safe_mode=True)
        wanted = sum(math.prod(variable.shape) for variable in getattr(model, "variables", ()))
    if not isinstance(model, keras.Model):
        raise CorruptStateError(f"The file holds a {type(model).__name__}, and no model. It was not loaded.")
    wanted = max(wanted, _largest_result(graph) - _WORKED_OUT_NUMBERS)
    if wanted > numbers + _UNSAVED_NUMBERS:
        raise UnsafeModelError(
            f"A model must be no larger than its weights. Received: layers for {wanted:,} numbers with weights of "
            f"{numbers:,}. It was not loaded; do not trust the file."
        )


def _without_vocabularies(value: Any) -> Any:
    """A copy in which lookup layers have the sizes of their tables alone: tables cannot be filled in a graph."""
    if isinstance(value, list):
        return [_without_vocabularies(item) for item in value]
    if not isinstance(value, dict):
        return value
    copy = {key: _without_vocabularies(item) for key, item in value.items()}
    if isinstance(copy.get("vocabulary_size"), int) and copy.get("vocabulary") is not None:
        copy.update(vocabulary=None, idf_weights=None)
    return copy


def _largest_result(graph: Any) -> int:
    """Most numbers that one operation of a graph gives, as far as that is known."""
    results = (result.shape for operation in graph.get_operations() for result in operation.outputs)
    return max((shape.num_elements() or 0 for shape in results if shape.is_fully_defined()), default=0)
