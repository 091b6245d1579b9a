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
    """The trial has ended: of its states only these are needed.

    Attributes:
        sweep: nobody writes, so that what writes that were cut short have left may go too.
    """

    trial: str
    names: tuple[str, ...]
    sweep: bool = False


Change = MarkBest | Remove | KeepOnly


@dataclass(frozen=True)
class _Wanted:
    """The state of an epoch that was the best so far, and that has not reached the store yet.

    Attributes:
        worker: who made it, and has it.
    """

    made_by: Unit
    generation: int
    epoch: int
    worker: str


class Keeping:
    """Follows what is stored, and says what to mark and what to remove.

    Args:
        needed: gives the names that a live trial may go back to, oldest first.
    """

    def __init__(self, needed: Callable[[str], tuple[str, ...]]) -> None:
        self._needed = needed
        self._names: dict[str, dict[Unit, tuple[int, str]]] = {}
        # Of each trial in the order of its epochs: each is better than those before.
        self._wanted: dict[str, list[_Wanted]] = {}
        self._marked: dict[str, MarkBest] = {}
        self._trained: dict[str, tuple[Unit, str]] = {}
        self._ended: set[str] = set()
        self._pins: dict[str, tuple[str, str]] = {}
        # Of trials that paused: the unit that made the state of the last pause, and who has it.
        self._paused: dict[str, tuple[Unit, str]] = {}

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

    def paused(self, trial: str) -> list[Change]:
        """The trial paused: children begin with the state that it then had, until it pauses again."""
        if trial in self._trained:
            self._paused[trial] = self._trained[trial]
        return self._superseded(trial)

    def best(self, trial: str, made_by: Unit, generation: int, epoch: int) -> list[Change]:
        """The epoch is the trial's best so far."""
        unit, worker = self._trained.get(trial, (None, ""))
        wanted = _Wanted(made_by, generation, epoch, worker if unit == made_by else "")
        # An epoch that is done again after a fault replaces what came of it before.
        earlier = [other for other in self._wanted.get(trial, ()) if other.epoch < epoch]
        self._wanted[trial] = [*earlier, wanted]
        return self._changes(trial)

    def ended(self, trial: str) -> list[Change]:
        """The trial has ended."""
        self._ended.add(trial)
        self._paused.pop(trial, None)
        return self._changes(trial)

    def pin(self, child: str, parent: str, name: str) -> None:
        """`child` begins with the state `name` of `parent`, and may have to begin again."""
        self._pins[child] = (parent, name)

    def unpin(self, child: str) -> list[Change]:
        """`child` has ended."""
        parent, _ = self._pins.pop(child, ("", ""))
        if not parent:
            return []
        return [KeepOnly(parent, self._kept(parent))] if parent in self._ended else self._superseded(parent)

    def parent_of(self, child: str) -> tuple[str, str]:
        """The parent of a trial and the name of the state that it begins with; empty if it begins afresh."""
        return self._pins.get(child, ("", ""))

    def is_coming(self, parent: str) -> bool:
        """Whether the state that a child of `parent` should begin with is on its way to the store."""
        if parent in self._ended:
            return any(item.worker for item in self._wanted.get(parent, ()))
        made_by, worker = self._paused.get(parent) or self._trained.get(parent) or (None, "")
        return bool(worker) and made_by not in self._names.get(parent, {})

    def name_for_child(self, parent: str) -> str:
        """Name of the state that a child of `parent` begins with, `""` if the store has none.

        It is that of the parent's last pause, which is what the tuner judged it by; of one that never pauses the best
        one when it has ended, and the newest one before.
        """
        paused = self._paused_name(parent)
        if paused and parent not in self._ended:
            return paused[0]
        best = self._marked_name(parent)
        newest = () if parent in self._ended else self._needed(parent)
        return (newest or best or ("",))[-1]

    def _paused_name(self, trial: str) -> tuple[str, ...]:
        unit = self._paused[trial][0] if trial in self._paused else None
        found = self._names.get(trial, {}).get(unit) if unit is not None else None
        return () if found is None else (found[1],)

    def _kept(self, trial: str) -> tuple[str, ...]:
        """States that are needed whatever becomes of the trial itself."""
        pinned = (name for parent, name in self._pins.values() if parent == trial)
        return (*self._marked_name(trial), *self._paused_name(trial), *pinned)

    def lost(self, worker: str) -> tuple[list[Change], list[str]]:
        """A worker is gone with the states it held.

        Returns:
            What to do, and the ended trials whose best state went with it.
        """
        gone = [trial for trial, wanted in self._wanted.items() if any(item.worker == worker for item in wanted)]
        changes: list[Change] = []
        for trial in gone:
            self._wanted[trial] = [item for item in self._wanted[trial] if item.worker != worker]
            changes += self._changes(trial)
        for made in (self._trained, self._paused):
            made.update({trial: (unit, "") for trial, (unit, holder) in made.items() if holder == worker})
        return changes, [trial for trial in gone if trial in self._ended and trial not in self._wanted]

    def everything(self) -> list[Change]:
        """What the store should look like now, while nobody writes: it is not known what was carried out."""
        changes: list[Change] = list(self._marked.values())
        for trial in sorted({*self._names, *self._ended}):
            if trial in self._ended:
                changes.append(KeepOnly(trial, self._kept(trial), sweep=True))
            else:
                names = (name for _, name in self._names[trial].values())
                changes.append(KeepOnly(trial, tuple(dict.fromkeys([*names, *self._kept(trial)])), sweep=True))
        return changes

    def _marked_name(self, trial: str) -> tuple[str, ...]:
        return (self._marked[trial].name,) if trial in self._marked else ()

    def _changes(self, trial: str) -> list[Change]:
        changes: list[Change] = []
        wanted, names = self._wanted.pop(trial, []), self._names.get(trial, {})
        stored = [item for item in wanted if item.made_by in names]
        if stored:
            best = stored[-1]
            self._marked[trial] = MarkBest(trial, names[best.made_by][1], best.generation, best.epoch)
            changes.append(self._marked[trial])
            wanted = wanted[wanted.index(best) + 1 :]
        if wanted:
            self._wanted[trial] = wanted
        if trial not in self._ended:
            return changes + self._superseded(trial)
        if trial not in self._wanted:
            self._names.pop(trial, None)
            self._trained.pop(trial, None)
            changes.append(KeepOnly(trial, self._kept(trial)))
        return changes

    def _superseded(self, trial: str) -> list[Change]:
        """States older than any that the trial may go back to, except the best one."""
        names, needed = self._names.get(trial, {}), set(self._needed(trial))
        oldest = min((generation for generation, name in names.values() if name in needed), default=0)
        spared = {*needed, *self._kept(trial)}
        gone = {unit: name for unit, (generation, name) in names.items() if generation < oldest and name not in spared}
        for unit in gone:
            del names[unit]
        return [Remove(trial, tuple(gone.values()))] if gone else []
