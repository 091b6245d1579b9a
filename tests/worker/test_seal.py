"""Sealed frames, without a network: who is believed, what is taken twice, what any bytes can do (case 22)."""

from __future__ import annotations

import pickle
import struct

import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st

from cerebro_nas.errors import AuthenticationError
from cerebro_nas.errors import ProtocolError
from cerebro_nas.worker._seal import ANSWER_OVERHEAD
from cerebro_nas.worker._seal import HELLO
from cerebro_nas.worker._seal import REQUEST_OVERHEAD
from cerebro_nas.worker._seal import Caller
from cerebro_nas.worker._seal import Gate
from cerebro_nas.worker._seal import Kind
from cerebro_nas.worker._seal import Route
from cerebro_nas.worker._seal import Secret
from cerebro_nas.worker._seal import Sessions
from cerebro_nas.worker._seal import Window
from cerebro_nas.worker._seal import hkdf

KEY = "5ec4e7a1" * 8
SECRET = Secret(KEY)
LIMIT = 1000


class Pair:
    """A caller and a gate, with a wire between them that remembers what passed."""

    def __init__(self, key: str = KEY, sessions: int = 8) -> None:
        self.gate = Gate(SECRET, Route.CONTROL, LIMIT, sessions)
        self.caller = Caller(Secret(key), Route.CONTROL)
        self.sent: list[tuple[str, bytes]] = []
        self.answers: list[bytes] = []

    def serve(self, name: str, frame: bytes) -> bytes:
        self.sent.append((name, frame))
        request = self.gate.open(name, frame)
        if not request.known:
            answer = self.gate.seal(request, Kind.GREET, b"")
        elif name == HELLO:
            answer = self.gate.seal(request, Kind.DONE, self.gate.greet())
        else:
            answer = self.gate.seal(request, Kind.DONE, b"re: " + request.body)
        self.answers.append(answer)
        return answer

    def call(self, name: str = "report", body: bytes = b"{}") -> bytes:
        kind, answer = self.caller.call(name, body, LIMIT, self.serve, lambda frame: self.serve(HELLO, frame))
        assert kind == Kind.DONE
        return answer


# RFC 5869, appendix A, tests 1 to 3
@pytest.mark.parametrize(
    ("secret", "salt", "info", "length", "found"),
    [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            42,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)).hex(),
            bytes(range(0x60, 0xB0)).hex(),
            bytes(range(0xB0, 0x100)).hex(),
            82,
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            "0b" * 22,
            "",
            "",
            42,
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_keys_are_derived_as_the_standard_says(secret: str, salt: str, info: str, length: int, found: str) -> None:
    assert hkdf(bytes.fromhex(secret), bytes.fromhex(salt), bytes.fromhex(info), length).hex() == found


@pytest.mark.parametrize("text", ["", "00", KEY[:-2], KEY + "00", "zz" * 32, KEY[:-1] + "g"])
def test_a_secret_has_32_bytes(text: str) -> None:
    with pytest.raises(ProtocolError, match="32 bytes") as refusal:
        Secret(text)
    assert not text or text not in str(refusal.value)


@pytest.mark.case(23)
def test_neither_secret_nor_frames_show_themselves() -> None:
    pair = Pair()
    pair.call(body=b"inside")
    name, frame = pair.sent[-1]
    shown = [repr(SECRET), f"{SECRET}", repr(pair.gate), repr(pair.caller), repr(Gate(SECRET, Route.CONTROL, LIMIT))]
    shown.append(repr(Pair().gate.open(HELLO, pair.sent[0][1])))
    assert not any(KEY in text or "inside" in text for text in shown)
    assert bytes.fromhex(KEY) not in frame
    assert name == "report"


@given(st.lists(st.binary(max_size=LIMIT), max_size=5))
def test_what_is_sent_arrives_and_so_does_the_answer(bodies: list[bytes]) -> None:
    pair = Pair()
    for body in bodies:
        assert pair.call(body=body[: LIMIT - 4]) == b"re: " + body[: LIMIT - 4]
    assert len(pair.sent) == len(bodies) + bool(bodies)  # one greeting, whatever follows


# --- what the server refuses -----------------------------------------------------------------------------------------


@pytest.mark.case(22)
def test_a_wrong_key_is_refused() -> None:
    with pytest.raises(AuthenticationError, match="does not know the secret"):
        Pair(key="ab" * 32).call()


@pytest.mark.case(22)
@given(st.data())
def test_a_changed_frame_is_refused(data: st.DataObject) -> None:
    pair = Pair()
    pair.call(body=b'{"worker":"w0"}')
    name, frame = pair.sent[-1]
    at = data.draw(st.integers(0, len(frame) - 1))
    changed = frame[:at] + bytes([frame[at] ^ data.draw(st.integers(1, 255))]) + frame[at + 1 :]
    with pytest.raises((AuthenticationError, ProtocolError)):
        pair.gate.open(name, changed)


@pytest.mark.case(22)
@given(st.integers(0, REQUEST_OVERHEAD + 14))
def test_a_truncated_frame_is_refused(length: int) -> None:
    pair = Pair()
    pair.call(body=b'{"worker":"w0"}')
    name, frame = pair.sent[-1]
    with pytest.raises(ProtocolError):
        pair.gate.open(name, frame[:length])


@pytest.mark.case(22)
@pytest.mark.parametrize("length", [3, LIMIT + 1, 1 << 31, (1 << 32) - 1])
def test_a_length_that_is_not_there_is_refused(length: int) -> None:
    pair = Pair()
    pair.call()
    name, frame = pair.sent[-1]
    with pytest.raises(ProtocolError, match=f"Received: 2 of {length} bytes"):
        pair.gate.open(name, frame[:45] + struct.pack(">I", length) + frame[49:])


@pytest.mark.case(22)
def test_a_body_over_the_limit_is_refused_whoever_sends_it() -> None:
    with pytest.raises(ProtocolError, match="may have 1000 bytes"):
        Pair().call(body=bytes(LIMIT + 1))


@pytest.mark.case(22)
def test_a_replayed_frame_is_refused() -> None:
    pair = Pair()
    for body in (b"1", b"2", b"3"):
        pair.call(body=body)
    for name, frame in pair.sent[1:]:
        with pytest.raises(AuthenticationError, match="second time"):
            pair.gate.open(name, frame)
    assert pair.call(body=b"4") == b"re: 4"


@pytest.mark.case(22)
def test_a_replayed_greeting_gives_nothing_away_and_takes_no_memory() -> None:
    pair = Pair()
    pair.call()
    for _ in range(100):
        pair.serve(*pair.sent[0])
    assert len(pair.gate._sessions) == 1
    # Its answer is made for the first greeting: another caller does not take it.
    other = Caller(SECRET, Route.CONTROL)
    with pytest.raises(AuthenticationError):
        other.call("report", b"", LIMIT, pair.serve, lambda frame: pair.answers[-1])


@pytest.mark.case(22)
def test_a_frame_serves_one_call_one_route_and_one_direction() -> None:
    pair = Pair()
    pair.call()
    name, frame = pair.sent[-1]
    with pytest.raises(AuthenticationError):
        Pair().gate.open("died", frame)
    with pytest.raises(AuthenticationError):
        Gate(SECRET, Route.STATES, LIMIT).open(name, frame)
    # an answer that is sent as a request, with its own head and with a request's
    answer = pair.answers[-1]
    for wrong in (answer, frame[:49] + answer[26:58] + answer[58:]):
        with pytest.raises((AuthenticationError, ProtocolError)):
            pair.gate.open(name, wrong)


@pytest.mark.case(22)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_no_frame(protocol: int) -> None:
    data = pickle.dumps({"canary": list(range(100))}, protocol)
    with pytest.raises(ProtocolError):
        Pair().gate.open("register", data.ljust(REQUEST_OVERHEAD, b"\0"))


@pytest.mark.case(22)
@given(st.text(max_size=80), st.binary(max_size=LIMIT + 200))
@example("register", b"CNRQ\x01" + bytes(40) + b"\0\0\0\0" + bytes(32))
@example("\ud800", b"CNRQ\x01" + bytes(76))
def test_whatever_bytes_arrive_they_are_refused(name: str, data: bytes) -> None:
    gate = Gate(SECRET, Route.CONTROL, LIMIT)
    with pytest.raises((AuthenticationError, ProtocolError)) as refusal:
        gate.open(name, data)
    assert KEY not in str(refusal.value)
    assert not gate.is_member("DO_ACTION", name)
    assert not gate.is_member("DO_ACTION", data.hex())
    assert len(gate._sessions) == 0


@pytest.mark.case(22)
def test_the_header_proves_membership_for_one_method_and_one_route() -> None:
    caller, gate = Caller(SECRET, Route.CONTROL), Gate(SECRET, Route.CONTROL, LIMIT)
    proof = caller.proof("DO_ACTION")
    assert gate.is_member("DO_ACTION", proof)
    assert not gate.is_member("DO_GET", proof)
    assert not Gate(SECRET, Route.STATES, LIMIT).is_member("DO_ACTION", proof)
    assert not Gate(Secret("00" * 32), Route.CONTROL, LIMIT).is_member("DO_ACTION", proof)
    for wrong in ("", proof[:-2], proof + "00", "z" * len(proof), proof.replace(proof[5], "!", 1)):
        assert not gate.is_member("DO_ACTION", wrong)


# --- what the caller refuses -----------------------------------------------------------------------------------------


@pytest.mark.case(22)
def test_a_server_without_the_secret_is_refused() -> None:
    pair, stranger = Pair(), Pair()
    pair.call()
    stranger.caller = Caller(Secret("ab" * 32), Route.CONTROL)
    stranger.gate = Gate(Secret("ab" * 32), Route.CONTROL, LIMIT)
    stranger.call()
    head = b"CNAN\x01\x00"
    lies = [
        b"",
        b"\x80\x04\x95pickle",
        pair.answers[-1],
        stranger.answers[-1],
        head + pair.sent[-1][1][29:45] + bytes(36),
        pair.sent[-1][1],
    ]
    for lie in lies:
        with pytest.raises((AuthenticationError, ProtocolError)) as refusal:
            pair.caller.call("poll", b"", LIMIT, lambda name, frame, lie=lie: lie, lambda frame: b"")  # type: ignore[misc]
        assert KEY not in str(refusal.value)


@pytest.mark.case(22)
def test_an_answer_fits_its_own_request_only() -> None:
    pair = Pair()
    pair.call("poll", b"{}")
    old = pair.answers[-1]
    with pytest.raises(AuthenticationError, match="repeated an answer"):
        pair.caller.call("poll", b"{}", LIMIT, lambda name, frame: old, lambda frame: b"")


@pytest.mark.case(22)
@pytest.mark.parametrize("kind", [Kind.GREET, Kind.SUPERSEDED, Kind.REFUSED, 9])
def test_an_answer_does_not_become_one_of_another_kind(kind: int) -> None:
    pair = Pair()

    def relabelled(name: str, frame: bytes) -> bytes:
        answer = pair.serve(name, frame)
        return answer[:5] + bytes([kind]) + answer[6:]

    pair.call()
    with pytest.raises(AuthenticationError):
        pair.caller.call("poll", b"{}", LIMIT, relabelled, lambda frame: b"")


@pytest.mark.case(22)
def test_an_old_answer_does_not_fit_with_the_nonce_of_a_new_request() -> None:
    pair = Pair()
    pair.call()
    old = pair.answers[-1]
    with pytest.raises(AuthenticationError):
        pair.caller.call(
            "report", b"{}", LIMIT, lambda name, frame: old[:6] + frame[29:45] + old[22:], lambda frame: b""
        )


@pytest.mark.case(22)
@given(st.data())
def test_a_changed_answer_is_refused(data: st.DataObject) -> None:
    pair = Pair()
    pair.call()

    def spoiled(name: str, frame: bytes) -> bytes:
        answer = pair.serve(name, frame)
        at = data.draw(st.integers(0, len(answer) - 1))
        return answer[:at] + bytes([answer[at] ^ data.draw(st.integers(1, 255))]) + answer[at + 1 :]

    with pytest.raises((AuthenticationError, ProtocolError)):
        pair.caller.call("poll", b"{}", LIMIT, spoiled, lambda frame: b"")


@pytest.mark.case(22)
@given(st.binary(max_size=LIMIT + ANSWER_OVERHEAD + 9))
def test_whatever_is_answered_it_is_refused(data: bytes) -> None:
    pair = Pair()
    for greeting in (lambda frame: data, lambda frame: pair.serve(HELLO, frame)):
        with pytest.raises((AuthenticationError, ProtocolError)):
            pair.caller.call("poll", b"{}", LIMIT, lambda name, frame: data, greeting)


# --- sessions --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3 * Window.WIDTH), max_size=60))
def test_a_window_takes_each_number_once(numbers: list[int]) -> None:
    window, taken = Window(), {0}
    for number in numbers:
        fresh = number not in taken and number > max(taken) - Window.WIDTH
        assert window.admit(number) == fresh
        if fresh:
            taken.add(number)
    assert window._seen < 1 << Window.WIDTH


@pytest.mark.case(22)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(1, 5)), max_size=120), st.integers(1, 4))
def test_forgetting_sessions_never_lets_a_frame_in_twice(calls: list[tuple[int, int]], most: int) -> None:
    sessions = Sessions(most)
    known = [sessions.issue() for _ in range(12)]
    taken: set[tuple[int, int]] = set()
    for session, number in calls:
        try:
            admitted = sessions.admit(known[session], number)
        except AuthenticationError:
            admitted = False
        assert not admitted or (session, number) not in taken
        if admitted:
            taken.add((session, number))
        assert len(sessions) <= most


def test_a_session_that_was_forgotten_is_greeted_again() -> None:
    pair = Pair(sessions=1)
    pair.call(body=b"1")
    other = Caller(SECRET, Route.CONTROL)
    other.call("report", b"", LIMIT, pair.serve, lambda frame: pair.serve(HELLO, frame))
    forgotten = pair.sent[1]
    assert not pair.gate.open(*forgotten).known
    assert pair.call(body=b"2") == b"re: 2"


def test_sessions_of_another_server_are_not_known() -> None:
    first, second = Sessions(4), Sessions(4)
    session = first.issue()
    second.issue()
    assert first.admit(session, 1)
    assert not second.admit(session, 1)
    assert not first.admit(session[:8] + (99).to_bytes(8, "big"), 1)  # never issued


def test_a_server_that_never_knows_the_session_is_an_error() -> None:
    pair = Pair()

    def forgetful(name: str, frame: bytes) -> bytes:
        return pair.gate.seal(pair.gate.open(name, frame), Kind.GREET, b"")

    with pytest.raises(AuthenticationError, match="again and again"):
        pair.caller.call("poll", b"", LIMIT, forgetful, lambda frame: pair.serve(HELLO, frame))
