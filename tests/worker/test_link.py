"""The wire over real sockets: what strangers, eavesdroppers and false drivers achieve (case 22)."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from cerebro_nas.errors import AuthenticationError
from cerebro_nas.errors import ProtocolError
from cerebro_nas.worker._peers import _SCHEMA
from cerebro_nas.worker._seal import HELLO
from cerebro_nas.worker._seal import REQUEST_OVERHEAD
from cerebro_nas.worker._seal import Caller
from cerebro_nas.worker._seal import Gate
from cerebro_nas.worker._seal import Kind
from cerebro_nas.worker._wire import PROOF_HEADER
from cerebro_nas.worker.link import DriverLink
from cerebro_nas.worker.link import Peers
from cerebro_nas.worker.link import Route
from cerebro_nas.worker.link import SealedServer
from cerebro_nas.worker.link import Secret
from cerebro_nas.worker.link import States
from cerebro_nas.worker.link import StateServer
from cerebro_nas.worker.link import SupersededError
from cerebro_nas.worker.link import UnreachableError
from cerebro_nas.worker.link import listening_address
from cerebro_nas.worker.link import location_of
from cerebro_nas.worker.link import own_address
from cerebro_nas.worker.messages import COMMAND_LIMIT
from cerebro_nas.worker.messages import Poll
from cerebro_nas.worker.messages import StateHeader
from cerebro_nas.worker.messages import StateTicket
from cerebro_nas.worker.messages import encode

KEY = "5ec4e7a1" * 8
SECRET = Secret(KEY)
OTHER = Secret("ab" * 32)
LIMIT = 4096
POLL = Poll("w0", 0, 0)


class Driver(SealedServer):
    """Answers each call as told, and keeps what it was asked."""

    def __init__(self, secret: Secret = SECRET) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.say: Callable[[], bytes] = lambda: b'{"commands":[]}'
        super().__init__("127.0.0.1", secret, Route.CONTROL, LIMIT)
        self.location = location_of("127.0.0.1", self.port)

    def answer(self, name: str, body: bytes) -> bytes:
        self.calls.append((name, body))
        return self.say()


class Wiretap(flight.FlightServerBase):  # type: ignore[misc]  # Arrow ships no types
    """Stands where the driver should be, without the secret: passes calls on, or answers them itself."""

    def __init__(self, behind: str | None = None) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.answers: list[bytes] = []
        self.lie: Callable[[str, bytes], list[bytes] | None] = lambda name, answer: None
        self._behind = flight.FlightClient(behind) if behind is not None else None
        self.header = b""
        super().__init__("grpc://127.0.0.1:0", middleware={"ear": _Ear(self)})
        self.location = location_of("127.0.0.1", self.port)

    def do_action(self, context: Any, action: Any) -> list[bytes]:
        frame = action.body.to_pybytes()
        self.heard.append((action.type, frame))
        if self._behind is not None:
            options = flight.FlightCallOptions(timeout=5, headers=[(PROOF_HEADER.encode(), self.header)])
            results = list(self._behind.do_action(flight.Action(action.type, frame), options))
            self.answers.append(results[0].body.to_pybytes())
        lie = self.lie(action.type, self.answers[-1] if self.answers else b"")
        return [self.answers[-1]] if lie is None else lie


class _Ear(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    def __init__(self, tap: Wiretap) -> None:
        super().__init__()
        self._tap = tap

    def start_call(self, info: Any, headers: dict[str, list[str]]) -> None:
        self._tap.header = headers[PROOF_HEADER][0].encode()


@contextlib.contextmanager
def _shut_down(*servers: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()


@pytest.fixture
def driver() -> Iterator[Driver]:
    driver = Driver()
    with _shut_down(driver):
        yield driver


@pytest.fixture
def link(driver: Driver) -> Iterator[DriverLink]:
    link = DriverLink(driver.location, SECRET)
    yield link
    link.close()


def _send(location: str, name: str, frame: bytes, proof: str | None, seconds: float = 5.0) -> list[bytes]:
    headers = [] if proof is None else [(PROOF_HEADER.encode(), proof.encode())]
    options = flight.FlightCallOptions(timeout=seconds, headers=headers)
    with flight.FlightClient(location) as client:
        return [result.body.to_pybytes() for result in client.do_action(flight.Action(name, frame), options)]


def _proof(secret: Secret = SECRET, method: str = "DO_ACTION", route: Route = Route.CONTROL) -> str:
    return Caller(secret, route).proof(method)


# --- strangers -------------------------------------------------------------------------------------------------------


@pytest.mark.case(22)
@pytest.mark.parametrize(
    "proof",
    [None, "", "00" * 48, KEY, f"Bearer {KEY}", _proof(OTHER), _proof(method="DO_GET"), _proof(route=Route.STATES)],
)
def test_a_call_without_proof_ends_before_it_is_looked_at(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, proof: str | None
) -> None:
    def looked(*_: Any) -> None:
        raise RuntimeError("a body was looked at")

    monkeypatch.setattr(SealedServer, "admit", looked)
    with caplog.at_level(logging.DEBUG), pytest.raises(flight.FlightUnauthenticatedError) as refusal:
        _send(driver.location, "poll", b"\x80\x04pickle", proof)
    assert "did not prove" in caplog.text
    assert KEY not in str(refusal.value) + caplog.text
    assert driver.calls == []


@pytest.mark.case(22)
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", flight.FlightServerError),
        (b"\x80\x04\x95garbage", flight.FlightServerError),
        (b"CNRQ\x01", flight.FlightServerError),
        (b"CNRQ\x01" + bytes(40) + b"\xff\xff\xff\xff" + bytes(40), flight.FlightServerError),
        (bytes(LIMIT + REQUEST_OVERHEAD + 1), flight.FlightServerError),
        (b"CNRQ\x01" + bytes(76), flight.FlightUnauthenticatedError),
    ],
)
def test_a_body_that_is_not_sealed_is_not_parsed(
    driver: Driver, link: DriverLink, caplog: pytest.LogCaptureFixture, body: bytes, error: type[Exception]
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(error):
        _send(driver.location, "poll", body, _proof())
    assert driver.calls == []
    assert "Refused a call" in caplog.text
    assert KEY not in caplog.text
    assert link.poll(POLL).commands == ()


@pytest.mark.case(22)
def test_a_link_with_another_secret_is_told_so(driver: Driver) -> None:
    with contextlib.closing(DriverLink(driver.location, OTHER)) as link:
        with pytest.raises(AuthenticationError, match="does not take this peer") as refusal:
            link.poll(POLL)
    assert "abab" not in str(refusal.value)
    assert driver.calls == []


@pytest.mark.case(22)
def test_connections_that_say_nothing_hold_nobody_up(driver: Driver, link: DriverLink) -> None:
    address = ("127.0.0.1", driver.port)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for number in range(50):
            slow = stack.enter_context(socket.create_connection(address, 5))
            slow.sendall((b"", preface[:7], preface, b"\x00" * 9)[number % 4])
        begun = time.monotonic()
        for _ in range(20):
            assert link.poll(POLL).commands == ()
        with contextlib.closing(DriverLink(driver.location, SECRET)) as late:
            assert late.poll(POLL).commands == ()
        assert time.monotonic() - begun < 5


@pytest.mark.case(22)
def test_bytes_that_are_no_http_harm_nobody(driver: Driver, link: DriverLink) -> None:
    for data in (
        b"\x80\x04\x95" * 9,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 4096,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff" * 9,
    ):
        with socket.create_connection(("127.0.0.1", driver.port), 5) as raw:
            raw.sendall(data)
            raw.settimeout(2)
            with contextlib.suppress(OSError):
                raw.recv(4096)
    assert link.poll(POLL).commands == ()


def test_a_proxy_of_the_environment_is_not_asked(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with contextlib.closing(DriverLink(driver.location, SECRET)) as link:
        assert link.poll(POLL).commands == ()


# --- eavesdroppers ---------------------------------------------------------------------------------------------------


@pytest.mark.case(22)
def test_the_secret_does_not_travel(driver: Driver) -> None:
    tap = Wiretap(driver.location)
    with _shut_down(tap), contextlib.closing(DriverLink(tap.location, SECRET)) as link:
        link.poll(POLL)
        heard = b"".join(frame for _, frame in tap.heard) + b"".join(tap.answers) + tap.header
    assert [name for name, _ in tap.heard] == [HELLO, "poll"]
    assert bytes.fromhex(KEY) not in heard
    assert KEY.encode() not in heard


@pytest.mark.case(22)
def test_a_captured_call_cannot_be_made_again(driver: Driver, link: DriverLink) -> None:
    tap = Wiretap(driver.location)
    with _shut_down(tap), contextlib.closing(DriverLink(tap.location, SECRET)) as victim:
        victim.poll(POLL)
        header, (_, (name, frame)) = tap.header.decode(), tap.heard
    assert len(driver.calls) == 1
    for _ in range(3):
        with pytest.raises(flight.FlightUnauthenticatedError, match="second time"):
            _send(driver.location, name, frame, header)
    for other in ("report", "died"):
        with pytest.raises(flight.FlightUnauthenticatedError):
            _send(driver.location, other, frame, header)
    assert len(driver.calls) == 1
    assert link.poll(POLL).commands == ()


@pytest.mark.case(22)
def test_a_captured_answer_cannot_be_given_again(driver: Driver) -> None:
    tap = Wiretap(driver.location)
    with _shut_down(tap), contextlib.closing(DriverLink(tap.location, SECRET)) as link:
        link.poll(POLL)
        old = tap.answers[-1]
        tap.lie = lambda name, answer: [old]
        with pytest.raises(AuthenticationError, match="repeated an answer"):
            link.poll(POLL)
        tap.lie = lambda name, answer: None
        assert link.poll(POLL).commands == ()


def test_threads_of_one_link_may_overtake_each_other(driver: Driver, link: DriverLink) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: link.poll(POLL), range(200)))
    assert len(answers) == len(driver.calls) == 200


# --- false drivers ---------------------------------------------------------------------------------------------------


LIES: list[Callable[[str, bytes], list[bytes]]] = [
    lambda name, answer: [],
    lambda name, answer: [b""],
    lambda name, answer: [b"{}"],
    lambda name, answer: [b'{"commands":[]}'],
    lambda name, answer: [b"\x80\x04\x95pickle"],
    lambda name, answer: [b"CNAN\x01\x00" + bytes(16) + b"\xff\xff\xff\xff" + bytes(40)],
    lambda name, answer: [b"CNAN\x01\x00" + bytes(52)],
]


@pytest.mark.case(22)
@pytest.mark.parametrize("lie", LIES)
def test_a_false_driver_is_not_obeyed(lie: Callable[[str, bytes], list[bytes]]) -> None:
    tap = Wiretap()
    tap.lie = lie
    with _shut_down(tap), contextlib.closing(DriverLink(tap.location, SECRET)) as link:
        with pytest.raises((AuthenticationError, ProtocolError)) as refusal:
            link.poll(POLL)
    assert [name for name, _ in tap.heard] == [HELLO]  # no message of the search was sent to it
    assert KEY not in str(refusal.value)


@pytest.mark.case(22)
@pytest.mark.parametrize("lie", [*LIES, lambda name, answer: [answer, answer], lambda name, answer: [answer[:-1]]])
def test_one_who_sits_between_cannot_change_an_answer(driver: Driver, lie: Callable[[str, bytes], list[bytes]]) -> None:
    tap = Wiretap(driver.location)
    tap.lie = lambda name, answer: None if name == HELLO else lie(name, answer)
    with _shut_down(tap), contextlib.closing(DriverLink(tap.location, SECRET)) as link:
        with pytest.raises((AuthenticationError, ProtocolError)):
            link.poll(POLL)


@pytest.mark.case(22)
def test_a_false_driver_cannot_dismiss_a_worker(driver: Driver) -> None:
    def refuse(name: str, answer: bytes) -> list[bytes]:
        raise flight.FlightUnauthorizedError("The search is over.")

    tap = Wiretap(driver.location)
    tap.lie = refuse
    with _shut_down(tap), contextlib.closing(DriverLink(tap.location, SECRET)) as link:
        with pytest.raises(ProtocolError):
            link.poll(POLL)


def test_the_driver_itself_can(driver: Driver, link: DriverLink) -> None:
    def over() -> bytes:
        raise SupersededError("The search is over.")

    driver.say = over
    with pytest.raises(SupersededError, match=r"The search is over\."):
        link.poll(POLL)


def test_an_answer_that_is_too_large_is_refused(driver: Driver, link: DriverLink) -> None:
    driver.say = lambda: bytes(COMMAND_LIMIT + 5000)
    with pytest.raises((ProtocolError, UnreachableError)):
        link.poll(POLL)
    driver.say = lambda: b'{"commands":[]}'
    assert link.poll(POLL).commands == ()


# --- states ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def states() -> Iterator[StateServer]:
    held = States()
    held.put("t", 3, b"state" * 1000)
    server = StateServer("127.0.0.1", SECRET, held)
    with _shut_down(server):
        yield server


def _get(location: str, ticket: bytes, proof: str | None) -> Any:
    headers = [] if proof is None else [(PROOF_HEADER.encode(), proof.encode())]
    with flight.FlightClient(location) as client:
        reader = client.do_get(flight.Ticket(ticket), flight.FlightCallOptions(timeout=5, headers=headers))
        return reader.read_all()


@pytest.mark.case(22)
def test_states_are_for_peers_that_know_the_secret(states: StateServer) -> None:
    ticket = encode(StateTicket("t", 3))
    proof = _proof(method="DO_GET", route=Route.STATES)
    for wrong in (None, _proof(OTHER, "DO_GET", Route.STATES), _proof(method="DO_GET")):
        with pytest.raises(flight.FlightUnauthenticatedError):
            _get(states.location, ticket, wrong)
    for unsealed in (ticket, b"", b"\x80\x04pickle" * 20, bytes(9000)):
        with pytest.raises(flight.FlightServerError):
            _get(states.location, unsealed, proof)
    with contextlib.closing(Peers(OTHER)) as stranger, pytest.raises(UnreachableError, match="take this peer|Proof"):
        stranger.fetch(states.location, "t", 3)
    with contextlib.closing(Peers(SECRET)) as peers:
        assert peers.fetch(states.location, "t", 3) == b"state" * 1000


@pytest.mark.case(22)
def test_a_ticket_works_once_and_at_one_worker(states: StateServer) -> None:
    caller, held = Caller(SECRET, Route.STATES), States()
    held.put("t", 3, b"other")
    other = StateServer("127.0.0.1", SECRET, held)
    proof = caller.proof("DO_GET")
    tickets: list[bytes] = []

    def send(name: str, frame: bytes) -> bytes:
        tickets.append(frame)
        assert _get(states.location, frame, proof)["state"].to_pylist() == [b"state" * 1000]
        return b""

    def greet(frame: bytes) -> bytes:
        return _send(states.location, HELLO, frame, caller.proof("DO_ACTION"))[0]

    with _shut_down(other):
        with pytest.raises(ProtocolError):
            caller.call("state", encode(StateTicket("t", 3)), LIMIT, send, greet)
        with pytest.raises(flight.FlightUnauthenticatedError, match="second time"):
            _get(states.location, tickets[0], proof)
        assert b"".join(_get(other.location, tickets[0], proof)["state"].to_pylist()) == b""


class FalsePeer(flight.FlightServerBase):  # type: ignore[misc]
    """Serves states; knows the secret if `honest`, and lies about the rest as told."""

    def __init__(self, batches: list[Any], header: StateHeader | bytes | None, honest: bool = True) -> None:
        self._gate = Gate(SECRET if honest else OTHER, Route.STATES, LIMIT)
        self._batches = batches
        self._header = header
        super().__init__("grpc://127.0.0.1:0")
        self.location = location_of("127.0.0.1", self.port)

    def do_action(self, context: Any, action: Any) -> list[bytes]:
        request = self._gate.open(action.type, action.body.to_pybytes())
        return [self._gate.seal(request, Kind.DONE, self._gate.greet())]

    def do_get(self, context: Any, ticket: Any) -> Any:
        header = self._header
        if isinstance(header, StateHeader):
            header = self._gate.seal(self._gate.open("state", ticket.ticket), Kind.DONE, encode(header))
        first = [] if header is None else [(self._batches[0].slice(0, 0), pa.py_buffer(header))]
        return flight.GeneratorStream(self._batches[0].schema, iter([*first, *self._batches]))


def _batch(*values: bytes | None) -> Any:
    return pa.record_batch([pa.array(values, pa.large_binary())], schema=_SCHEMA)


GOOD = StateHeader("t", 3, 5)


@pytest.mark.case(22)
@pytest.mark.parametrize(
    ("batches", "header"),
    [
        ([_batch(b"state")], None),
        ([_batch(b"state")], b""),
        ([_batch(b"state")], b"\x80\x04\x95pickle" * 20),
        ([_batch(b"state")], b"CNAN\x01\x00" + bytes(52)),
        ([_batch(b"state")], StateHeader("t", 2, 5)),
        ([_batch(b"state")], StateHeader("u", 3, 5)),
        ([_batch(b"stat")], GOOD),
        ([_batch(b"state"), _batch(b"more")], GOOD),
        ([_batch(None)], GOOD),
        ([_batch()], GOOD),
        ([_batch(b"st", b"ate")], GOOD),
        ([pa.record_batch([pa.array([1])], ["a"])], GOOD),
    ],
)
def test_a_peer_that_lies_is_no_source(batches: list[Any], header: Any) -> None:
    peer = FalsePeer(batches, header)
    with _shut_down(peer), contextlib.closing(Peers(SECRET)) as peers:
        with pytest.raises(UnreachableError):
            peers.fetch(peer.location, "t", 3)


@pytest.mark.case(22)
def test_a_peer_without_the_secret_is_no_source_and_an_honest_one_is() -> None:
    for honest in (False, True):
        peer = FalsePeer([_batch(b"sta"), _batch(b"te")], GOOD, honest)
        with _shut_down(peer), contextlib.closing(Peers(SECRET)) as peers:
            if honest:
                assert peers.fetch(peer.location, "t", 3) == b"state"
            else:
                with pytest.raises(UnreachableError):
                    peers.fetch(peer.location, "t", 3)


@pytest.mark.case(22)
def test_a_stream_without_end_is_cut_off() -> None:
    class Endless(FalsePeer):
        def do_get(self, context: Any, ticket: Any) -> Any:
            header = self._gate.seal(self._gate.open("state", ticket.ticket), Kind.DONE, encode(GOOD))

            def batches() -> Iterator[Any]:
                yield _batch(), pa.py_buffer(header)
                while not ended.is_set():
                    yield _batch(bytes(1000))

            return flight.GeneratorStream(_SCHEMA, batches())

    ended = threading.Event()
    peer = Endless([_batch(b"")], None)
    with _shut_down(peer), contextlib.closing(Peers(SECRET)) as peers:
        with pytest.raises(UnreachableError, match="announced 5 bytes"):
            peers.fetch(peer.location, "t", 3)
        ended.set()


def test_a_worker_that_came_back_at_the_same_address_is_greeted_again() -> None:
    """Its predecessor's sessions are not known to it; the link finds out and greets it."""
    held = States()
    held.put("t", 3, b"state")
    server = StateServer("127.0.0.1", SECRET, held)
    with _shut_down(server), contextlib.closing(Peers(SECRET)) as peers:
        assert peers.fetch(server.location, "t", 3) == b"state"
        server._gate = Gate(SECRET, Route.STATES, LIMIT)
        assert peers.fetch(server.location, "t", 3) == b"state"


# --- addresses, and what cannot be reached ---------------------------------------------------------------------------


def test_addresses() -> None:
    assert location_of("::1", 5) == "grpc://[::1]:5"
    assert own_address("grpc://127.0.0.1:5") == own_address("grpc+tls://127.0.0.1:5") == "127.0.0.1"
    assert listening_address("127.0.0.1", "0.0.0.0") == "127.0.0.1"
    # an address for documentation, which no machine has
    assert listening_address("192.0.2.1", "127.0.0.1") == "127.0.0.1"


@pytest.mark.case(22)
def test_no_unpickler_is_loaded_by_the_wire() -> None:
    """Beside the wire's own imports: what Arrow or the standard library load for themselves is not called by it."""
    for name in ("_seal", "_wire", "_peers", "link", "messages"):
        module = sys.modules[f"cerebro_nas.worker.{name}"]
        found = {getattr(value, "__name__", "") for value in vars(module).values()}
        assert not found & {"pickle", "_pickle", "cloudpickle", "marshal", "shelve", "dill", "loads"}
