"""States between workers: what a worker holds, the server that hands it out, and the connections to others'."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import flight

from cerebro_nas.errors import AuthenticationError
from cerebro_nas.errors import ProtocolError
from cerebro_nas.worker._seal import HELLO
from cerebro_nas.worker._seal import Caller
from cerebro_nas.worker._seal import Kind
from cerebro_nas.worker._seal import Route
from cerebro_nas.worker._seal import Secret
from cerebro_nas.worker._wire import PROOF_HEADER
from cerebro_nas.worker._wire import SealedServer
from cerebro_nas.worker._wire import UnreachableError
from cerebro_nas.worker._wire import address_of
from cerebro_nas.worker._wire import first_result
from cerebro_nas.worker._wire import location_of
from cerebro_nas.worker._wire import open_client
from cerebro_nas.worker.messages import StateHeader
from cerebro_nas.worker.messages import StateTicket
from cerebro_nas.worker.messages import Tls
from cerebro_nas.worker.messages import decode
from cerebro_nas.worker.messages import encode

_CONNECT_SECONDS = 5.0
_HELLO_SECONDS = 10.0
_STATE_SECONDS = 30.0
_TICKET_LIMIT = 4096
_HEADER_LIMIT = 4096
# Enough pieces that one is copied while the next is on its way, and few enough that each costs nothing.
_CHUNK = 4 << 20
_RECEIVE_LIMIT = _CHUNK + (64 << 10)
_STATE = "state"
_SCHEMA = pa.schema([("state", pa.large_binary())])


class States:
    """The states that a worker holds, by trial: generation and bytes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[int, bytes]] = {}

    def put(self, trial: str, generation: int, payload: bytes) -> None:
        """Hold this state, in place of what was held of the trial."""
        with self._lock:
            self._held[trial] = (generation, payload)

    def get(self, trial: str, generation: int) -> bytes | None:
        """The bytes, if exactly this generation is held."""
        with self._lock:
            held = self._held.get(trial)
        return held[1] if held is not None and held[0] == generation else None

    def drop(self, trial: str) -> None:
        """Forget the trial."""
        with self._lock:
            self._held.pop(trial, None)


class StateServer(SealedServer):
    """Serves a worker's states to the other workers. Flight's own threads run it."""

    def __init__(self, host: str, secret: Secret, states: States, tls: Tls | None = None) -> None:
        self._states = states
        super().__init__(host, secret, Route.STATES, _TICKET_LIMIT, tls)
        self.location = location_of(host, self.port, tls)

    def do_get(self, context: Any, ticket: Any) -> Any:
        """The state that the ticket names, as an Arrow stream of pieces; a sealed header comes before the first."""
        request = self.admit(_STATE, ticket.ticket)
        if not request.known:
            return self._stream(self._gate.seal(request, Kind.GREET, b""), b"")
        try:
            wanted = decode(StateTicket, request.body, _TICKET_LIMIT)
        except ProtocolError as error:
            return self._stream(self._gate.seal(request, Kind.REFUSED, str(error).encode(errors="replace")), b"")
        payload = self._states.get(wanted.trial, wanted.generation)
        if payload is None:
            return self._stream(self._gate.seal(request, Kind.REFUSED, b"This worker does not hold that state."), b"")
        header = encode(StateHeader(wanted.trial, wanted.generation, len(payload)))
        return self._stream(self._gate.seal(request, Kind.DONE, header), payload)

    def _stream(self, header: bytes, payload: bytes) -> Any:
        return flight.GeneratorStream(_SCHEMA, _pieces(header, payload))


def _pieces(header: bytes, payload: bytes) -> Iterator[Any]:
    yield pa.record_batch([pa.array([], pa.large_binary())], schema=_SCHEMA), pa.py_buffer(header)
    whole = pa.py_buffer(payload)
    for start in range(0, len(payload), _CHUNK):
        piece = whole.slice(start, min(_CHUNK, len(payload) - start))
        offsets = pa.py_buffer(b"\0" * 8 + piece.size.to_bytes(8, "little"))
        yield pa.record_batch([pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, piece])], schema=_SCHEMA)


@dataclass(frozen=True)
class _Peer:
    client: Any
    caller: Caller


class Peers:
    """Connections to the state servers of other workers."""

    def __init__(self, secret: Secret, tls: Tls | None = None) -> None:
        self._secret = secret
        self._tls = tls
        self._peers: dict[str, _Peer] = {}

    def fetch(self, location: str, trial: str, generation: int) -> bytes:
        """Get a state from the worker that serves at `location`.

        Raises:
            UnreachableError: it does not answer, does not hold that state, or is not of this search.
        """
        try:
            return _fetch(self._peer(location), trial, generation)
        except (flight.FlightError, pa.ArrowException, OSError, AuthenticationError, ProtocolError) as error:
            peer = self._peers.pop(location, None)
            if peer is not None:
                peer.client.close()
            raise UnreachableError(f"No state from the worker at {location}: {error}") from error

    def close(self) -> None:
        """Close every connection."""
        while self._peers:
            self._peers.popitem()[1].client.close()

    def _peer(self, location: str) -> _Peer:
        if location not in self._peers:
            # Flight itself has no connect timeout: a machine that is gone would cost the whole call's.
            socket.create_connection(address_of(location), _CONNECT_SECONDS).close()
            client = open_client(location, self._tls, _RECEIVE_LIMIT)
            self._peers[location] = _Peer(client, Caller(self._secret, Route.STATES))
        return self._peers[location]


def _fetch(peer: _Peer, trial: str, generation: int) -> bytes:
    get = _options(peer.caller, "DO_GET", _STATE_SECONDS)
    hello = _options(peer.caller, "DO_ACTION", _HELLO_SECONDS)
    readers: list[Any] = []

    def send(name: str, frame: bytes) -> bytes:
        reader = peer.client.do_get(flight.Ticket(frame), get)
        first = next(iter(reader), None)
        readers[:] = [reader]
        metadata = first.app_metadata if first is not None else None
        return metadata.to_pybytes() if metadata is not None else b""

    def greet(frame: bytes) -> bytes:
        return first_result(peer.client, HELLO, frame, hello)

    kind, body = peer.caller.call(_STATE, encode(StateTicket(trial, generation)), _HEADER_LIMIT, send, greet)
    if kind != Kind.DONE:
        raise ProtocolError(body.decode(errors="replace"))
    header = decode(StateHeader, body, _HEADER_LIMIT)
    if (header.trial, header.generation) != (trial, generation):
        raise ProtocolError("It sent another state.")
    return _joined(readers[0], header.size)


def _joined(chunks: Iterable[Any], size: int) -> bytes:
    pieces, there = [], 0
    for chunk in chunks:
        if chunk.data is None or chunk.data.schema != _SCHEMA or chunk.data.num_rows != 1:
            raise ProtocolError("It sent something that is no piece of a state.")
        piece = chunk.data.column(0)[0].as_buffer()
        there += piece.size if piece is not None else 0
        if piece is None or there > size:
            break
        pieces.append(piece)
    if there != size:
        raise ProtocolError(f"It announced {size} bytes and sent another number: {there}.")
    return b"".join(pieces)


def _options(caller: Caller, method: str, seconds: float) -> Any:
    header = PROOF_HEADER.encode(), caller.proof(method).encode()
    return flight.FlightCallOptions(timeout=seconds, headers=[header])
