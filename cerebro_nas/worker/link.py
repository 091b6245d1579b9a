"""The wire: how a peer proves that it belongs to the search, and how a worker talks to its driver.

Arrow Flight carries everything. Each call bears the search's secret; a call without it ends before its body is read.
"""

from __future__ import annotations

import hmac
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any
from typing import TypeVar

import pyarrow as pa
from pyarrow import flight

from cerebro_nas.errors import AuthenticationError
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ProtocolError
from cerebro_nas.worker.messages import COMMAND_LIMIT
from cerebro_nas.worker.messages import Commands
from cerebro_nas.worker.messages import Died
from cerebro_nas.worker.messages import Empty
from cerebro_nas.worker.messages import Heartbeat
from cerebro_nas.worker.messages import Poll
from cerebro_nas.worker.messages import Register
from cerebro_nas.worker.messages import Report
from cerebro_nas.worker.messages import StateTicket
from cerebro_nas.worker.messages import Verdict
from cerebro_nas.worker.messages import Welcome
from cerebro_nas.worker.messages import decode
from cerebro_nas.worker.messages import encode

_LOGGER = logging.getLogger(__name__)

POLL_SECONDS = 10.0
"""How long a driver holds a poll that has nothing to bring."""

WELCOME_SECONDS = 5.0
"""How long a driver holds a registration while it does not know the search yet."""

_CALL_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_STATE_SECONDS = 30.0
# Enough pieces that one is copied while the next is on its way, and few enough that each costs nothing.
_CHUNK = 4 << 20

T = TypeVar("T")


class SupersededError(BackendError):
    """The driver no longer wants this worker: another one took its place, or the search is over."""


class UnreachableError(BackendError):
    """The other side did not answer."""


class Secret:
    """The secret of a search, which never shows itself."""

    __slots__ = ("_hex",)

    def __init__(self, hexadecimal: str) -> None:
        self._hex = hexadecimal

    def __repr__(self) -> str:
        return "Secret(...)"

    def reveal(self) -> str:
        """The hexadecimal text, for the pipe that hands it on."""
        return self._hex

    def header(self) -> tuple[bytes, bytes]:
        """The header that proves knowledge of the secret."""
        return b"authorization", f"Bearer {self._hex}".encode()


class SecretRequired(flight.ServerMiddlewareFactory):  # type: ignore[misc]  # Arrow ships no types
    """Turns away each call that does not bear the secret."""

    def __init__(self, secret: Secret) -> None:
        super().__init__()
        self._expected = secret.header()[1]
        self._warned = False

    def start_call(self, info: Any, headers: dict[str, list[str | bytes]]) -> None:
        """Called by Flight before the body of a call is looked at."""
        values = headers.get("authorization", [])
        given = values[0] if len(values) == 1 else b""
        if not hmac.compare_digest(given.encode() if isinstance(given, str) else given, self._expected):
            level = logging.DEBUG if self._warned else logging.WARNING
            self._warned = True
            _LOGGER.log(level, "Refused a call that did not present the secret of this search.")
            raise flight.FlightUnauthenticatedError("The secret of this search is required.")


def own_address(location: str) -> str:
    """The address of this machine on the way to `location`, which is what others there can reach it by."""
    host, port = location.removeprefix("grpc://").rsplit(":", 1)
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def location_of(host: str, port: int) -> str:
    """A Flight location."""
    return f"grpc://[{host}]:{port}" if ":" in host else f"grpc://{host}:{port}"


class DriverLink:
    """A worker's (or a supervisor's) one connection to the driver. Safe to use from several threads."""

    def __init__(self, location: str, secret: Secret) -> None:
        limit = ("grpc.max_receive_message_length", COMMAND_LIMIT)
        self._client = flight.FlightClient(location, generic_options=[limit])
        self._header = secret.header()

    def register(self, message: Register) -> Welcome:
        """Introduce this worker; the answer says what the search is."""
        return self._call("register", message, Welcome, WELCOME_SECONDS + _CALL_SECONDS)

    def poll(self, message: Poll) -> Commands:
        """Wait for commands."""
        return self._call("poll", message, Commands, POLL_SECONDS + _CALL_SECONDS)

    def report(self, message: Report) -> None:
        """Deliver one piece of news."""
        self._call("report", message, Empty)

    def heartbeat(self, message: Heartbeat) -> None:
        """Show that this worker lives."""
        self._call("heartbeat", message, Empty)

    def died(self, message: Died) -> Verdict:
        """Say that a worker program ended."""
        return self._call("died", message, Verdict)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _call(self, action: str, message: Any, answer: type[T], timeout: float = _CALL_SECONDS) -> T:
        options = flight.FlightCallOptions(timeout=timeout, headers=[self._header])
        try:
            results = list(self._client.do_action(flight.Action(action, encode(message)), options))
        except flight.FlightUnauthenticatedError as error:
            raise AuthenticationError("The driver refused the secret of this worker.") from error
        except flight.FlightUnauthorizedError as error:
            raise SupersededError("The driver has no use for this worker any more.") from error
        except (flight.FlightUnavailableError, flight.FlightTimedOutError, flight.FlightCancelledError) as error:
            raise UnreachableError(f"The driver does not answer: {error}") from error
        except (flight.FlightError, pa.ArrowException) as error:
            raise ProtocolError(f"The driver could not use a message: {error}") from error
        return decode(answer, results[0].body.to_pybytes(), COMMAND_LIMIT)


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


class StateServer(flight.FlightServerBase):  # type: ignore[misc]  # Arrow ships no types
    """Serves a worker's states to the other workers. Flight's own threads run it."""

    def __init__(self, host: str, secret: Secret, states: States) -> None:
        super().__init__(location_of(host, 0), middleware={"secret": SecretRequired(secret)})
        self._states = states
        self.location = location_of(host, self.port)

    def do_get(self, context: Any, ticket: Any) -> Any:
        """The state that the ticket names, as an Arrow stream of pieces."""
        try:
            wanted = decode(StateTicket, bytes(ticket.ticket), 4096)
        except ProtocolError as error:
            raise flight.FlightServerError(str(error)) from None
        payload = self._states.get(wanted.trial, wanted.generation)
        if payload is None:
            raise flight.FlightUnavailableError("This worker does not hold that state.")
        return flight.GeneratorStream(_SCHEMA, _pieces(payload))


_SCHEMA = pa.schema([("state", pa.large_binary())])


def _pieces(payload: bytes) -> Iterator[pa.RecordBatch]:
    whole = pa.py_buffer(payload)
    for start in range(0, max(len(payload), 1), _CHUNK):
        piece = whole.slice(start, min(_CHUNK, len(payload) - start))
        offsets = pa.py_buffer(b"\0" * 8 + piece.size.to_bytes(8, "little"))
        yield pa.record_batch([pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, piece])], schema=_SCHEMA)


class Peers:
    """Connections to the state servers of other workers."""

    def __init__(self, secret: Secret) -> None:
        self._header = secret.header()
        self._clients: dict[str, Any] = {}

    def fetch(self, location: str, trial: str, generation: int) -> bytes:
        """Get a state from the worker that serves at `location`.

        Raises:
            UnreachableError: it does not answer or does not hold that state.
        """
        options = flight.FlightCallOptions(timeout=_STATE_SECONDS, headers=[self._header])
        try:
            reader = self._client(location).do_get(flight.Ticket(encode(StateTicket(trial, generation))), options)
            pieces = [chunk.data.column(0)[0].as_buffer() for chunk in reader]
        except (flight.FlightError, pa.ArrowException, OSError) as error:
            client = self._clients.pop(location, None)
            if client is not None:
                client.close()
            raise UnreachableError(f"No state from the worker at {location}: {error}") from error
        return b"".join(pieces)

    def close(self) -> None:
        """Close every connection."""
        while self._clients:
            self._clients.popitem()[1].close()

    def _client(self, location: str) -> Any:
        if location not in self._clients:
            host, port = location.removeprefix("grpc://").rsplit(":", 1)
            # Flight itself has no connect timeout: a machine that is gone would cost the whole call's.
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
            self._clients[location] = flight.FlightClient(location)
        return self._clients[location]
