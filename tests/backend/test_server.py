"""The driver's server: who may call, what it accepts, and that saying a thing twice does no harm (cases 21, 22, 23)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import flight

from cerebro_nas.backend._server import ControlServer
from cerebro_nas.backend._table import WorkerTable
from cerebro_nas.errors import BackendError
from cerebro_nas.errors import ProtocolError
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitReport
from cerebro_nas.hopper import WorkerJoined
from cerebro_nas.hopper import WorkerLost
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker._seal import HELLO
from cerebro_nas.worker._seal import Caller
from cerebro_nas.worker._seal import Kind
from cerebro_nas.worker._seal import Route
from cerebro_nas.worker._wire import PROOF_HEADER
from cerebro_nas.worker._wire import first_result
from cerebro_nas.worker.link import DriverLink
from cerebro_nas.worker.link import Peers
from cerebro_nas.worker.link import Secret
from cerebro_nas.worker.link import States
from cerebro_nas.worker.link import StateServer
from cerebro_nas.worker.link import SupersededError
from cerebro_nas.worker.link import UnreachableError
from cerebro_nas.worker.messages import REPORT_LIMIT
from cerebro_nas.worker.messages import Done
from cerebro_nas.worker.messages import DropMessage
from cerebro_nas.worker.messages import Poll
from cerebro_nas.worker.messages import Register
from cerebro_nas.worker.messages import Report
from cerebro_nas.worker.messages import RunMessage
from cerebro_nas.worker.messages import decode
from cerebro_nas.worker.messages import encode

KEY = "5ec4e7a1" * 8
UNIT = Unit("t0", "train", 0, Shard("train", 1))
DONE = Done(UNIT, UnitReport(10, {"loss": 1.0}, 0.5, 0.4, {"bytes_hopped": 7.0}))
JOIN = Register("w0", 0, 1234, "here", "grpc://127.0.0.1:1")


@pytest.fixture
def table() -> WorkerTable:
    return WorkerTable(["w0", "w1"], max_restarts=2)


@pytest.fixture
def server(table: WorkerTable) -> Iterator[ControlServer]:
    server = ControlServer("127.0.0.1", Secret(KEY), table)
    server.announce("the search")
    yield server
    table.close()
    server.shutdown()


def _link(server: ControlServer, key: str = KEY) -> DriverLink:
    return DriverLink(f"grpc://127.0.0.1:{server.port}", Secret(key))


def _answer(server: ControlServer, action: str, body: bytes) -> tuple[Kind, bytes]:
    """What a peer that knows the secret is told, whatever it sends."""
    caller = Caller(Secret(KEY), Route.CONTROL)
    client = flight.FlightClient(("127.0.0.1", server.port))
    header = PROOF_HEADER.encode(), caller.proof("DO_ACTION").encode()
    options = flight.FlightCallOptions(timeout=5, headers=[header])

    def send(name: str, frame: bytes) -> bytes:
        return first_result(client, name, frame, options)

    return caller.call(action, body, 1 << 20, send, lambda frame: send(HELLO, frame))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80\x04\x95garbage",
        b"[" * 100_000,
        b"{}",
        b"[]",
        b'{"worker":1,"attempt":0,"pid":0,"host":"","location":""}',
        b'{"worker":"w0","attempt":0,"pid":0,"host":"","location":"","more":1}',
        b'{"worker":"w9","attempt":0,"pid":0,"host":"","location":""}',
        b" " * (REPORT_LIMIT + 1),
    ],
)
def test_unusable_messages_are_refused_and_the_server_lives(
    server: ControlServer, table: WorkerTable, body: bytes
) -> None:
    if len(body) > REPORT_LIMIT:
        with pytest.raises(flight.FlightServerError, match="may have 1048576 bytes"):
            _answer(server, "register", body)
    else:
        assert _answer(server, "register", body)[0] == Kind.REFUSED
    assert table.take(0.0) == []
    assert _link(server).register(JOIN).search == "the search"


def test_an_unknown_call_is_refused(server: ControlServer) -> None:
    assert _answer(server, "shutdown", b"{}") == (Kind.REFUSED, b"No such call. Received: 'shutdown'.")


def test_a_secret_does_not_show_itself() -> None:
    assert KEY not in repr(Secret(KEY))
    assert KEY not in f"{Secret(KEY)}"


def test_a_repeated_registration_is_one_event(server: ControlServer, table: WorkerTable) -> None:
    link = _link(server)
    link.register(JOIN)
    link.register(JOIN)
    assert table.take(1.0) == [WorkerJoined("w0", 0)]


def test_a_repeated_report_is_one_event(server: ControlServer, table: WorkerTable) -> None:
    link = _link(server)
    link.register(JOIN)
    table.take(1.0)
    link.report(Report("w0", 0, 1, DONE))
    link.report(Report("w0", 0, 1, DONE))
    assert table.take(1.0) == [UnitDone("w0", UNIT, DONE.report)]
    assert table.take(0.0) == []
    assert table.usage().bytes_hopped == 7


def test_a_gap_in_the_reports_is_an_error(server: ControlServer) -> None:
    link = _link(server)
    link.register(JOIN)
    with pytest.raises(ProtocolError, match="Report 1 comes next"):
        link.report(Report("w0", 0, 2, DONE))


def test_a_later_attempt_takes_the_place_of_an_earlier_one(server: ControlServer, table: WorkerTable) -> None:
    link = _link(server)
    link.register(JOIN)
    link.register(Register("w0", 5, 99, "there", "grpc://127.0.0.1:2"))
    joined, lost, again = table.take(1.0)
    assert (joined, again) == (WorkerJoined("w0", 0), WorkerJoined("w0", 1))
    assert isinstance(lost, WorkerLost)
    for late in (lambda: link.report(Report("w0", 0, 1, DONE)), lambda: link.register(JOIN)):
        with pytest.raises(SupersededError):
            late()
    assert table.take(0.0) == []


def test_commands_are_delivered_until_they_are_acknowledged(server: ControlServer, table: WorkerTable) -> None:
    link = _link(server)
    link.register(JOIN)
    table.take(1.0)
    for trial in ("a", "b"):
        table.submit("w0", DropMessage(trial))
    first = link.poll(Poll("w0", 0, 0))
    assert first == link.poll(Poll("w0", 0, 0))
    assert [c.number for c in first.commands] == [1, 2]
    assert [c.command for c in link.poll(Poll("w0", 0, 1)).commands] == [DropMessage("b")]


def test_a_poll_waits_for_a_command(server: ControlServer, table: WorkerTable) -> None:
    link = _link(server)
    link.register(JOIN)
    table.take(1.0)
    timer = threading.Timer(0.05, table.submit, ("w0", DropMessage("x")))
    timer.start()
    begun = time.monotonic()
    assert [c.command for c in link.poll(Poll("w0", 0, 0)).commands] == [DropMessage("x")]
    assert time.monotonic() - begun < 2
    timer.join()


def test_a_replacement_does_not_get_its_predecessors_commands(table: WorkerTable) -> None:
    table.register(JOIN)
    table.take(0.0)
    table.register(Register("w0", 1, 99, "there", ""))
    table.submit("w0", DropMessage("for attempt 0"))
    assert table.poll(Poll("w0", 1, 0), 0.0).commands == ()
    table.take(0.0)
    table.submit("w0", DropMessage("for attempt 1"))
    assert len(table.poll(Poll("w0", 1, 0), 0.0).commands) == 1


def test_commands_to_a_worker_that_never_joined_are_an_error(table: WorkerTable) -> None:
    with pytest.raises(BackendError, match="worker='w1'"):
        table.submit("w1", DropMessage("t"))


def test_silence_is_loss() -> None:
    now = [100.0]
    table = WorkerTable(["w0"], 1, clock=lambda: now[0])
    table.register(JOIN)
    now[0] = 114.0
    assert table.silent(15.0) == []
    now[0] = 116.0
    assert table.silent(15.0) == ["w0"]
    assert table.silent(15.0) == []
    assert [type(event) for event in table.take(0.0)] == [WorkerJoined, WorkerLost]
    with pytest.raises(SupersededError):
        table.poll(Poll("w0", 0, 0), 0.0)


def test_a_worker_that_keeps_dying_is_given_up(table: WorkerTable) -> None:
    assert [table.died("w0", attempt, "boom") for attempt in range(3)] == [True, True, False]
    assert table.take(0.0) == []
    assert [table.died("w1", attempt, "bang") for attempt in range(3)] == [True, True, False]
    with pytest.raises(BackendError, match="boom"):
        table.take(0.0)


def test_a_finished_unit_clears_the_count_of_deaths(table: WorkerTable) -> None:
    assert table.died("w0", 0, "boom")
    assert table.died("w0", 1, "boom")
    table.register(Register("w0", 2, 1, "", ""))
    table.report(Report("w0", 2, 1, DONE))
    assert table.died("w0", 2, "boom")


def test_states_travel_between_workers() -> None:
    states, secret = States(), Secret(KEY)
    payload = bytes(range(256)) * 150_000
    states.put("t0", 3, payload)
    states.put("empty", 1, b"")
    server = StateServer("127.0.0.1", secret, states)
    peers = Peers(secret)
    try:
        assert peers.fetch(server.location, "t0", 3) == payload
        assert peers.fetch(server.location, "empty", 1) == b""
        for trial, generation in (("t0", 2), ("t1", 3)):
            with pytest.raises(UnreachableError):
                peers.fetch(server.location, trial, generation)
        with pytest.raises(UnreachableError):
            Peers(Secret("00" * 32)).fetch(server.location, "t0", 3)
    finally:
        peers.close()
        server.shutdown()
    with pytest.raises(UnreachableError):
        peers.fetch(server.location, "t0", 3)


_text = st.text(max_size=8)
_unit = st.builds(
    Unit,
    _text,
    st.sampled_from(["train", "evaluate", "call"]),
    st.integers(0, 9),
    st.none() | st.builds(Shard, st.sampled_from(["train", "valid"]), st.integers(0, 9)),
    st.integers(0, 9),
)
_spec = st.builds(
    CandidateSpec,
    _text,
    _text,
    st.dictionaries(_text, st.integers() | _text),
    st.lists(_text, max_size=2).map(tuple),
    st.lists(st.lists(_text, max_size=2).map(tuple), max_size=2).map(tuple),
    st.dictionaries(_text, st.dictionaries(_text, st.lists(st.floats(allow_nan=False)))),
)


@given(st.builds(RunMessage, _unit, st.builds(StateRef, st.integers(0, 9)), _spec, st.none() | _text))
def test_messages_survive_the_wire(message: RunMessage) -> None:
    assert decode(RunMessage, encode(message), 1 << 20) == message


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | _text, lambda x: st.lists(x) | st.dictionaries(_text, x))
)
def test_whatever_json_arrives_it_is_a_message_or_a_protocol_error(raw: Any) -> None:
    with pytest.raises(ProtocolError):
        decode(RunMessage, json.dumps(raw).encode(), 1 << 20)
