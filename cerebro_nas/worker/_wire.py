"""What both ends of every link share: addresses, TLS, and a Flight server that answers sealed calls only."""

from __future__ import annotations

import itertools
import logging
import socket
from typing import Any
from typing import NoReturn

from pyarrow import flight

from cerebro_nas.errors import AuthenticationError
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ProtocolError
from cerebro_nas.worker._seal import HELLO
from cerebro_nas.worker._seal import REQUEST_OVERHEAD
from cerebro_nas.worker._seal import Gate
from cerebro_nas.worker._seal import Kind
from cerebro_nas.worker._seal import OpenedRequest
from cerebro_nas.worker._seal import Route
from cerebro_nas.worker._seal import Secret
from cerebro_nas.worker.messages import Tls

_LOGGER = logging.getLogger(__name__)

PROOF_HEADER = "cerebro-nas-proof"
_SCHEMES = ("grpc+tls://", "grpc://")
_TEXT_LIMIT = 4000


class SupersededError(BackendError):
    """The driver no longer wants this worker: another one took its place, or the search is over."""


class UnreachableError(BackendError):
    """The other side did not answer."""


def location_of(host: str, port: int, tls: Tls | None = None) -> str:
    """A Flight location."""
    scheme = _SCHEMES[0] if tls is not None else _SCHEMES[1]
    return f"{scheme}[{host}]:{port}" if ":" in host else f"{scheme}{host}:{port}"


def address_of(location: str) -> tuple[str, int]:
    """Host and port of a Flight location."""
    host, port = location.rpartition("://")[2].rsplit(":", 1)
    return host.strip("[]"), int(port)


def own_address(location: str) -> str:
    """The address of this machine on the way to `location`, which is what others there can reach it by."""
    host, port = address_of(location)
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def listening_address(advertised: str, configured: str) -> str:
    """Where to listen: at the advertised address alone, or, where this machine does not have it, as configured.

    Behind a translated address the configured one may stand for all addresses of the machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(advertised, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError:
        return configured
    return advertised


def open_client(location: str, tls: Tls | None, receive: int) -> Any:
    """A Flight client that takes messages of at most `receive` bytes, and over TLS shows its certificate."""
    # Peers of a search are in one network; a proxy of the user's environment has no part in it.
    limits = [("grpc.max_receive_message_length", receive), ("grpc.enable_http_proxy", 0)]
    options: dict[str, Any] = {"generic_options": limits}
    if tls is not None:
        options.update(
            tls_root_certs=tls.authority.encode(),
            cert_chain=tls.certificate.encode(),
            private_key=tls.key.encode(),
            # All peers of a search show one certificate, so it is its name that counts, not the machine's.
            override_hostname=tls.name,
        )
    return flight.FlightClient(location, **options)


def _server_options(tls: Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {
        "tls_certificates": [(tls.certificate.encode(), tls.key.encode())],
        "verify_client": True,
        "root_certificates": tls.authority.encode(),
    }


class _ProofRequired(flight.ServerMiddlewareFactory):  # type: ignore[misc]  # Arrow ships no types
    """Turns away each call whose header does not prove knowledge of the secret."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate
        self._warned = False

    def start_call(self, info: Any, headers: dict[str, list[str | bytes]]) -> None:
        """Called by Flight before the body of a call is looked at."""
        values = headers.get(PROOF_HEADER, [])
        given = values[0] if len(values) == 1 else ""
        text = given.decode("ascii", "replace") if isinstance(given, bytes) else given
        if not self._gate.is_member(info.method.name, text):
            level = logging.DEBUG if self._warned else logging.WARNING
            self._warned = True
            _LOGGER.log(level, "Refused a call that did not prove knowledge of the secret of this search.")
            raise flight.FlightUnauthenticatedError("Proof of the secret of this search is required.")


class SealedServer(flight.FlightServerBase):  # type: ignore[misc]  # Arrow ships no types
    """A Flight server that answers sealed calls only. Flight's own threads run it from construction on.

    Flight's serve() is never called: all it adds is signal handlers, and those belong to the user's program.

    Args:
        host: address to listen on.
        secret: of the search.
        route: whom it serves.
        limit: most bytes of a request's body.
        tls: its certificate, which callers must show as well; None for plain TCP.
    """

    def __init__(self, host: str, secret: Secret, route: Route, limit: int, tls: Tls | None = None) -> None:
        self._gate = Gate(secret, route, limit)
        self._limit = limit
        self._warned = False
        super().__init__(
            location_of(host, 0, tls), middleware={"proof": _ProofRequired(self._gate)}, **_server_options(tls)
        )

    def answer(self, name: str, body: bytes) -> bytes:
        """Carry out one call of a peer that knows the secret.

        Raises:
            ProtocolError: the call makes no sense.
            SupersededError: the caller is not wanted any more.
        """
        raise ProtocolError(f"No such call. Received: {name[:40]!r}.")

    def do_action(self, context: Any, action: Any) -> list[bytes]:
        """Carry out one call; Flight calls this on a thread of its own."""
        request = self.admit(action.type, action.body)
        kind, body = self._outcome(request)
        return [self._gate.seal(request, kind, body)]

    def admit(self, name: str, frame: Any) -> OpenedRequest:
        """Open a frame, or end the call."""
        try:
            # The size first: the bytes are not copied before.
            if len(frame) > self._limit + REQUEST_OVERHEAD:
                raise ProtocolError(f"A body may have {self._limit} bytes. Received: a frame of {len(frame)} bytes.")
            return self._gate.open(name, bytes(frame))
        except ProtocolError as error:
            self._note(error)
            raise flight.FlightServerError(str(error)) from None
        except AuthenticationError as error:
            self._note(error)
            raise flight.FlightUnauthenticatedError(str(error)) from None

    def _outcome(self, request: OpenedRequest) -> tuple[Kind, bytes]:
        if not request.known:
            return Kind.GREET, b""
        if request.name == HELLO:
            return Kind.DONE, self._gate.greet()
        try:
            return Kind.DONE, self.answer(request.name, request.body)
        except ProtocolError as error:
            return Kind.REFUSED, str(error)[:_TEXT_LIMIT].encode(errors="replace")
        except SupersededError as error:
            return Kind.SUPERSEDED, str(error)[:_TEXT_LIMIT].encode(errors="replace")

    def _note(self, error: Exception) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        _LOGGER.log(level, "Refused a call: %s", error)


def first_result(client: Any, name: str, frame: bytes, options: Any) -> bytes:
    """Send an action; the bytes of its only result."""
    results = client.do_action(flight.Action(name, frame), options)
    found: list[bytes] = [result.body.to_pybytes() for result in itertools.islice(results, 2)]
    if len(found) != 1:
        raise ProtocolError("An answer must be one frame.")
    return found[0]


def raise_as_ours(error: Exception) -> NoReturn:
    """Raise the error of this project that an error of Flight stands for.

    Nothing proves who sent such an error, so it may say that the other side cannot be used, but not that this worker
    is not wanted any more; that is said in sealed answers only.
    """
    if isinstance(error, flight.FlightUnauthenticatedError):
        raise AuthenticationError("The other side does not take this peer for one of its search.") from error
    if isinstance(error, flight.FlightUnavailableError | flight.FlightTimedOutError | flight.FlightCancelledError):
        raise UnreachableError(f"The other side does not answer: {error}") from error
    raise ProtocolError(f"The other side could not use a message: {error}") from error
