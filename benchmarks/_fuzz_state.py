"""Fuzzing what reads a store of states: manifests, marks of the best, specifications, states."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

from benchmarks._fuzzing import BrokenPromiseError
from benchmarks._fuzzing import Reader
from benchmarks._mutate import mutate_bytes
from benchmarks._mutate import mutate_json
from benchmarks._mutate import to_json
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import StoreError
from cerebro_nas.storage import StateFiles
from cerebro_nas.storage._sealed import seal
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker import ShardSpec

_TRIAL = "t"
_PAYLOADS = (bytes(range(256)) * 8, b"second state" * 50)
_SPLIT = b"\n--file--\n"
_NAME = re.compile(rb"[a-zA-Z0-9._-]{1,80}")


def readers(directory: Path) -> list[Reader]:
    """The readers of a store.

    Args:
        directory: for files; it is there and empty.
    """
    store = _Store(directory / "states")
    candidate = CandidateSpec(_TRIAL, "{}", {"class_name": "Adam"}, ("mse",), (("accuracy",),), seed=1, parameters=9)
    search = SearchSpec("d", "s", (ShardSpec("train", 0, "f", 1, 8),), (), (), ({"kind": "values"},), 1, 32)
    texts = [candidate.to_json(), search.to_json()]
    return [
        Reader("StateFiles", store.mutated, store.read, (StoreError,)),
        Reader("specifications", lambda draw: _odd_text(draw, texts), _read_spec, (ValueError,)),
    ]


class _Store:
    """A store with one trial, whose directory is written anew for each input."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._states = StateFiles(str(root))
        self._states.write_spec(_TRIAL, '{"trial": "t"}')
        self._names = [self._states.write(_TRIAL, 4 * number, data) for number, data in enumerate(_PAYLOADS, 1)]
        self._states.mark_best(_TRIAL, self._names[0], 4, 1)
        self._good = {path.name: path.read_bytes() for path in (root / _TRIAL).iterdir()}

    def mutated(self, draw: random.Random) -> bytes:
        """The changed file, preceded by its name: input that says all there is to say."""
        name = draw.choice(sorted(self._good))
        data = self._good[name]
        if name.endswith(".json") and draw.random() < 0.7:
            return name.encode() + _SPLIT + _odd_json(draw, json.loads(data))
        if draw.random() < 0.1:
            name = draw.choice(("state-000004-00000000.json", "state-9-x.json", ".tmp-00000000-1", "best.json"))
        return name.encode() + _SPLIT + mutate_bytes(draw, data, list(self._good.values()))

    def read(self, case: bytes) -> object:
        """Ask everything that can be asked of the trial."""
        name, _, data = case.partition(_SPLIT)
        folder = self._root / _TRIAL
        shutil.rmtree(folder)
        folder.mkdir()
        files = {**self._good, name.decode(): data}
        for file, content in files.items():
            (folder / file).write_bytes(content)
        names = self._states.names(_TRIAL)
        failure = self._ask(names, files)
        self._states.keep_only(_TRIAL, names[-1:])
        if self._states.names(_TRIAL) != names[-1:]:
            raise BrokenPromiseError("The newest state was not kept.")
        if failure is not None:
            raise failure
        return names

    def _ask(self, names: list[str], files: dict[str, bytes]) -> StoreError | None:
        failure: StoreError | None = None
        for name in [*names, None]:
            try:
                found = self._states.read_best(_TRIAL) if name is None else self._states.read(_TRIAL, name)
            except StoreError as error:
                failure = error
            else:
                self._check(found, files)
        try:
            self._states.read_spec(_TRIAL)
        except CorruptStateError as error:
            failure = error
        return failure

    def _check(self, found: bytes, files: dict[str, bytes]) -> None:
        digest = hashlib.sha256(found).hexdigest().encode()
        if not any(digest in content for name, content in files.items() if name.endswith(".json")):
            raise BrokenPromiseError("A state was read that no manifest knows.")


def _odd_json(draw: random.Random, tree: dict[str, Any]) -> bytes:
    """Changed JSON, with a checksum that is right where there can be one."""
    changed = mutate_json(draw, tree)
    if isinstance(changed, dict) and draw.random() < 0.6:
        changed.pop("crc32", None)
        return seal(changed)
    text = to_json(changed)
    return mutate_bytes(draw, text, most=2) if draw.random() < 0.2 else text


def _odd_text(draw: random.Random, texts: list[str]) -> bytes:
    text = draw.choice(texts)
    if draw.random() < 0.8:
        return to_json(mutate_json(draw, json.loads(text)))
    return mutate_bytes(draw, text.encode())


def _read_spec(data: bytes) -> object:
    text = data.decode(errors="surrogateescape")
    kind: type[SearchSpec | CandidateSpec] = SearchSpec if b'"data_url"' in data else CandidateSpec
    found = kind.from_json(text)
    # A specification that was changed is not sent on; a dict that is nested too deeply to be written may be in it.
    with contextlib.suppress(RecursionError):
        text = found.to_json()
        # NaN is not equal to itself.
        if kind.from_json(text) != found and "NaN" not in text:
            raise BrokenPromiseError("What was read is not what is written of it.")
    return found
