"""Which stored states a search still needs: the last ones of a live trial, and the best one of every trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cerebro_nas.hopper import Unit


@dataclass(frozen=True)
class MarkBest:
    """The state `name` is that of the trial's best epoch so far."""

    trial: str
    name: str
    generation: int
    epoch: int


@dataclass(frozen=True)
class Remove:
    """These states are not needed any more."""

    trial: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class KeepOnly:
    """The trial has ended: of its states only these are needed."""

    trial: str
    names: tuple[str, ...]


Change = MarkBest | Remove | KeepOnly


@dataclass(frozen=True)
class _Wanted:
    """The state of a best epoch that has not reached the store yet."""

    made_by: Unit
    generation: int
    epoch: int


class Keeping:
    """Follows what is stored, and says what to mark and what to remove.

    Args:
        needed: gives the names that a live trial may go back to, oldest first.
    """

    def __init__(self, needed: Callable[[str], tuple[str, ...]]) -> None:
        self._needed = needed
        self._names: dict[str, dict[Unit, tuple[int, str]]] = {}
        self._wanted: dict[str, _Wanted] = {}
        self._marked: dict[str, MarkBest] = {}
        self._trained: dict[str, tuple[Unit, str]] = {}
        self._ended: set[str] = set()

    @property
    def pending(self) -> tuple[str, ...]:
        """Trials whose best state is on its way to the store."""
        return tuple(self._wanted)

    def trained(self, worker: str, unit: Unit) -> None:
        """`worker` did a train unit, and holds the state that it made."""
        self._trained[unit.trial] = (unit, worker)

    def stored(self, unit: Unit, generation: int, name: str) -> list[Change]:
        """The state that `unit` made reached the store."""
        self._names.setdefault(unit.trial, {})[unit] = (generation, name)
        return self._changes(unit.trial)

    def best(self, trial: str, made_by: Unit, generation: int, epoch: int) -> list[Change]:
        """The epoch is the trial's best so far."""
        self._wanted[trial] = _Wanted(made_by, generation, epoch)
        return self._changes(trial)

    def ended(self, trial: str) -> list[Change]:
        """The trial has ended."""
        self._ended.add(trial)
        return self._changes(trial)

    def lost(self, worker: str) -> tuple[list[Change], list[str]]:
        """A worker is gone with the states it held.

        Returns:
            What to do, and the ended trials whose best state went with it.
        """
        gone = [
            trial
            for trial, wanted in self._wanted.items()
            if self._trained.get(trial, (None, ""))[1] == worker and self._trained[trial][0] == wanted.made_by
        ]
        changes: list[Change] = []
        for trial in gone:
            del self._wanted[trial]
            changes += self._changes(trial)
        return changes, [trial for trial in gone if trial in self._ended]

    def everything(self) -> list[Change]:
        """What the store should look like now, for when it is not known what was carried out."""
        changes: list[Change] = list(self._marked.values())
        for trial in sorted({*self._names, *self._ended}):
            if trial in self._ended:
                changes.append(KeepOnly(trial, self._marked_name(trial)))
            else:
                names = (name for _, name in self._names[trial].values())
                changes.append(KeepOnly(trial, tuple(dict.fromkeys([*names, *self._marked_name(trial)]))))
        return changes

    def _marked_name(self, trial: str) -> tuple[str, ...]:
        return (self._marked[trial].name,) if trial in self._marked else ()

    def _changes(self, trial: str) -> list[Change]:
        changes: list[Change] = []
        wanted, names = self._wanted.get(trial), self._names.get(trial, {})
        if wanted is not None and wanted.made_by in names:
            del self._wanted[trial]
            name = names[wanted.made_by][1]
            self._marked[trial] = MarkBest(trial, name, wanted.generation, wanted.epoch)
            changes.append(self._marked[trial])
        if trial not in self._ended:
            return changes + self._superseded(trial)
        if trial not in self._wanted:
            self._names.pop(trial, None)
            self._trained.pop(trial, None)
            changes.append(KeepOnly(trial, self._marked_name(trial)))
        return changes

    def _superseded(self, trial: str) -> list[Change]:
        """States older than any that the trial may go back to, except the best one."""
        names, needed = self._names.get(trial, {}), set(self._needed(trial))
        oldest = min((generation for generation, name in names.values() if name in needed), default=0)
        spared = {*needed, *self._marked_name(trial)}
        wanted = self._wanted.get(trial)
        gone = {
            unit: name
            for unit, (generation, name) in names.items()
            if generation < oldest and name not in spared and (wanted is None or unit != wanted.made_by)
        }
        for unit in gone:
            del names[unit]
        return [Remove(trial, tuple(gone.values()))] if gone else []
