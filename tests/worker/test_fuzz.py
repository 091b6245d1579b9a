"""Any bytes at all into what reads the wire: an error of ours, in no time, for no memory (case 22).

The long run takes as many seconds as `CEREBRO_NAS_FUZZ_SECONDS` says (30 without it):

    CEREBRO_NAS_FUZZ_SECONDS=600 python -m pytest -m chaos tests/worker/test_fuzz.py -s --timeout 900
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import json
import os
import random
import sys
import time
import typing
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import flight

from cerebro_nas.errors import AuthenticationError
from cerebro_nas.errors import ProtocolError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import Unit
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import messages
from cerebro_nas.worker._seal import HELLO
from cerebro_nas.worker._seal import Caller
from cerebro_nas.worker._seal import Gate
from cerebro_nas.worker._seal import Kind
from cerebro_nas.worker._wire import PROOF_HEADER
from cerebro_nas.worker.link import DriverLink
from cerebro_nas.worker.link import Route
from cerebro_nas.worker.link import SealedServer
from cerebro_nas.worker.link import Secret
from cerebro_nas.worker.link import location_of
from cerebro_nas.worker.messages import Commands
from cerebro_nas.worker.messages import Died
from cerebro_nas.worker.messages import DropMessage
from cerebro_nas.worker.messages import Empty
from cerebro_nas.worker.messages import Failed
from cerebro_nas.worker.messages import Heartbeat
from cerebro_nas.worker.messages import Numbered
from cerebro_nas.worker.messages import Poll
from cerebro_nas.worker.messages import Register
from cerebro_nas.worker.messages import Report
from cerebro_nas.worker.messages import RunMessage
from cerebro_nas.worker.messages import StateHeader
from cerebro_nas.worker.messages import StateTicket
from cerebro_nas.worker.messages import StopMessage
from cerebro_nas.worker.messages import Tls
from cerebro_nas.worker.messages import Verdict
from cerebro_nas.worker.messages import Welcome
from cerebro_nas.worker.messages import WorkerConfig
from cerebro_nas.worker.messages import decode
from cerebro_nas.worker.messages import encode

pytestmark = pytest.mark.case(22)

SECONDS = float(os.environ.get("CEREBRO_NAS_FUZZ_SECONDS", "30"))
SECRET = Secret("5ec4e7a1" * 8)
LIMIT = 1 << 20
MOST_SECONDS = 2.0
MOST_BYTES = 64 << 20

UNIT = Unit("t", "train", 0, Shard("train", 1))
RUN = RunMessage(
    UNIT, StateRef(3), CandidateSpec("t", "model", {"a": [1, {"b": None}]}, ("x",), (("y",),)), "grpc://h:1"
)
MESSAGES: list[Any] = [
    Register("w0", 0, 1, "host", "grpc://h:1"),
    Poll("w0", 0, 0),
    Report("w0", 0, 1, Failed(UNIT, "oom", "message", trial_fault=True)),
    Died("w0", 1, "reason"),
    StateTicket("t", 1),
    StateHeader("t", 1, 2),
    Welcome("search"),
    Verdict(True),
    Empty(),
    Commands((Numbered(1, RUN), Numbered(2, DropMessage("t")), Numbered(3, StopMessage(1.5)))),
    WorkerConfig("d", "5e", "w0", 0, "s", "o", 1, tls=Tls("c", "k", "a", "n")),
]
KINDS: list[type[Any]] = [*(type(message) for message in MESSAGES), Heartbeat]

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


def _decoded(kind: type[Any], data: bytes) -> bool:
    """Whether these bytes are such a message; they are refused in our own words if not."""
    try:
        message = decode(kind, data, LIMIT)
    except ProtocolError:
        return False
    assert isinstance(message, kind)
    return True


@given(st.sampled_from(KINDS), st.binary(max_size=300) | _json.map(lambda raw: json.dumps(raw).encode()))
@example(StopMessage, b'{"grace":1' + b"0" * 400 + b"}")
@example(StopMessage, b'{"grace":1' + b"0" * 9000 + b"}")
@example(Commands, b'{"commands":[{"number":1,"command":{"kind":' + b"[" * 900 + b"]" * 900 + b"}}]}")
@example(Commands, b"[" * 200_000)
@example(Empty, b'{"a":' * 100_000)
@example(Welcome, b'{"search":"\\ud800"}')
@example(Welcome, b"\xff\xfe{\x00}\x00")
@example(Poll, b'{"worker":"w0","attempt":true,"seen":0}')
@example(Poll, b'{"worker":"w0","attempt":NaN,"seen":0}')
def test_whatever_is_decoded_it_is_a_message_or_refused(kind: type[Any], data: bytes) -> None:
    _decoded(kind, data)


@given(st.data())
def test_a_message_with_one_value_changed_is_a_message_or_refused(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from(MESSAGES))
    raw = json.loads(encode(message))
    _replace(raw, data.draw(st.integers(0, 40)), data.draw(_json))
    _decoded(type(message), json.dumps(raw).encode())


def _replace(raw: Any, steps: int, value: Any) -> None:
    """Walk `steps` values into a tree, and put another there."""
    places = collections.deque([raw])
    while places:
        place = places.popleft()
        keys = list(place) if isinstance(place, dict) else range(len(place))
        for key in keys:
            if steps == 0:
                place[key] = value
                return
            steps -= 1
            if isinstance(place[key], dict | list):
                places.append(place[key])


# --- the long run ----------------------------------------------------------------------------------------------------


def _mutated(rng: random.Random, data: bytes) -> bytes:
    """What a fuzzer makes of good bytes: flips, cuts, repeats, splices, other lengths."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        end = min(len(changed), at + rng.randint(0, 16))
        action = rng.randrange(6)
        if action == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            del changed[at:end]
        elif action == 2:
            changed[at:at] = changed[at:end] * rng.randint(1, 50)
        elif action == 3:
            changed[at:end] = rng.randbytes(rng.randint(0, 16))
        elif action == 4:
            del changed[at:]
        else:
            changed[at:at] = rng.choice(
                [b"[" * 5000, b'{"kind":', b"9" * 500, b"\\ud800", b"null", b"\xff" * 4, b"NaN"]
            )
    return bytes(changed[:LIMIT])


class _Echo(SealedServer):
    def __init__(self) -> None:
        super().__init__("127.0.0.1", SECRET, Route.CONTROL, LIMIT)
        self.location = location_of("127.0.0.1", self.port)

    def answer(self, name: str, body: bytes) -> bytes:
        kind = {kind.__name__.lower(): kind for kind in KINDS}.get(name)
        if kind is None:
            raise ProtocolError("No such call.")
        decode(kind, body, LIMIT)
        return b'{"commands":[]}'


class _Targets:
    """Everything that reads bytes of the wire, each with good bytes to begin from."""

    def __init__(self) -> None:
        self.gate = Gate(SECRET, Route.CONTROL, LIMIT)
        self.caller = Caller(SECRET, Route.CONTROL)
        self.server = _Echo()
        self.client = flight.FlightClient(self.server.location)
        header = PROOF_HEADER.encode(), self.caller.proof("DO_ACTION").encode()
        self.options = flight.FlightCallOptions(timeout=10, headers=[header])
        self.requests: list[tuple[str, bytes]] = []
        self.answers: list[bytes] = []
        for message in MESSAGES:
            self.caller.call(type(message).__name__.lower(), encode(message), LIMIT, self.serve, self.greet)

    def serve(self, name: str, frame: bytes) -> bytes:
        request = self.gate.open(name, frame)
        self.requests.append((name, frame))
        self.answers.append(self.gate.seal(request, Kind.DONE, b'{"commands":[]}'))
        return self.answers[-1]

    def greet(self, frame: bytes) -> bytes:
        return self.gate.seal(self.gate.open(HELLO, frame), Kind.DONE, self.gate.greet())

    def frame(self, rng: random.Random) -> None:
        name, frame = rng.choice(self.requests)
        self.gate.open(name, _mutated(rng, frame))

    def answer(self, rng: random.Random) -> None:
        data = _mutated(rng, rng.choice(self.answers))
        self.caller.call("poll", b"{}", LIMIT, lambda name, frame: data, self.greet)

    def message(self, rng: random.Random) -> None:
        message = rng.choice(MESSAGES)
        _decoded(type(message) if rng.random() < 0.8 else rng.choice(KINDS), _mutated(rng, encode(message)))

    def proof(self, rng: random.Random) -> None:
        text = _mutated(rng, self.caller.proof("DO_ACTION").encode()).decode("latin-1")
        assert text.lower() == self.caller.proof("DO_ACTION") or not self.gate.is_member("DO_ACTION", text)

    def stranger(self, rng: random.Random) -> None:
        """Mutated frames over a socket; the header is good, so that they get as far as can be."""
        name, frame = rng.choice(self.requests)
        with contextlib.suppress(flight.FlightServerError, flight.FlightUnauthenticatedError):
            list(self.client.do_action(flight.Action(name, _mutated(rng, frame)), self.options))

    def insider(self, rng: random.Random) -> None:
        """Mutated messages over a socket, properly sealed."""
        message = rng.choice(MESSAGES)

        def send(name: str, frame: bytes) -> bytes:
            (result,) = self.client.do_action(flight.Action(name, frame), self.options)
            return bytes(result.body)

        caller = Caller(SECRET, Route.CONTROL)
        name, body = type(message).__name__.lower(), _mutated(rng, encode(message))
        kind, _ = caller.call(name, body, LIMIT, send, lambda frame: send(HELLO, frame))
        assert kind in (Kind.DONE, Kind.REFUSED)

    def close(self) -> None:
        self.client.close()
        self.server.shutdown()


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + 120)
def test_fuzzing_ends_in_errors_of_ours_and_costs_nothing() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    rng, targets, me = random.Random(seed), _Targets(), psutil.Process()
    calls: list[Callable[[random.Random], None]] = [
        *[targets.frame, targets.answer, targets.message, targets.proof] * 8,
        targets.stranger,
        targets.insider,
    ]
    counts: collections.Counter[str] = collections.Counter()
    begun, base, slowest = time.monotonic(), 0, 0.0
    try:
        while (now := time.monotonic()) - begun < SECONDS:
            call = rng.choice(calls)
            with contextlib.suppress(AuthenticationError, ProtocolError):
                call(rng)
            slowest = max(slowest, time.monotonic() - now)
            counts[call.__name__] += 1
            if not base and now - begun > SECONDS / 5:
                gc.collect()
                base = me.memory_info().rss
        gc.collect()
        grown = me.memory_info().rss - base
        with contextlib.closing(DriverLink(targets.server.location, SECRET)) as link:
            assert link.poll(Poll("w0", 0, 0)).commands == ()
    except BaseException:
        sys.stdout.write(f"seed {seed}\n")
        raise
    finally:
        targets.close()
    sys.stdout.write(f"{dict(counts)} in {SECONDS:.0f} s; slowest {slowest:.2f} s; grew {grown >> 10} KiB\n")
    assert slowest < MOST_SECONDS
    assert grown < MOST_BYTES
    assert min(counts[call.__name__] for call in calls) > 0


def test_every_kind_of_message_is_fuzzed() -> None:
    """A message that is added to the wire is to be added here."""
    sent = {
        kind
        for kind in vars(messages).values()
        if dataclasses.is_dataclass(kind) and getattr(kind, "__module__", "") == messages.__name__
    }
    hints = {name for kind in KINDS for name in _names(kind, set())}
    assert {getattr(kind, "__name__", "") for kind in sent} <= hints


def _names(kind: type[Any], seen: set[str]) -> set[str]:
    if kind.__name__ in seen:
        return seen
    seen.add(kind.__name__)
    pending = list(typing.get_type_hints(kind).values())
    while pending:
        hint = pending.pop()
        pending.extend(typing.get_args(hint))
        if dataclasses.is_dataclass(hint):
            _names(hint, seen)  # type: ignore[arg-type]
    return seen
