"""Sealing: how two peers of a search prove to each other, call by call, that they know its secret. No network here.

The secret itself never travels. A caller greets a server once and is given a session; from then on each of its
requests is one frame

    magic (4) | version (1) | session (16) | sequence (8) | nonce (16) | length (4) | MAC (32) | body

and each answer is

    magic (4) | version (1) | kind (1) | nonce of the request (16) | length (4) | MAC (32) | body

A MAC is HMAC-SHA256 with a key of its direction over the direction, the name of the call, the head and the body; that
of an answer also over the head of its request. So a frame cannot be sent back, be used for another call, or be used
twice, and an answer fits one request only. Sizes are checked before the MAC, and the MAC before anything is parsed.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import itertools
import secrets
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field

from cerebro_nas.errors import AuthenticationError
from cerebro_nas.errors import ProtocolError

SECRET_BYTES = 32
HELLO = "hello"
"""The call by which a caller is given a session."""

VERSION = 1
_REQUEST = b"CNRQ"
_ANSWER = b"CNAN"
_REQUEST_HEAD = struct.Struct(">4sB16sQ16sI")
_ANSWER_HEAD = struct.Struct(">4sBB16sI")
_LENGTHS = struct.Struct(">II")
_MAC_BYTES = 32
_NONCE_BYTES = 16
_SESSION_BYTES = 16
_NO_SESSION = bytes(_SESSION_BYTES)
_NAME_LIMIT = 64
_SALT = b"cerebro-nas wire 1"

REQUEST_OVERHEAD = _REQUEST_HEAD.size + _MAC_BYTES
"""Bytes that sealing adds to the body of a request."""

ANSWER_OVERHEAD = _ANSWER_HEAD.size + _MAC_BYTES
"""Bytes that sealing adds to the body of an answer."""


class Route(str, enum.Enum):
    """Who talks to whom: workers to their driver, or workers to each other. Each has keys of its own."""

    CONTROL = "control"
    STATES = "states"


class Kind(enum.IntEnum):
    """What an answer is."""

    DONE = 0
    GREET = 1
    """The session is not known (any more); greet the server again."""
    SUPERSEDED = 2
    REFUSED = 3


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF with SHA-256 (RFC 5869)."""
    pseudorandom = hmac.digest(salt or bytes(32), secret, hashlib.sha256)
    found = block = b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(pseudorandom, block + info + bytes([number]), hashlib.sha256)
        found += block
    return found[:length]


class Secret:
    """The secret of a search, which never shows itself.

    Args:
        hexadecimal: 32 bytes, as 64 hexadecimal digits.
    """

    __slots__ = ("_key",)

    def __init__(self, hexadecimal: str) -> None:
        try:
            self._key = bytes.fromhex(hexadecimal)
        except ValueError:
            self._key = b""
        if len(self._key) != SECRET_BYTES:
            raise ProtocolError(f"The secret of a search must be {SECRET_BYTES} bytes in hexadecimal digits.")

    def __repr__(self) -> str:
        return "Secret(...)"

    def reveal(self) -> str:
        """The hexadecimal text, for the pipe that hands it on."""
        return self._key.hex()

    def derive(self, purpose: str) -> bytes:
        """A key for one purpose; from it neither the secret nor another key can be found."""
        return hkdf(self._key, _SALT, purpose.encode(), 32)


class _Keys:
    __slots__ = ("answer", "answer_label", "proof", "request", "request_label")

    def __init__(self, secret: Secret, route: Route) -> None:
        self.request_label, self.answer_label = f"{route.value} request", f"{route.value} answer"
        self.request = secret.derive(self.request_label)
        self.answer = secret.derive(self.answer_label)
        self.proof = secret.derive(f"{route.value} proof")


def _mac(key: bytes, label: str, name: str, *parts: bytes) -> bytes:
    # With their lengths in front, no two lists of parts give the same bytes.
    texts = label.encode(), name.encode(errors="backslashreplace")
    return hmac.digest(key, b"".join((_LENGTHS.pack(*map(len, texts)), *texts, *parts)), "sha256")


# --- the caller's side -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SealedRequest:
    """A request as it travels, and what its answer is checked against."""

    name: str
    head: bytes
    frame: bytes = field(repr=False)


class _Session:
    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        # next() on it is atomic, so threads that share a session need no lock.
        self.numbers: Iterator[int] = itertools.count(1)


class Caller:
    """The caller's end of one link to one server. Safe to use from several threads."""

    def __init__(self, secret: Secret, route: Route) -> None:
        self._keys = _Keys(secret, route)
        self._greeting = threading.Lock()
        self._session: _Session | None = None
        self._tag = secrets.token_bytes(_NONCE_BYTES)

    def proof(self, method: str) -> str:
        """Text for the header of a call. It can be used again; it opens nothing, it only keeps strangers out early."""
        return (self._tag + _mac(self._keys.proof, "proof", method, self._tag)).hex()

    def call(
        self, name: str, body: bytes, limit: int, send: Callable[[str, bytes], bytes], greet: Callable[[bytes], bytes]
    ) -> tuple[Kind, bytes]:
        """Make a call: seal, `send(name, frame)`, open the answer; greet the server first where that is needed.

        Raises:
            AuthenticationError: whoever answers does not know the secret, or the answer belongs to another request.
            ProtocolError: the answer is not one, or has more than `limit` bytes.
        """
        for _ in range(2):
            session = self._session or self._greet(greet)
            request = self._seal(name, session.identity, next(session.numbers), body)
            kind, answer = self.open(request, send(name, request.frame), limit)
            if kind != Kind.GREET:
                return kind, answer
            self._leave(session)
        raise AuthenticationError("The server forgets the session of this link again and again.")

    def open(self, request: SealedRequest, frame: bytes, limit: int) -> tuple[Kind, bytes]:
        """What an answer says, once it is proven to be the answer to this request."""
        size = _ANSWER_HEAD.size
        if len(frame) < ANSWER_OVERHEAD:
            raise ProtocolError(f"An answer has {ANSWER_OVERHEAD} bytes or more. Received: {len(frame)} bytes.")
        head, mac, body = frame[:size], frame[size:ANSWER_OVERHEAD], frame[ANSWER_OVERHEAD:]
        magic, version, kind, nonce, length = _ANSWER_HEAD.unpack(head)
        _check_frame(magic == _ANSWER, version, length, len(body), limit)
        expected = _mac(self._keys.answer, self._keys.answer_label, request.name, request.head, head, body)
        if not hmac.compare_digest(mac, expected) or nonce != _nonce_of(request.head):
            raise AuthenticationError(
                "The answer does not prove that it comes from this search: the other side does not know the secret, "
                "or somebody changed or repeated an answer."
            )
        try:
            return Kind(kind), body
        except ValueError:
            raise ProtocolError(f"No such kind of answer. Received: {kind}.") from None

    def _greet(self, greet: Callable[[bytes], bytes]) -> _Session:
        with self._greeting:
            if self._session is None:
                request = self._seal(HELLO, _NO_SESSION, 0, b"")
                kind, identity = self.open(request, greet(request.frame), _SESSION_BYTES)
                if kind != Kind.DONE or len(identity) != _SESSION_BYTES:
                    raise ProtocolError("The answer to a greeting must be a session.")
                self._session = _Session(identity)
            return self._session

    def _leave(self, session: _Session) -> None:
        with self._greeting:
            if self._session is session:
                self._session = None

    def _seal(self, name: str, session: bytes, number: int, body: bytes) -> SealedRequest:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        head = _REQUEST_HEAD.pack(_REQUEST, VERSION, session, number, nonce, len(body))
        mac = _mac(self._keys.request, self._keys.request_label, name, head, body)
        return SealedRequest(name, head, head + mac + body)


def _nonce_of(request_head: bytes) -> bytes:
    nonce: bytes = _REQUEST_HEAD.unpack(request_head)[4]
    return nonce


def _check_frame(magic: bool, version: int, length: int, there: int, limit: int) -> None:
    if not magic or version != VERSION:
        raise ProtocolError(f"These bytes are not a frame of version {VERSION} of this protocol.")
    if length != there or there > limit:
        raise ProtocolError(f"A body may have {limit} bytes, all of them there. Received: {there} of {length} bytes.")


# --- the server's side -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OpenedRequest:
    """A request whose caller has proven that it knows the secret, and that it sends this for the first time.

    Attributes:
        name: of the call.
        body: what was sent.
        known: whether its session is; if not, nothing may be done but to say so.
    """

    name: str
    body: bytes = field(repr=False)
    known: bool
    head: bytes = field(repr=False)


class Gate:
    """The server's end: opens requests, refuses what was seen before, seals answers. Safe to use from any thread.

    Args:
        secret: of the search.
        route: whom it serves.
        limit: most bytes of a request's body.
        sessions: how many sessions are remembered.
    """

    def __init__(self, secret: Secret, route: Route, limit: int, sessions: int = 4096) -> None:
        self._keys = _Keys(secret, route)
        self._limit = limit
        self._sessions = Sessions(sessions)

    def is_member(self, method: str, proof: str) -> bool:
        """Whether the text of a header proves knowledge of the secret."""
        try:
            data = bytes.fromhex(proof) if len(proof) == 2 * (_NONCE_BYTES + _MAC_BYTES) else b""
        except ValueError:
            return False
        tag, mac = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
        return hmac.compare_digest(mac, _mac(self._keys.proof, "proof", method, tag))

    def open(self, name: str, frame: bytes) -> OpenedRequest:
        """What a frame says.

        Raises:
            ProtocolError: it is no frame of this protocol, or too large.
            AuthenticationError: its sender does not know the secret, or it was sent before.
        """
        size = _REQUEST_HEAD.size
        if len(frame) < REQUEST_OVERHEAD or len(name) > _NAME_LIMIT:
            raise ProtocolError(f"A request has {REQUEST_OVERHEAD} bytes or more. Received: {len(frame)} bytes.")
        magic, version, session, number, _, length = _REQUEST_HEAD.unpack_from(frame)
        _check_frame(magic == _REQUEST, version, length, len(frame) - REQUEST_OVERHEAD, self._limit)
        head, mac, body = frame[:size], frame[size:REQUEST_OVERHEAD], frame[REQUEST_OVERHEAD:]
        if not hmac.compare_digest(mac, _mac(self._keys.request, self._keys.request_label, name, head, body)):
            raise AuthenticationError("The sender of a request does not know the secret of this search.")
        if name == HELLO:
            return OpenedRequest(name, body, True, head)
        return OpenedRequest(name, body, self._sessions.admit(session, number), head)

    def greet(self) -> bytes:
        """A new session. It takes no memory before it is used, so that repeated greetings cost nothing."""
        return self._sessions.issue()

    def seal(self, request: OpenedRequest, kind: Kind, body: bytes) -> bytes:
        """The answer to a request, as it travels."""
        head = _ANSWER_HEAD.pack(_ANSWER, VERSION, kind, _nonce_of(request.head), len(body))
        mac = _mac(self._keys.answer, self._keys.answer_label, request.name, request.head, head, body)
        return head + mac + body


class Sessions:
    """Which requests have been seen, in bounded memory.

    Sessions are numbered in the order in which they were issued. One that has to be forgotten raises a floor: what
    stands at or below it and is not remembered counts as unknown for good, so forgetting never lets a frame in twice.
    """

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        # Sessions of another server, or of an earlier one at this address, are told by it.
        self._own = secrets.token_bytes(_SESSION_BYTES // 2)
        self._issued = 0
        self._floor = 0
        self._most = most
        self._windows: OrderedDict[int, Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def issue(self) -> bytes:
        """The identity of a new session."""
        with self._lock:
            self._issued += 1
            return self._own + self._issued.to_bytes(_SESSION_BYTES // 2, "big")

    def admit(self, session: bytes, number: int) -> bool:
        """Take note of an authentic request; False if its session is not known.

        Raises:
            AuthenticationError: the request was seen before, or is too old to tell.
        """
        index = int.from_bytes(session[_SESSION_BYTES // 2 :], "big")
        with self._lock:
            window = self._windows.get(index) if session.startswith(self._own) else None
            if window is None:
                if not session.startswith(self._own) or not self._floor < index <= self._issued:
                    return False
                window = self._windows[index] = Window()
                if len(self._windows) > self._most:
                    oldest, _ = self._windows.popitem(last=False)
                    self._floor = max(self._floor, oldest)
            else:
                self._windows.move_to_end(index)
            if not window.admit(number):
                raise AuthenticationError("A request was sent a second time.")
        return True


class Window:
    """The numbers seen of one session: the highest, and which of those shortly below it."""

    __slots__ = ("_seen", "_top")

    WIDTH = 1024
    """How far behind the highest number a late one may come: calls of several threads overtake each other."""

    def __init__(self) -> None:
        self._top = 0
        self._seen = 1

    def admit(self, number: int) -> bool:
        """Whether this number comes for the first time; from now on it does not."""
        ahead = number - self._top
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & ((1 << self.WIDTH) - 1) if ahead < self.WIDTH else 1
            self._top = number
            return True
        bit = 1 << -ahead if -ahead < self.WIDTH else 0
        if not bit or self._seen & bit:
            return False
        self._seen |= bit
        return True
