"""The wire: how a peer proves that it belongs to the search, and how a worker talks to its driver.

Arrow Flight carries everything. Each call is sealed with keys that come from the search's secret, and so is each
answer; a call without proof ends before its body is looked at.
"""

from __future__ import annotations

from typing import Any
from typing import TypeVar

import pyarrow as pa
from pyarrow import flight

from cerebro_nas.errors import ProtocolError
from cerebro_nas.worker._peers import Peers
from cerebro_nas.worker._peers import States
from cerebro_nas.worker._peers import StateServer
from cerebro_nas.worker._seal import ANSWER_OVERHEAD
from cerebro_nas.worker._seal import HELLO
from cerebro_nas.worker._seal import Caller
from cerebro_nas.worker._seal import Kind
from cerebro_nas.worker._seal import Route
from cerebro_nas.worker._seal import Secret
from cerebro_nas.worker._wire import PROOF_HEADER
from cerebro_nas.worker._wire import SealedServer
from cerebro_nas.worker._wire import SupersededError
from cerebro_nas.worker._wire import UnreachableError
from cerebro_nas.worker._wire import first_result
from cerebro_nas.worker._wire import listening_address
from cerebro_nas.worker._wire import location_of
from cerebro_nas.worker._wire import open_client
from cerebro_nas.worker._wire import own_address
from cerebro_nas.worker._wire import raise_as_ours
from cerebro_nas.worker.messages import COMMAND_LIMIT
from cerebro_nas.worker.messages import Commands
from cerebro_nas.worker.messages import Died
from cerebro_nas.worker.messages import Empty
from cerebro_nas.worker.messages import Heartbeat
from cerebro_nas.worker.messages import Poll
from cerebro_nas.worker.messages import Register
from cerebro_nas.worker.messages import Report
from cerebro_nas.worker.messages import Tls
from cerebro_nas.worker.messages import Verdict
from cerebro_nas.worker.messages import Welcome
from cerebro_nas.worker.messages import decode
from cerebro_nas.worker.messages import encode

__all__ = [
    "POLL_SECONDS",
    "WELCOME_SECONDS",
    "DriverLink",
    "Peers",
    "Route",
    "SealedServer",
    "Secret",
    "StateServer",
    "States",
    "SupersededError",
    "Tls",
    "UnreachableError",
    "listening_address",
    "location_of",
    "own_address",
]

POLL_SECONDS = 10.0
"""How long a driver holds a poll that has nothing to bring."""

WELCOME_SECONDS = 5.0
"""How long a driver holds a registration while it does not know the search yet."""

_CALL_SECONDS = 10.0

T = TypeVar("T")


class DriverLink:
    """A worker's (or a supervisor's) one connection to the driver. Safe to use from several threads."""

    def __init__(self, location: str, secret: Secret, tls: Tls | None = None) -> None:
        self._client = open_client(location, tls, COMMAND_LIMIT + ANSWER_OVERHEAD + 1024)
        self._caller = Caller(secret, Route.CONTROL)
        self._header = PROOF_HEADER.encode(), self._caller.proof("DO_ACTION").encode()

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
        def send(name: str, frame: bytes) -> bytes:
            return self._send(name, frame, timeout)

        def greet(frame: bytes) -> bytes:
            return self._send(HELLO, frame, _CALL_SECONDS)

        kind, body = self._caller.call(action, encode(message), COMMAND_LIMIT, send, greet)
        if kind == Kind.SUPERSEDED:
            raise SupersededError(body.decode(errors="replace"))
        if kind == Kind.REFUSED:
            raise ProtocolError(f"The driver could not use a message: {body.decode(errors='replace')}")
        return decode(answer, body, COMMAND_LIMIT)

    def _send(self, name: str, frame: bytes, timeout: float) -> bytes:
        options = flight.FlightCallOptions(timeout=timeout, headers=[self._header])
        try:
            return first_result(self._client, name, frame, options)
        except (flight.FlightError, pa.ArrowException) as error:
            raise_as_ours(error)
