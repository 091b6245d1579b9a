"""What a worker and its driver say to each other: dataclasses, and the strict JSON codec between them and the wire.

Nothing that arrives is ever unpickled: bytes become JSON, JSON becomes one of the dataclasses below, field by field
against its annotations, and everything else is a `ProtocolError`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Literal
from typing import TypeVar

from cerebro_nas.errors import ProtocolError
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitReport
from cerebro_nas.worker._spec import CandidateSpec

REPORT_LIMIT = 1 << 20
"""Largest message, in bytes, that a driver accepts."""

COMMAND_LIMIT = 64 << 20
"""Largest message, in bytes, that a worker accepts."""

_OFTEN_EMPTY = {"sums", "merged"}

T = TypeVar("T")


# --- driver to worker ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunMessage:
    """Run a unit.

    Attributes:
        peer: where the worker that holds the state serves it, if that is another one.
        keep: the store must get what the unit makes.
        sums: what metrics counted on the epoch's other validation shards, where this is the last one.
    """

    unit: Unit
    state: StateRef
    spec: CandidateSpec
    peer: str | None = None
    keep: bool = False
    sums: dict[str, list[float]] = field(default_factory=dict)
    kind: Literal["run"] = "run"


@dataclass(frozen=True)
class DropMessage:
    """Forget the state of a trial."""

    trial: str
    kind: Literal["drop"] = "drop"


@dataclass(frozen=True)
class LoadMessage:
    """Decode a shard ahead of its first use."""

    split: str
    index: int
    kind: Literal["load"] = "load"


@dataclass(frozen=True)
class StopMessage:
    """Write what is to be written, within `grace` seconds, and exit."""

    grace: float
    kind: Literal["stop"] = "stop"


CommandMessage = RunMessage | DropMessage | LoadMessage | StopMessage


@dataclass(frozen=True)
class Numbered:
    """A command with its place in the order of its worker, so that delivering it twice does no harm."""

    number: int
    command: CommandMessage


@dataclass(frozen=True)
class Commands:
    """The answer to a poll."""

    commands: tuple[Numbered, ...] = ()


@dataclass(frozen=True)
class Welcome:
    """The answer to a registration: `SearchSpec.to_json()`, or `""`: it is not known yet, register again."""

    search: str


@dataclass(frozen=True)
class Verdict:
    """The answer to the news of a death: whether to start a replacement."""

    restart: bool


# --- worker to driver ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Register:
    """A worker introduces itself; `location` is where it serves states. Later attempts replace earlier ones."""

    worker: str
    attempt: int
    pid: int
    host: str
    location: str


@dataclass(frozen=True)
class Poll:
    """Ask for commands after number `seen`; the driver may forget those up to it."""

    worker: str
    attempt: int
    seen: int


@dataclass(frozen=True)
class Done:
    """A unit finished."""

    unit: Unit
    report: UnitReport
    kind: Literal["done"] = "done"


@dataclass(frozen=True)
class Failed:
    """A unit failed."""

    unit: Unit
    reason: str
    message: str
    trial_fault: bool
    kind: Literal["failed"] = "failed"


@dataclass(frozen=True)
class Stored:
    """The state that a train unit made reached the store, as `name`."""

    unit: Unit
    generation: int
    name: str
    kind: Literal["stored"] = "stored"


@dataclass(frozen=True)
class Warned:
    """Something that the user should read, but that fails no unit."""

    message: str
    kind: Literal["warned"] = "warned"


@dataclass(frozen=True)
class Leaving:
    """This worker ends in order to come back as a fresh process; it says nothing after this."""

    reason: str
    kind: Literal["leaving"] = "leaving"


@dataclass(frozen=True)
class Report:
    """One piece of news. A worker numbers its reports from 1 without gaps, so that a repeated one is recognised."""

    worker: str
    attempt: int
    number: int
    news: Done | Failed | Stored | Warned | Leaving


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life.

    Attributes:
        progress: the engine's count of steps and of the other things it has got done; it never goes down.
        busy: whether the thread that runs the units has anything to do.
        peak_memory_bytes: largest resident size so far.
    """

    worker: str
    attempt: int
    progress: int
    busy: bool
    peak_memory_bytes: int


@dataclass(frozen=True)
class Died:
    """A supervisor says that its worker program ended."""

    worker: str
    attempt: int
    reason: str


@dataclass(frozen=True)
class Empty:
    """An answer that says nothing."""


@dataclass(frozen=True)
class StateTicket:
    """Which state a worker asks another for."""

    trial: str
    generation: int


@dataclass(frozen=True)
class StateHeader:
    """What precedes the bytes of a state, and proves that the worker that sends them is of this search."""

    trial: str
    generation: int
    size: int


# --- what starts a worker program (its first line of standard input) --------------------------------------------------


@dataclass(frozen=True)
class Tls:
    """The certificate that every peer of a search shows and asks for, as PEM texts.

    Attributes:
        certificate: the certificate, with those between it and the authority.
        key: its private key. It reaches the workers the way that the secret does.
        authority: certificates that a peer's must lead up to.
        name: the name in the certificate that peers look for.
    """

    certificate: str = field(repr=False)
    key: str = field(repr=False)
    authority: str = field(repr=False)
    name: str


@dataclass(frozen=True)
class WorkerConfig:
    """What the worker program needs to begin.

    Attributes:
        driver: Flight location of the driver's server.
        secret: the search's secret, hexadecimal. It reaches the program through a pipe only.
        worker: name of the worker.
        attempt: place of this program among those that served under the name.
        scratch: directory of this program's own, created by it.
        orphaned: directory to remove when the parent process has died.
        parent: process id of the parent.
        paths: entries to put on the module search path.
        engine: `module:name` of the engine's class.
        memory_limit: resident bytes above which the program makes way for a fresh one after a unit; None: never.
        max_units: units after which it does so; None: never.
        tls: how the calls are encrypted; None: they are not.
        hooks: `module:function` that makes the `Hooks` of a test from `hook_data` and the worker's name.
    """

    driver: str
    secret: str = field(repr=False)
    worker: str
    attempt: int
    scratch: str
    orphaned: str
    parent: int
    die_with_parent: bool = False
    paths: tuple[str, ...] = ()
    engine: str = "cerebro_nas.worker:Engine"
    memory_limit: int | None = None
    max_units: int | None = None
    tls: Tls | None = None
    hooks: str = ""
    hook_data: str = ""


# --- the codec -------------------------------------------------------------------------------------------------------


def encode(message: Any) -> bytes:
    """Turn one of the messages into bytes."""
    return json.dumps(to_plain(message), separators=(",", ":")).encode()


def to_plain(message: Any) -> dict[str, Any]:
    """Turn an instance of a dataclass into what JSON can hold; `from_plain` is the inverse.

    What metrics counted is left out where there is nothing of it, which is so with a single validation shard.
    """
    return dataclasses.asdict(message, dict_factory=_present)


def _present(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if value != {} or name not in _OFTEN_EMPTY}


def decode(kind: type[T], data: bytes, limit: int) -> T:
    """Turn bytes into a message of the class `kind`.

    Raises:
        ProtocolError: the bytes are more than `limit`, are not JSON, or do not describe such a message.
    """
    if len(data) > limit:
        raise ProtocolError(f"A {kind.__name__} message may have {limit} bytes. Received: {len(data)} bytes.")
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A {kind.__name__} message must be JSON: {error}.") from None
    return from_plain(kind, raw)


def from_plain(kind: type[T], raw: object) -> T:
    """Turn what JSON gave into an instance of the dataclass `kind`.

    Raises:
        ProtocolError: it does not describe one.
    """
    return typing.cast(T, _value(kind, raw, kind.__name__))


def _value(hint: Any, raw: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return raw
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast("type[Any]", hint), raw, where)
    if origin in (typing.Union, types.UnionType):
        return _alternative(typing.get_args(hint), raw, where)
    if origin is Literal:
        return _checked(raw in typing.get_args(hint) and isinstance(raw, str), raw, hint, where)
    if origin is tuple:
        _checked(isinstance(raw, list), raw, hint, where)
        return tuple(_value(typing.get_args(hint)[0], item, f"{where}[]") for item in raw)
    if origin is list:
        _checked(isinstance(raw, list), raw, hint, where)
        return [_value(typing.get_args(hint)[0], item, f"{where}[]") for item in raw]
    if origin is dict:
        _checked(isinstance(raw, dict), raw, hint, where)
        return {key: _value(typing.get_args(hint)[1], item, f"{where}.{key}") for key, item in raw.items()}
    return _scalar(hint, raw, where)


def _scalar(hint: Any, raw: Any, where: str) -> Any:
    if hint is float and type(raw) in (int, float):
        try:
            return float(raw)
        except OverflowError:
            raise ProtocolError(f"`{where}` must be a number that fits a float.") from None
    return _checked(type(raw) is hint, raw, hint, where)


def _checked(good: bool, raw: Any, hint: Any, where: str) -> Any:
    if not good:
        name = getattr(hint, "__name__", str(hint))
        raise ProtocolError(f"`{where}` must be {name}. Received: a value of type {type(raw).__name__}.")
    return raw


def _alternative(options: tuple[Any, ...], raw: Any, where: str) -> Any:
    if type(None) in options:
        rest = [option for option in options if option is not type(None)]
        return None if raw is None else _value(rest[0], raw, where)
    kind = raw.get("kind") if isinstance(raw, dict) else None
    for option in options:
        if dataclasses.is_dataclass(option) and kind == getattr(option, "kind", None):
            return _value(option, raw, where)
    shown = repr(kind[:40]) if isinstance(kind, str) else f"a value of type {type(kind).__name__}"
    raise ProtocolError(f"`{where}` must be one of the known messages. Received: kind={shown}.")


@functools.cache
def _hints(hint: Any) -> dict[str, Any]:
    return typing.get_type_hints(hint)


def _record(hint: Any, raw: Any, where: str) -> Any:
    _checked(isinstance(raw, dict), raw, hint, where)
    hints = _hints(hint)
    unknown = sorted(set(raw) - set(hints))
    if unknown:
        raise ProtocolError(f"`{where}` has a field that {hint.__name__} does not know. Received: {unknown[0][:40]!r}.")
    values = {name: _value(hints[name], item, f"{where}.{name}") for name, item in raw.items()}
    try:
        return hint(**values)
    except TypeError as error:
        raise ProtocolError(f"`{where}` lacks a field: {error}.") from None
