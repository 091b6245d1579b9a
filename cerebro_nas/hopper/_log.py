"""The schedule log in columns: a search of a million units keeps a few dozen bytes for each, not a tree of objects."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import overload

from cerebro_nas.hopper._types import ScheduleEntry
from cerebro_nas.hopper._types import Unit

if TYPE_CHECKING:
    from collections.abc import Hashable
    from collections.abc import Iterator

    from cerebro_nas.hopper._types import Outcome
    from cerebro_nas.hopper._types import Phase
    from cerebro_nas.hopper._types import Shard

_PLAIN = -1
"""Layout of a detail that does not consist of floats: it is kept as it is."""


class _Codes:
    """Numbers for values that come again and again."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Hashable, int] = {}

    def of(self, value: Hashable) -> int:
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self.values)
            self.values.append(value)
        return number


class ScheduleLog(Sequence[ScheduleEntry]):
    """The units that have ended, in order; it reads like a tuple of `ScheduleEntry`, which are made when asked for."""

    def __init__(self) -> None:
        self._times = array("d")
        self._numbers = array("i")
        self._details = array("q")
        self._figures = array("d")
        self._plain: dict[int, dict[str, Any]] = {}
        self._workers, self._trials, self._shards = _Codes(), _Codes(), _Codes()
        self._kinds, self._layouts = _Codes(), _Codes()

    def add(
        self,
        worker: str,
        unit: Unit,
        started: float,
        finished: float,
        busy_seconds: float,
        outcome: Outcome,
        detail: dict[str, Any],
    ) -> None:
        """Append one unit; the parts are those of `ScheduleEntry`."""
        row = len(self)
        self._times.extend((started, finished, busy_seconds))
        kind = self._kinds.of((unit.phase, outcome))
        numbers = (self._workers.of(worker), self._trials.of(unit.trial), self._shards.of(unit.shard))
        self._numbers.extend((*numbers, kind, unit.epoch, unit.attempt, self._layout(row, detail)))
        self._details.append(len(self._figures))
        if self._numbers[-1] != _PLAIN:
            self._figures.extend(detail.values())

    def _layout(self, row: int, detail: dict[str, Any]) -> int:
        if all(type(value) is float for value in detail.values()):
            return self._layouts.of(tuple(detail))
        self._plain[row] = dict(detail)
        return _PLAIN

    def __len__(self) -> int:
        return len(self._details)

    @overload
    def __getitem__(self, index: int) -> ScheduleEntry: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ScheduleEntry, ...]: ...

    def __getitem__(self, index: int | slice) -> ScheduleEntry | tuple[ScheduleEntry, ...]:
        rows = range(len(self))[index]
        return self._entry(rows) if isinstance(rows, int) else tuple(self._entry(row) for row in rows)

    def __iter__(self) -> Iterator[ScheduleEntry]:
        # By number, so that a log that grows meanwhile is read to its end.
        row = 0
        while row < len(self):
            yield self._entry(row)
            row += 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"<ScheduleLog of {len(self)} units>"

    def _entry(self, row: int) -> ScheduleEntry:
        worker, trial, shard, kind, epoch, attempt, layout = self._numbers[7 * row : 7 * row + 7]
        started, finished, busy = self._times[3 * row : 3 * row + 3]
        phase: Phase
        phase, outcome = self._kinds.values[kind]
        where: Shard | None = self._shards.values[shard]
        unit = Unit(self._trials.values[trial], phase, epoch, where, attempt)
        return ScheduleEntry(
            self._workers.values[worker], unit, started, finished, busy, outcome, self._detail(row, layout)
        )

    def _detail(self, row: int, layout: int) -> dict[str, Any]:
        if layout == _PLAIN:
            return dict(self._plain[row])
        names: tuple[str, ...] = self._layouts.values[layout]
        first = self._details[row]
        return dict(zip(names, self._figures[first : first + len(names)], strict=True))
