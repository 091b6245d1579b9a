"""`export.json`: what an exported model is, what it takes and gives, and checksums of its files."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import BinaryIO

import numpy as np

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.worker import parse_json

if TYPE_CHECKING:
    from cerebro_nas.results._bundle import OutputSpec
    from cerebro_nas.results._raw import RawInput

FORMAT = "cerebro_nas export"
_VERSION = 1
_PIECE = 1 << 20
_MAX_BYTES = 256 << 20


def manifest_path(target: Path) -> Path:
    """Where the description of an export is: `best.keras.json` for `best.keras`, `best/export.json` for a folder."""
    return target / "export.json" if target.is_dir() else target.with_name(f"{target.name}.json")


def describe(
    kind: str,
    files: dict[str, Path],
    inputs: Sequence[dict[str, Any]],
    outputs: Sequence[dict[str, Any]],
    about: dict[str, Any],
) -> str:
    """Write the description of an export.

    Args:
        kind: `"keras"`, `"saved_model"` or `"onnx"`.
        files: the files of the model by their name in the export.
        inputs: see `input_entries`.
        outputs: see `output_entries`.
        about: what is known of trial and data.
    """
    import keras
    import tensorflow as tf

    import cerebro_nas

    versions = {
        "cerebro_nas": cerebro_nas.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
    }
    listed = [
        {"path": name, "bytes": path.stat().st_size, "sha256": _sha256_of(path)} for name, path in sorted(files.items())
    ]
    plain = {
        "format": FORMAT,
        "version": _VERSION,
        "kind": kind,
        "versions": versions,
        "inputs": list(inputs),
        "outputs": list(outputs),
        **about,
        "files": listed,
    }
    return json.dumps(_json_value(plain), indent=1, allow_nan=False) + "\n"


def input_entries(
    inputs: Sequence[RawInput], names: Sequence[str], *, with_encoders: bool = False
) -> list[dict[str, Any]]:
    """Describe inputs.

    Args:
        inputs: what the model takes.
        names: by which it takes it; the names in a SavedModel are more restricted.
        with_encoders: say in full how raw values are encoded, which the model does not do.
    """
    return [
        {
            "name": name,
            "dtype": item.dtype,
            "shape": [None, *item.shape],
            "columns": [
                {
                    "name": column.name,
                    "shape": list(column.shape),
                    "encoder": column.encoder if with_encoders else (column.encoder or {}).get("kind"),
                }
                for column in item.columns
            ],
        }
        for item, name in zip(inputs, names, strict=True)
    ]


def output_entries(
    names: Sequence[str], shapes: Sequence[Sequence[int | None]], specs: Sequence[OutputSpec]
) -> list[dict[str, Any]]:
    """Describe outputs; `specs` is empty if nothing is known of labels."""
    entries: list[dict[str, Any]] = [
        {"name": name, "shape": list(shape)} for name, shape in zip(names, shapes, strict=True)
    ]
    for entry, spec in zip(entries, specs, strict=False):
        entry.update(label_column=spec.column, kind=spec.kind, classes=list(spec.classes))
    return entries


def check_sha256(source: Path, stream: BinaryIO) -> None:
    """Refuse a file whose description, if it lies beside it, has another checksum.

    Args:
        source: the file.
        stream: it is read from its beginning, and left there.

    Raises:
        CorruptStateError: the file, or its description, is not what was exported.
    """
    path = manifest_path(source)
    try:
        with path.open("rb") as described:
            text = described.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CorruptStateError(f"{path} could not be read: {error}. The model beside it was not loaded.") from error
    expected = _expected(text, path)
    found = _sha256(stream)
    stream.seek(0)
    if found != expected:
        raise CorruptStateError(
            f"{source} must have the sha256 that {path.name} beside it gives, {expected}. Received: {found}. "
            "The file was changed or damaged after it was exported, and was not loaded. Export the model again."
        )


def _json_value(value: Any) -> Any:
    """The value as JSON has it: NumPy's numbers as numbers, those that JSON does not know as null, the rest as text."""
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _expected(text: bytes, path: Path) -> str:
    try:
        plain = parse_json(text) if len(text) <= _MAX_BYTES else None
        if isinstance(plain, dict) and plain.get("format") == FORMAT:
            (file,) = plain["files"]
            if isinstance(file["sha256"], str):
                return str(file["sha256"])
    except (ValueError, KeyError, TypeError):
        pass
    raise CorruptStateError(
        f"{path} must describe the model beside it, as `export_model` writes it. Received: something else. "
        "The model was not loaded; export it again, or remove that file to load the model unchecked."
    )


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return _sha256(stream)


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := stream.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()
