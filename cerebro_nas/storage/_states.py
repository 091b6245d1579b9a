"""States of candidates on disk: `<url>/<trial>/state-<generation>.safetensors`, each with a manifest.

A worker writes and removes, the driver marks and reads; each file has one writer at a time and appears whole, so the
two need no lock.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cerebro_nas.errors import CorruptStateError
from cerebro_nas.storage._files import read_file
from cerebro_nas.storage._files import write_atomic
from cerebro_nas.storage._names import check_name
from cerebro_nas.storage._names import local_path

_KEPT = 2


class StateFiles:
    """The states of all trials of a search.

    Of each trial the last two generations are kept, and the one marked best.

    Args:
        url: directory of states.
    """

    def __init__(self, url: str) -> None:
        self._root = local_path(url)

    def write(self, trial: str, generation: int, payload: bytes) -> None:
        """Write a state, then remove those that are neither recent nor best.

        Raises:
            StoreError: it could not be written.
        """
        directory = self._directory(trial)
        write_atomic(directory / f"state-{generation}.safetensors", payload)
        manifest = {"generation": generation, "size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
        # The manifest comes last: a state without one is not there.
        write_atomic(directory / f"state-{generation}.json", json.dumps(manifest).encode())
        kept = set(self.generations(trial)[-_KEPT:]) | {self.best(trial), generation}
        self._remove(trial, [g for g in self.generations(trial) if g not in kept])

    def read(self, trial: str, generation: int) -> bytes:
        """Read a state and verify it against its manifest.

        Raises:
            StoreError: it is not there.
            CorruptStateError: it is damaged.
        """
        directory = self._directory(trial)
        manifest = self._manifest(directory / f"state-{generation}.json")
        payload = read_file(directory / f"state-{generation}.safetensors")
        if len(payload) != manifest.get("size") or hashlib.sha256(payload).hexdigest() != manifest.get("sha256"):
            raise CorruptStateError(
                f"State {generation} of trial {trial!r} in {directory} does not match its manifest: "
                f"{len(payload)} bytes where {manifest.get('size')} were written. It is not used."
            )
        return payload

    def generations(self, trial: str) -> list[int]:
        """Generations that are there, ascending."""
        names = [path.stem.removeprefix("state-") for path in self._directory(trial).glob("state-*.json")]
        return sorted(int(name) for name in names if name.isdigit())

    def mark_best(self, trial: str, generation: int) -> None:
        """Keep this generation (written already, or about to be) until another one is marked."""
        write_atomic(self._directory(trial) / "best.json", json.dumps({"generation": generation}).encode())

    def best(self, trial: str) -> int | None:
        """The generation marked best, if any."""
        path = self._directory(trial) / "best.json"
        if not path.exists():
            return None
        generation = self._manifest(path).get("generation")
        return generation if isinstance(generation, int) else None

    def write_spec(self, trial: str, text: str) -> None:
        """Write what defines the candidate (JSON)."""
        write_atomic(self._directory(trial) / "spec.json", text.encode())

    def read_spec(self, trial: str) -> str:
        """Read what `write_spec` wrote."""
        return read_file(self._directory(trial) / "spec.json").decode()

    def delete_others(self, trial: str) -> None:
        """Remove every generation but the best one; without a mark nothing is removed."""
        best = self.best(trial)
        if best is not None:
            self._remove(trial, [g for g in self.generations(trial) if g != best])

    def _directory(self, trial: str) -> Path:
        return self._root / check_name(trial)

    def _remove(self, trial: str, generations: list[int]) -> None:
        directory = self._directory(trial)
        for generation in generations:
            # Manifest first, so that no reader finds a manifest without its state.
            for suffix in ("json", "safetensors"):
                (directory / f"state-{generation}.{suffix}").unlink(missing_ok=True)

    def _manifest(self, path: Path) -> dict[str, object]:
        try:
            found = json.loads(read_file(path))
        except ValueError as error:
            raise CorruptStateError(f"{path} is damaged: {error}. The state that it describes is not used.") from error
        if not isinstance(found, dict):
            raise CorruptStateError(f"{path} is damaged: it holds no object. The state that it describes is not used.")
        return found
