"""States of candidates on disk: `<url>/<trial>/state-<name>.safetensors`, each with a manifest beside it.

Workers write, each state under a name that no other write ever has, and the driver alone removes. So a worker that
comes back from the dead adds a file that nobody counts on, and takes none away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cerebro_nas.errors import ConfigError
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import StoreError
from cerebro_nas.storage._files import TEMPORARY
from cerebro_nas.storage._files import own_temporary
from cerebro_nas.storage._files import read_file
from cerebro_nas.storage._files import store_error
from cerebro_nas.storage._files import write_atomic
from cerebro_nas.storage._files import write_error
from cerebro_nas.storage._files import write_together
from cerebro_nas.storage._names import check_name
from cerebro_nas.storage._names import local_path
from cerebro_nas.storage._retry import retry
from cerebro_nas.storage._sealed import read_sealed
from cerebro_nas.storage._sealed import seal

T = TypeVar("T")

_NAME = re.compile(r"(\d{6,18})-[0-9a-f]{8}")
_FILE = re.compile(rf"state-({_NAME.pattern})\.(?:json|safetensors)")
_SPEC_LIMIT = 2**26
_MANIFEST = {"name": str, "generation": int, "size": int, "sha256": str}
_BEST = {"name": str, "generation": int, "epoch": int}


@dataclass(frozen=True)
class Best:
    """The state of a trial that was marked best.

    Attributes:
        name: what `StateFiles.write` called it.
        generation: train units in it.
        epoch: epoch, from 0, whose evaluation found it best.
    """

    name: str
    generation: int
    epoch: int


class StateFiles:
    """The states of all trials of a search.

    Args:
        url: directory of states. `write_spec` makes it; where it is gone, no worker makes it again.
    """

    def __init__(self, url: str) -> None:
        self._root = local_path(url)

    # --- states -------------------------------------------------------------------------------------------------------

    def write(self, trial: str, generation: int, payload: bytes) -> str:
        """Write a state and give the name under which it can be read.

        Raises:
            StoreError: it could not be written; nothing is left of it.
        """
        directory, name = self._directory(trial), f"{generation:06d}-{secrets.token_hex(4)}"
        _check_state(name)
        try:
            retry(lambda: directory.mkdir(exist_ok=True))
        except OSError as error:
            raise write_error(directory / f"state-{name}.safetensors", len(payload), error) from error
        digest = hashlib.sha256(payload).hexdigest()
        manifest = seal({"name": name, "generation": generation, "size": len(payload), "sha256": digest})
        try:
            # The manifest comes last: a state without one is not there.
            write_together(directory, {f"state-{name}.safetensors": payload, f"state-{name}.json": manifest})
        except StoreError:
            with contextlib.suppress(OSError):
                self.remove(trial, [name])
            raise
        return name

    def read(self, trial: str, name: str) -> bytes:
        """Read a state and verify it against its manifest.

        Raises:
            StoreError: it is not there, or cannot be read.
            CorruptStateError: it is damaged.
        """
        generation = _check_state(name)
        directory = self._directory(trial)
        path = directory / f"state-{name}.safetensors"
        manifest = read_sealed(directory / f"state-{name}.json", _MANIFEST)
        if (manifest["name"], manifest["generation"]) != (name, generation):
            raise CorruptStateError(f"{path} has the manifest of state {manifest['name']!r}. It is not used.")
        size, there = manifest["size"], _call(path, path.stat).st_size
        payload = read_file(path) if there == size else None
        if payload is None or hashlib.sha256(payload).hexdigest() != manifest["sha256"]:
            raise CorruptStateError(
                f"{path} is damaged: its {there} bytes are not the {size} of its manifest. It is not used."
            )
        return payload

    def names(self, trial: str) -> list[str]:
        """Names of the states that are there, whole, oldest generation first.

        Raises:
            StoreError: the directory cannot be listed.
        """
        files = self._files(trial)
        whole = _state_names(files, ".json") & _state_names(files, ".safetensors")
        return sorted(whole, key=lambda name: (_check_state(name), name))

    def remove(self, trial: str, names: Iterable[str]) -> None:
        """Remove states; those that are not there need not be.

        Raises:
            StoreError: one could not be removed.
        """
        directory = self._directory(trial)
        for name in names:
            _check_state(name)
            # Manifest first, so that no reader finds a manifest without its state.
            for suffix in ("json", "safetensors"):
                _unlink(directory / f"state-{name}.{suffix}")

    def keep_only(self, trial: str, names: Iterable[str], *, sweep: bool = False) -> None:
        """Remove every other state of a trial that has ended, or does not run yet.

        Args:
            trial: the trial.
            names: states to keep.
            sweep: remove also what writes that were cut short have left. No worker may write then: what it is about
                to finish looks the same.

        Raises:
            StoreError: a file could not be removed.
        """
        kept = set(names)
        directory = self._directory(trial)
        for file in self._files(trial):
            state = _FILE.fullmatch(file)
            # What this process writes just now is no leftover.
            stale = sweep and file.startswith(TEMPORARY) and not file.startswith(own_temporary())
            if stale or (state is not None and state[1] not in kept):
                _unlink(directory / file)

    # --- the best one -------------------------------------------------------------------------------------------------

    def mark_best(self, trial: str, name: str, generation: int, epoch: int) -> None:
        """Note which state is the trial's best so far.

        Raises:
            StoreError: the mark could not be written.
        """
        if _check_state(name) != generation:
            raise ConfigError(f"`generation` must be that of the state. Received: {generation=} for {name=}. Pass it.")
        mark = seal({"name": name, "generation": generation, "epoch": epoch})
        write_together(self._directory(trial), {"best.json": mark})

    def best(self, trial: str) -> Best | None:
        """The state marked best, if any.

        Raises:
            StoreError: the mark cannot be read.
            CorruptStateError: it is damaged.
        """
        path = self._directory(trial) / "best.json"
        if not _call(path, path.exists):
            return None
        found = read_sealed(path, _BEST)
        best = Best(str(found["name"]), int(found["generation"]), int(found["epoch"]))
        if _generation(best.name) != best.generation:
            raise CorruptStateError(f"{path} names the state {best.name!r} for generation {best.generation}.")
        return best

    def read_best(self, trial: str) -> bytes:
        """Read the state marked best.

        Raises:
            StoreError: none is marked, or it is not there.
            CorruptStateError: the mark or the state is damaged.
        """
        best = self.best(trial)
        if best is None:
            raise StoreError(
                f"Trial {trial!r} has no state marked best in {self._directory(trial)}: none of its epochs was stored "
                "before its worker or the search ended. Run the search again to train it further."
            )
        return self.read(trial, best.name)

    # --- what defines a candidate -------------------------------------------------------------------------------------

    def write_spec(self, trial: str, text: str) -> None:
        """Write what defines the candidate (JSON).

        Raises:
            StoreError: it could not be written.
        """
        write_atomic(self._directory(trial) / "spec.json", text.encode())

    def read_spec(self, trial: str) -> str:
        """Read what `write_spec` wrote.

        Raises:
            StoreError: it is not there, or cannot be read.
            CorruptStateError: it is no text, or far too long for one.
        """
        path = self._directory(trial) / "spec.json"
        data = read_file(path, _SPEC_LIMIT + 1)
        if len(data) > _SPEC_LIMIT:
            raise CorruptStateError(f"{path} is damaged: it is longer than {_SPEC_LIMIT} bytes. It is not used.")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise CorruptStateError(f"{path} is damaged: {error}. It is not used.") from error

    def trials(self) -> list[str]:
        """Trials that have a directory here, sorted.

        Raises:
            StoreError: the directory cannot be listed.
        """
        found = [self._root / name for name in _list(self._root) if not name.startswith(".")]
        return [path.name for path in found if _call(path, path.is_dir)]

    def _directory(self, trial: str) -> Path:
        return self._root / check_name(trial)

    def _files(self, trial: str) -> list[str]:
        return _list(self._directory(trial))


def _generation(name: str) -> int | None:
    found = _NAME.fullmatch(name)
    return int(found[1]) if found is not None else None


def _check_state(name: str) -> int:
    """Refuse what is no name of a state, which could lead elsewhere; give its generation."""
    generation = _generation(name)
    if generation is None:
        raise StoreError(f"No state is called {name!r}. Names are like '000012-1f2e3d4c'; take one that `write` gave.")
    return generation


def _state_names(files: Iterable[str], suffix: str) -> set[str]:
    return {found[1] for file in files if file.endswith(suffix) and (found := _FILE.fullmatch(file)) is not None}


def _list(directory: Path) -> list[str]:
    try:
        return sorted(_call(directory, lambda: os.listdir(directory)))  # noqa: PTH208 - names, not paths
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return []
        raise


def _unlink(path: Path) -> None:
    _call(path, lambda: path.unlink(missing_ok=True))


def _call(path: Path, call: Callable[[], T]) -> T:
    try:
        return retry(call)
    except OSError as error:
        raise store_error(f"{path} is out of reach: {error}. Check permissions and the store.", error) from error
