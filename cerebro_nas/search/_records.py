"""What a search's journal holds: every input that the search did not follow from, in order.

The kinds are: `session` (a driver began, with what the search is), `event` (a backend said something), `trial`,
`rejected`, `promoted`, `dismissed`, `wait` and `exhausted` (what became of asking the tuner), `run` (a unit was sent to
a worker), `stop` (a trial was ended from outside), `interrupted`, `end`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from cerebro_nas.backend import BackendEvent
from cerebro_nas.errors import CorruptStateError
from cerebro_nas.errors import ProtocolError
from cerebro_nas.hopper import StateStored
from cerebro_nas.hopper import TrialStatus
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.worker.messages import from_plain
from cerebro_nas.worker.messages import to_plain

_EVENTS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (WorkerJoined, WorkerLost, UnitDone, UnitFailed, StateStored)
}


def event_data(event: BackendEvent) -> dict[str, Any]:
    """An event as plain values."""
    return {"type": type(event).__name__, **to_plain(event)}


def read_event(data: Mapping[str, Any]) -> BackendEvent:
    """The event that `event_data` described.

    Raises:
        CorruptStateError: it describes none.
    """
    kind = _EVENTS.get(str(data.get("type")))
    if kind is None:
        raise CorruptStateError(f"The journal holds an event that this version does not know: {data.get('type')!r}.")
    event: BackendEvent = _read(kind, {name: value for name, value in data.items() if name != "type"})
    return event


def unit_data(unit: Unit) -> dict[str, Any]:
    """A unit as plain values."""
    return dataclasses.asdict(unit)


def read_unit(data: object) -> Unit:
    """The unit that `unit_data` described."""
    unit: Unit = _read(Unit, data)
    return unit


def read_status(name: object) -> TrialStatus:
    """A status by its name."""
    try:
        return TrialStatus(name)
    except ValueError:
        raise CorruptStateError(f"The journal holds a status that this version does not know: {name!r}.") from None


def read_field(data: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    """A field of a record.

    Raises:
        CorruptStateError: it is not there, or of another type.
    """
    value = data.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise CorruptStateError(f"The journal holds a record whose {name!r} is no {kind.__name__}: {value!r}.")
    return value


def _read(kind: type[Any], raw: object) -> Any:
    try:
        return from_plain(kind, raw)
    except ProtocolError as error:
        raise CorruptStateError(f"The journal holds a record that cannot be read: {error}") from error
