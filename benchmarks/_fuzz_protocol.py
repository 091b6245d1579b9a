"""Fuzzing what reads the wire: frames, messages, and a live server on the loopback address."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import flight

from benchmarks._fuzzing import BrokenPromiseError
from benchmarks._fuzzing import Reader
from benchmarks._mutate import mutate_bytes
from benchmarks._mutate import mutate_json
from benchmarks._mutate import to_json
from cerebro_nas.backend import _server
from cerebro_nas.backend._server import ControlServer
from cerebro_nas.backend._table import WorkerTable
from cerebro_nas.errors import AuthenticationError
from cerebro_nas.errors import ProtocolError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitReport
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import messages
from cerebro_nas.worker._seal import HELLO
from cerebro_nas.worker._seal import Caller
from cerebro_nas.worker._seal import Gate
from cerebro_nas.worker._seal import Kind
from cerebro_nas.worker._wire import PROOF_HEADER
from cerebro_nas.worker._wire import first_result
from cerebro_nas.worker._wire import location_of
from cerebro_nas.worker._wire import open_client
from cerebro_nas.worker.link import Route
from cerebro_nas.worker.link import Secret

SECRET = Secret("5ec4e7a1" * 8)
_LIMIT = messages.REPORT_LIMIT
_SPLIT = b"\n--\n"
_OURS = (ProtocolError, AuthenticationError)
_UNIT = Unit("t", "train", 0, Shard("train", 1))
_RUN = messages.RunMessage(_UNIT, StateRef(3), CandidateSpec("t", "m", {"a": [1]}, ("x",), (("y",),)), "grpc://h:1")
_REPORT = UnitReport(64, {"loss": 0.5}, 1.0, 0.9, {"bytes_hopped": 3.0, "peak_memory_bytes": 1e9})
_COMMANDS: tuple[messages.CommandMessage, ...] = (
    *(_RUN, messages.DropMessage("t"), messages.LoadMessage("train", 0), messages.StopMessage(1.5)),
)

MESSAGES: dict[str, Any] = {
    "register": messages.Register("w0", 0, 1, "host", "grpc://h:1"),
    "poll": messages.Poll("w0", 0, 0),
    "report": messages.Report("w0", 0, 1, messages.Done(_UNIT, _REPORT)),
    "report failed": messages.Report("w0", 0, 2, messages.Failed(_UNIT, "oom", "message", trial_fault=True)),
    "report stored": messages.Report("w0", 0, 3, messages.Stored(_UNIT, 3, "000003-0123abcd")),
    "report warned": messages.Report("w0", 0, 4, messages.Warned("careful")),
    "report leaving": messages.Report("w0", 0, 5, messages.Leaving("fresh")),
    "heartbeat": messages.Heartbeat("w0", 0, 5, True, 10**9),
    "died": messages.Died("w0", 1, "reason"),
    "ticket": messages.StateTicket("t", 1),
    "header": messages.StateHeader("t", 1, 2),
    "welcome": messages.Welcome("search"),
    "verdict": messages.Verdict(True),
    "empty": messages.Empty(),
    "commands": messages.Commands(
        tuple(messages.Numbered(number, command) for number, command in enumerate(_COMMANDS, 1))
    ),
    "config": messages.WorkerConfig("d", "5e", "w0", 0, "s", "o", 1, tls=messages.Tls("c", "k", "a", "n")),
}
"""One message of every kind that is sent by itself."""

_TO_DRIVER = [name for name in MESSAGES if name.split()[0] in ("register", "poll", "report", "heartbeat", "died")]


def readers(directory: Path) -> list[Reader]:
    """The readers of the wire; the server ends with the process.

    Args:
        directory: for files; none are needed.
    """
    del directory
    frames, live = _Frames(), _Live()
    return [
        Reader("requests", frames.make_request, frames.open_request, _OURS, weight=20),
        Reader("answers", frames.make_answer, frames.open_answer, _OURS, weight=20),
        Reader("proofs", frames.make_proof, frames.check_proof, ()),
        Reader("messages", make_message, read_message, (ProtocolError,), weight=40),
        Reader("server: strangers", live.make_noise, live.take_noise, (), weight=2),
        Reader("server: false frames", live.make_frame, live.take_frame, (), weight=4),
        Reader("server: odd messages", live.make_body, live.take_body, (), weight=4),
    ]


# --- messages ---------------------------------------------------------------------------------------------------------


def make_message(draw: random.Random) -> bytes:
    """The name of a message and its changed text."""
    name = draw.choice(sorted(MESSAGES))
    return name.encode() + _SPLIT + _odd_body(draw, MESSAGES[name])


def read_message(case: bytes) -> object:
    """Decode it as what it should be; what is taken must come out again as it went in."""
    name, _, data = case.partition(_SPLIT)
    kind = type(MESSAGES[name.decode()])
    found = messages.decode(kind, data, _LIMIT)
    if not isinstance(found, kind):
        raise BrokenPromiseError(f"A {type(found).__name__} was read where a {kind.__name__} was asked for.")
    # What is read is never sent on; a dict that is nested too deeply to be written may be in it.
    with contextlib.suppress(RecursionError):
        if repr(messages.decode(kind, messages.encode(found), 2 * _LIMIT)) != repr(found):
            raise BrokenPromiseError("What was read is not what is written of it.")
    return found


def _odd_body(draw: random.Random, message: Any) -> bytes:
    text = messages.encode(message)
    if draw.random() < 0.7:
        changed = mutate_json(draw, json.loads(text))
        return to_json(changed)
    return mutate_bytes(draw, text)


# --- frames -----------------------------------------------------------------------------------------------------------


class _Frames:
    """Sealed frames between a caller and a gate, without a network."""

    def __init__(self) -> None:
        self._gate = Gate(SECRET, Route.CONTROL, _LIMIT)
        self._caller = Caller(SECRET, Route.CONTROL)
        self._requests: list[tuple[str, bytes]] = []
        self._answers: list[bytes] = []
        for name in _TO_DRIVER:
            self._caller.call(name, messages.encode(MESSAGES[name]), _LIMIT, self._serve, self._greet)
        self._good = {frame for _, frame in self._requests} | set(self._answers)
        self._proof = self._caller.proof("DO_ACTION")

    def _serve(self, name: str, frame: bytes) -> bytes:
        request = self._gate.open(name, frame)
        self._requests.append((name, frame))
        self._answers.append(self._gate.seal(request, Kind.DONE, b"{}"))
        return self._answers[-1]

    def _greet(self, frame: bytes) -> bytes:
        return self._gate.seal(self._gate.open(HELLO, frame), Kind.DONE, self._gate.greet())

    def make_request(self, draw: random.Random) -> bytes:
        name, frame = draw.choice(self._requests)
        called = name if draw.random() < 0.8 else draw.choice((*_TO_DRIVER, HELLO, "", "x" * 100))
        return called.encode() + _SPLIT + mutate_bytes(draw, frame, [other for _, other in self._requests])

    def open_request(self, case: bytes) -> object:
        """Every one of these must be refused: it was changed, or is sent a second time."""
        name, _, frame = case.partition(_SPLIT)
        self._gate.open(name.decode(), frame)
        raise BrokenPromiseError("A frame that was changed, or sent before, was opened.")

    def make_answer(self, draw: random.Random) -> bytes:
        return mutate_bytes(draw, draw.choice(self._answers), self._answers)

    def open_answer(self, data: bytes) -> object:
        self._caller.call("poll", b"{}", _LIMIT, lambda *_: data, self._greet)
        raise BrokenPromiseError("An answer that belongs to another request was taken.")

    def make_proof(self, draw: random.Random) -> bytes:
        return mutate_bytes(draw, self._proof.encode())

    def check_proof(self, data: bytes) -> object:
        text = data.decode("latin-1")
        if self._gate.is_member("DO_ACTION", text) and text.lower().strip() != self._proof:
            raise BrokenPromiseError("A changed proof was taken.")
        return None


# --- a server ---------------------------------------------------------------------------------------------------------


class _Live:
    """The driver's server, as it is in a search, and callers of all kinds."""

    def __init__(self) -> None:
        # A poll waits for commands, which would be all that this does.
        _server.POLL_SECONDS = 0.001  # type: ignore[attr-defined]  # imported there for its own use
        self._table = WorkerTable(["w0", "w1"], max_restarts=1_000_000_000)
        self._server = ControlServer("127.0.0.1", SECRET, self._table)
        self._server.announce("{}")
        self._client = open_client(location_of("127.0.0.1", self._server.port), None, 1 << 20)
        self._caller = Caller(SECRET, Route.CONTROL)
        header = PROOF_HEADER.encode(), self._caller.proof("DO_ACTION").encode()
        self._options = flight.FlightCallOptions(timeout=10, headers=[header])
        self._plain = flight.FlightCallOptions(timeout=10)
        self._attempt = 1 << 40
        self._captured = self._call("heartbeat", messages.encode(MESSAGES["heartbeat"]))[1]

    def _call(self, name: str, body: bytes) -> tuple[Kind, bytes]:
        """A sealed call; its kind, and the frame that was sent."""
        sent = []

        def send(action: str, frame: bytes) -> bytes:
            sent.append(frame)
            return first_result(self._client, action, frame, self._options)

        kind, _ = self._caller.call(name, body, _LIMIT, send, lambda frame: send(HELLO, frame))
        return kind, sent[-1]

    def make_noise(self, draw: random.Random) -> bytes:
        """Bytes for a socket: nothing, the beginning of HTTP/2, or of TLS."""
        starts = (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / ")
        frames = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff"
        return draw.choice(starts) + mutate_bytes(draw, frames * draw.choice((0, 1, 50)))

    def take_noise(self, data: bytes) -> object:
        """Write them, and see whether the server still answers those whom it knows."""
        with socket.create_connection(("127.0.0.1", self._server.port), timeout=5) as stranger:
            with contextlib.suppress(OSError):
                stranger.sendall(data)
                stranger.shutdown(socket.SHUT_WR)
                stranger.settimeout(0.02)
                stranger.recv(1 << 16)
        return self._check_alive()

    def make_frame(self, draw: random.Random) -> bytes:
        """Whether the header proves membership, and a changed frame."""
        proven = b"1" if draw.random() < 0.8 else b"0"
        return proven + mutate_bytes(draw, self._captured, [draw.randbytes(64)])

    def take_frame(self, data: bytes) -> object:
        """Every one of these must be refused."""
        options = self._options if data[:1] == b"1" else self._plain
        try:
            first_result(self._client, "heartbeat", data[1:], options)
        except (flight.FlightUnauthenticatedError, flight.FlightServerError, ProtocolError):
            return self._check_alive()
        except (flight.FlightError, pa.ArrowException) as error:
            raise BrokenPromiseError(f"The server refused in words that are not ours: {error}") from error
        raise BrokenPromiseError("A frame that was changed, or sent before, was answered.")

    def make_body(self, draw: random.Random) -> bytes:
        """A call's name and its odd message."""
        name = draw.choice(_TO_DRIVER)
        message = MESSAGES[name]
        if draw.random() < 0.5:
            self._attempt += 1
            message = dataclasses.replace(message, attempt=self._attempt)
        called = name.split()[0] if draw.random() < 0.95 else draw.choice(("", "x", "\u00e9" * 20))
        return called.encode() + _SPLIT + _odd_body(draw, message)

    def take_body(self, case: bytes) -> object:
        """A peer that knows the secret and talks nonsense gets a sealed answer, whatever it says."""
        name, _, body = case.partition(_SPLIT)
        try:
            kind, _ = self._call(name.decode(), body[:_LIMIT])
        except (flight.FlightError, pa.ArrowException, AuthenticationError) as error:
            raise BrokenPromiseError(f"The server did not seal its answer: {error}") from error
        return kind

    def _check_alive(self) -> Kind:
        return self._call("heartbeat", messages.encode(MESSAGES["heartbeat"]))[0]
