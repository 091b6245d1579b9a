"""Saving a model for use elsewhere, and making sure that it can be used."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import StoreError
from cerebro_nas.results._formats import Format
from cerebro_nas.results._formats import format_of
from cerebro_nas.results._manifest import describe
from cerebro_nas.results._manifest import input_entries
from cerebro_nas.results._manifest import manifest_path
from cerebro_nas.results._manifest import output_entries
from cerebro_nas.results._probe import Probe
from cerebro_nas.results._probe import check_same
from cerebro_nas.results._probe import make_probe
from cerebro_nas.results._probe import outputs_of
from cerebro_nas.results._raw import RawInput
from cerebro_nas.results._raw import output_names
from cerebro_nas.results._raw import with_preprocessing

if TYPE_CHECKING:
    import keras

    from cerebro_nas.results._bundle import OutputSpec
    from cerebro_nas.results._raw import Groups

_SAVED_MODEL = "saved_model.pb"


def save_verified(
    model: keras.Model,
    path: str | os.PathLike[str] | None,
    *,
    inputs: Groups = (),
    outputs: Sequence[OutputSpec] = (),
    about: dict[str, Any] | None = None,
) -> keras.Model:
    """Put preprocessing before a model, save it, load it again, and compare what it predicts.

    The suffix of `path` says the format: `.keras`; `.onnx` (with the extra `onnx`); none: a folder with TensorFlow's
    SavedModel. A description with checksums is written too: `<path>.json`, or `export.json` in the folder.

    Args:
        model: as it was trained, on encoded columns.
        path: where the new one is saved; None: it is not.
        inputs: the columns of each input. Where they hold text or categories, the model that is saved takes the
            strings themselves. ONNX knows no strings: such a model takes the encoded numbers.
        outputs: how the outputs read as labels.
        about: what else the description says.

    Returns:
        The model with preprocessing.

    Raises:
        ConfigError: the path has another suffix, is not free, or packages are missing.
        StoreError: it cannot be written, or the model that was loaded predicts something else.
    """
    target = None if path is None else Path(path)
    format = None if target is None else format_of(target)
    probe = make_probe(model, inputs)
    expected = outputs_of(model, probe.encoded)
    whole = with_preprocessing(model, inputs)
    if whole is not model:
        check_same(expected, outputs_of(whole, probe.raw), "The model with its preprocessing inside")
    if target is not None and format is not None:
        if not format.raw:
            probe = _of_tensors(model, probe, inputs)
        _check_free(target, format)
        given = output_names(model) if format.suffix else [f"output_{place}" for place in range(len(model.outputs))]
        entries = output_entries(given, [tensor.shape for tensor in model.outputs], outputs)
        export = _Export(whole if format.raw else model, target, format, probe, format.names(probe.inputs))
        export.run(expected, entries, about or {})
    return whole


@dataclass(frozen=True)
class _Export:
    """A model on its way to a path."""

    model: keras.Model
    target: Path
    format: Format
    probe: Probe
    names: list[str]

    def run(self, expected: list[Any], outputs: list[dict[str, Any]], about: dict[str, Any]) -> None:
        target = self.target
        temporary = target.with_name(f".{target.stem}.tmp{target.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._write(temporary)
            found = self.format.predict(temporary, self.probe.raw, self.names)
            check_same(expected, found, f"The model loaded again from {target}", self.format.tolerance)
            inputs = input_entries(self.probe.inputs, self.names, with_encoders=not self.format.raw)
            text = describe(self.format.kind, _files(temporary, target.name), inputs, outputs, about)
            _put(temporary, target, text)
        except OSError as error:
            raise StoreError(f"{target} could not be written: {error}. Check permissions and free space.") from error
        finally:
            _remove(temporary)

    def _write(self, path: Path) -> None:
        import tensorflow as tf

        _remove(path)
        try:
            self.format.write(self.model, path, self.names)
        except tf.errors.OpError as error:
            raise OSError(error.message) from error


def _of_tensors(model: keras.Model, probe: Probe, inputs: Groups) -> Probe:
    """The same rows, for a model that takes its tensors."""
    groups = inputs or [()] * len(model.inputs)
    pairs = zip(model.inputs, groups, strict=True)
    wanted = [RawInput(tensor.name, str(tensor.dtype), tuple(tensor.shape[1:]), group) for tensor, group in pairs]
    return Probe(tuple(wanted), probe.encoded, probe.encoded)


def _check_free(target: Path, format: Format) -> None:
    if format.suffix and target.is_dir():
        raise ConfigError(f"`path` must name a file. Received: path={str(target)!r}, which is a folder. Rename it.")
    if format.suffix or not target.exists():
        return
    # An earlier export is replaced; nothing else is.
    if not target.is_dir() or (any(target.iterdir()) and not (target / _SAVED_MODEL).exists()):
        raise ConfigError(
            "`path` must name a folder that is new, empty or has a SavedModel in it, which is replaced. "
            f"Received: path={str(target)!r}, which has something else. Choose another name."
        )


def _files(written: Path, name: str) -> dict[str, Path]:
    if not written.is_dir():
        return {name: written}
    return {path.relative_to(written).as_posix(): path for path in written.rglob("*") if path.is_file()}


def _put(temporary: Path, target: Path, text: str) -> None:
    """Move what was written to its place, with its description; at any moment what is there can be loaded."""
    if temporary.is_dir():
        manifest_path(temporary).write_text(text, encoding="utf-8")
        earlier = target.with_name(f".{target.name}.old")
        _remove(earlier)
        if target.exists():
            target.replace(earlier)
        temporary.replace(target)
        _remove(earlier)
        return
    described = manifest_path(target)
    # A model without a description is loaded, one with that of another is not.
    described.unlink(missing_ok=True)
    temporary.replace(target)
    half = described.with_name(f".{described.name}.tmp")
    half.write_text(text, encoding="utf-8")
    half.replace(described)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
