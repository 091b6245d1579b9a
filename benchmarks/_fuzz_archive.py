"""Fuzzing what looks at model files before Keras does: the archive, the configuration in it, the weights, and all."""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from pathlib import Path
from typing import Any

from benchmarks._fuzzing import BrokenPromiseError
from benchmarks._fuzzing import Reader
from benchmarks._mutate import mutate_bytes
from benchmarks._mutate import mutate_json
from benchmarks._mutate import to_json
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import UnsafeModelError
from cerebro_nas.results._archive import repack_checked
from cerebro_nas.results._weights import check_weights
from cerebro_nas.worker import CUSTOM_OBJECTS
from cerebro_nas.worker import check_objects
from cerebro_nas.worker import parse_json

_REFUSALS = (UnsafeModelError, CorruptStateError)
_NAMES = ("metadata.json", "config.json", "model.weights.h5", "assets/a.txt")
_ODD_NAMES = ("../x", "/etc/x", "config.json", "assets/../x", "assets\\x", "x" * 600, "assets/", "", "c\x00.json", "é")
_BAD_OBJECTS: tuple[dict[str, Any], ...] = (
    {"class_name": "Lambda", "module": "keras.layers", "config": {}, "registered_name": None},
    {"class_name": "function", "module": "builtins", "config": "eval", "registered_name": "function"},
    {"class_name": "get_file", "module": "keras.utils", "config": {}, "registered_name": None},
    {"class_name": "system", "module": "os", "config": "true", "registered_name": None},
    {"class_name": "TFSMLayer", "module": "keras.layers", "config": {"filepath": "x"}, "registered_name": None},
    {"class_name": "__lambda__", "config": {"value": "aaaa"}},
)
_HARMLESS_LIMIT = 64 << 20


def readers(directory: Path) -> list[Reader]:
    """The readers of model files.

    Args:
        directory: for files; it is there and empty.
    """
    files = _Files(directory)
    return [
        Reader("archive", files.make_archive, files.read_archive, _REFUSALS, weight=20),
        Reader("configuration", files.make_config, files.read_config, (UnsafeModelError, ValueError), weight=20),
        Reader("weights", files.make_weights, files.read_weights, _REFUSALS, weight=20),
        Reader("load_model", files.make_model, files.read_model, _REFUSALS, weight=2),
    ]


class _Files:
    """A small model as Keras saves it, and changed copies of it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "inside").mkdir()
        self._model = _saved_model(directory / "model.keras")
        with zipfile.ZipFile(io.BytesIO(self._model)) as archive:
            self._members = {name: archive.read(name) for name in archive.namelist()}
        self._members["assets/a.txt"] = b"text"
        self._packed = _archive(self._members, zipfile.ZIP_DEFLATED)

    def make_archive(self, draw: random.Random) -> bytes:
        if draw.random() < 0.5:
            return mutate_bytes(draw, draw.choice((self._model, self._packed)), [self._model, self._packed])
        return _archive(_odd_members(draw, self._members), draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))

    def read_archive(self, data: bytes) -> object:
        clean, weights = self._directory / "inside" / "clean.keras", self._directory / "inside" / "weights.h5"
        found = repack_checked(io.BytesIO(data), len(data), clean, weights)
        with zipfile.ZipFile(clean) as archive:
            odd = [name for name in archive.namelist() if name not in _NAMES and not name.startswith("assets/")]
            size = sum(member.file_size for member in archive.infolist())
        if odd or size > max(_HARMLESS_LIMIT, 20 * len(data)):
            raise BrokenPromiseError(f"The clean archive holds {odd}, and {size} bytes.")
        return found

    def make_config(self, draw: random.Random) -> bytes:
        return _odd_config(draw, self._members["config.json"])

    def read_config(self, data: bytes) -> object:
        tree = parse_json(data)
        check_objects(tree, CUSTOM_OBJECTS)
        text = json.dumps(tree)
        if any(f'"class_name": "{name}"' in text for name in ("Lambda", "TFSMLayer", "__lambda__", "system")):
            raise BrokenPromiseError("An object that can run code was let through.")
        return tree

    def make_weights(self, draw: random.Random) -> bytes:
        return mutate_bytes(draw, self._members["model.weights.h5"], most=8)

    def read_weights(self, data: bytes) -> object:
        path = self._directory / "inside" / "w.h5"
        path.write_bytes(data)
        return check_weights(path)

    def make_model(self, draw: random.Random) -> bytes:
        members = dict(self._members)
        if draw.random() < 0.7:
            members["config.json"] = _odd_config(draw, members["config.json"])
        else:
            members = _odd_members(draw, members)
        return _archive(members, zipfile.ZIP_STORED)

    def read_model(self, data: bytes) -> object:
        from cerebro_nas.results._import import load_model

        path = self._directory / "inside" / "m.keras"
        path.write_bytes(data)
        before = sorted(self._directory.rglob("*"))
        try:
            with warnings.catch_warnings():
                # Keras says what it leaves out of a file that is not whole.
                warnings.simplefilter("ignore")
                found = load_model(path)
        except CorruptStateError as error:
            if "OOM" in str(error) or "MemoryError" in str(error):
                raise BrokenPromiseError("It asked for more memory than there was.") from error
            raise
        finally:
            if sorted(self._directory.rglob("*")) != before:
                raise BrokenPromiseError("Something was written beside the file.")
        return found


def _saved_model(path: Path) -> bytes:
    import keras

    inputs = keras.Input((8,))
    node = keras.layers.Normalization()(inputs)
    node = keras.layers.Dropout(0.1)(keras.layers.Dense(4, activation="relu")(node))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(node))
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    model.save(path)
    return path.read_bytes()


def _odd_config(draw: random.Random, config: bytes) -> bytes:
    tree = mutate_json(draw, json.loads(config))
    if draw.random() < 0.3 and isinstance(tree, dict):
        tree = _with_object(draw, tree, draw.choice(_BAD_OBJECTS))
    text = to_json(tree)
    return mutate_bytes(draw, text, most=2) if draw.random() < 0.1 else text


def _with_object(draw: random.Random, tree: dict[str, Any], bad: dict[str, Any]) -> dict[str, Any]:
    """The tree with an object somewhere in it that no model is made of."""
    node: Any = tree
    for _ in range(draw.randint(0, 6)):
        children = [child for child in (node.values() if isinstance(node, dict) else node) if isinstance(child, dict)]
        if not children:
            break
        node = draw.choice(children)
    if isinstance(node, dict):
        node[draw.choice(("config", "activation", "x"))] = dict(bad)
    return tree


def _odd_members(draw: random.Random, members: dict[str, bytes]) -> dict[str, bytes]:
    changed = dict(members)
    name = draw.choice(sorted(changed))
    action = draw.randrange(5)
    if action == 0:
        changed.pop(name)
    elif action == 1:
        changed[draw.choice(_ODD_NAMES)] = changed.pop(name)
    elif action == 2:
        changed[name] = bytes(draw.choice((0, 1 << 20, 40 << 20)))
    elif action == 3:
        changed[f"assets/{draw.choice(_ODD_NAMES)}"] = b"x"
    else:
        changed[name] = mutate_bytes(draw, changed[name])
    return changed


def _archive(members: dict[str, bytes], compression: int) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, data in members.items():
            # Not `writestr`, which looks at the last character of a name that may have none.
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            with archive.open(info, "w") as stream:
                stream.write(data)
    return target.getvalue()
