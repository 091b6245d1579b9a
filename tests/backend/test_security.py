"""A whole backend from outside: what listens, and where the secret of a search can be read (cases 22, 23)."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import psutil
import pytest
from pyarrow import flight

from cerebro_nas.backend import BackendEvent
from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import RunCommand
from cerebro_nas.backend import SparkBackend
from cerebro_nas.backend import local_spark_session
from cerebro_nas.backend._pool import WorkerPool
from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import StateRef
from cerebro_nas.hopper import Unit
from cerebro_nas.hopper import UnitDone
from cerebro_nas.hopper import UnitFailed
from cerebro_nas.worker import CandidateSpec
from cerebro_nas.worker import SearchSpec
from cerebro_nas.worker.link import DriverLink
from cerebro_nas.worker.link import Secret
from cerebro_nas.worker.link import own_address
from cerebro_nas.worker.messages import Register

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HERE = Path(__file__).parent

# An engine that has the worker say all it can, gRPC included, and says where the worker keeps its secret.
LOUD = """
import logging
import fake_engine
logging.getLogger().setLevel(logging.DEBUG)
logging.getLogger(__name__).debug("loud")

class Engine(fake_engine.Engine):
    pass
"""


class LoudLocal(LocalBackend):
    engine = "loud_engine:Engine"
    folder = ""

    def _paths(self) -> tuple[str, ...]:
        return (*super()._paths(), str(HERE), self.folder)


class LoudSpark(SparkBackend):
    engine = "loud_engine:Engine"
    folder = ""

    def _paths(self) -> tuple[str, ...]:
        return (*super()._paths(), str(HERE), self.folder)


@pytest.fixture
def loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary files in a folder of the test's own, and everything that can be logged is."""
    engine = tmp_path / "engine"
    engine.mkdir()
    (engine / "loud_engine.py").write_text(LOUD)
    for kind in (LoudLocal, LoudSpark):
        monkeypatch.setattr(kind, "folder", str(engine))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    # What gRPC logs is for the workers: this process, and all other tests in it, have it started quietly before.
    flight.FlightClient("grpc://127.0.0.1:1").close()
    monkeypatch.setenv("GRPC_VERBOSITY", "debug")
    monkeypatch.setenv("GRPC_TRACE", "http,api,tsi")
    return tmp_path


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="module")
def spark(events: Path) -> Iterator[SparkSession]:
    """A Spark that writes down all that its web pages would show."""
    log = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": events.as_uri(), "spark.eventLog.compress": "false"}
    session = local_spark_session(2, config=log)
    yield session
    session.stop()


def _search(states: Path) -> SearchSpec:
    return SearchSpec("data", str(states), (), (), (), (), seed=0, batch_size=1)


def _events(backend: WorkerPool, count: int) -> list[BackendEvent]:
    events: list[BackendEvent] = []
    deadline = time.monotonic() + 60
    while len(events) < count and time.monotonic() < deadline:
        events += backend.events(1.0)
    return events


def _run(backend: WorkerPool, worker: str, state: StateRef, **plan: Any) -> UnitDone | UnitFailed:
    unit = Unit("t", "train", 0, Shard("train", 0))
    backend.submit(worker, RunCommand(unit, state, CandidateSpec("t", "model", plan, (), ())))
    while True:
        for event in _events(backend, 1):
            if isinstance(event, UnitDone | UnitFailed):
                return event


def _processes() -> list[psutil.Process]:
    """This process and all below it; workers of Spark are below its JVM."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def _spellings(secret: str) -> list[bytes]:
    """The secret as somebody might have written it: digits, bytes, and Base64 of a text that it stands in."""
    raw = bytes.fromhex(secret)
    plain = [secret.encode(), secret.upper().encode(), raw]
    # Three bytes become four letters; those at the edges depend on what stands beside it.
    inside = [base64.b64encode(b"." * shift + text)[4:40] for shift in range(3) for text in (secret.encode(), raw)]
    return [*plain, *inside]


def _readable(pid: int) -> bytes:
    found = b""
    for file in ("cmdline", "environ"):
        try:
            found += Path(f"/proc/{pid}/{file}").read_bytes()
        except OSError:
            continue
    return found


def _written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def _exercise(backend: WorkerPool, folder: Path) -> tuple[str, str]:
    """Start, hop a state, fail a unit; return the secret, and all that could be read meanwhile."""
    backend.start(_search(folder / "states"))
    _events(backend, 2)
    session = backend._session
    assert session is not None
    first = _run(backend, "w0", StateRef(0), bytes=100)
    second = _run(backend, "w1", StateRef(1, "w0"))
    assert isinstance(first, UnitDone)
    assert isinstance(second, UnitDone)
    assert second.report.rows == 101
    failed = _run(backend, "w0", StateRef(0), do="stumble")
    assert isinstance(failed, UnitFailed)
    assert "the reader stumbled" in failed.message
    shown = "".join(repr(part) for part in (backend, session, session.server, session.table, first, failed))
    readable = b"".join(_readable(process.pid) for process in _processes())
    assert b"cerebro_nas.worker" in readable
    text = shown.encode() + readable + _written(folder)
    secret = session.secret.reveal()
    assert not [spelling for spelling in _spellings(secret) if spelling in text]
    if session.tls is not None:
        body = session.tls.key.splitlines()[1].encode()
        assert body not in text
        assert b"PRIVATE KEY" not in text
    return secret, text.decode(errors="replace")


@pytest.mark.case(23)
@pytest.mark.parametrize("tls", [False, True])
def test_the_secret_of_a_local_search_is_nowhere_to_be_read(
    loud: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tls: bool
) -> None:
    with caplog.at_level(logging.DEBUG), LoudLocal(2, tls=tls) as backend:
        secret, text = _exercise(backend, loud)
        assert "DEBUG loud_engine: loud" in text  # the workers' logs were among what was read
    out = "".join(capfd.readouterr()) + caplog.text
    assert not [spelling for spelling in _spellings(secret) if spelling in out.encode() + _written(loud)]


@pytest.mark.case(23)
@pytest.mark.spark
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("tls", [False, True])
def test_the_secret_of_a_search_on_spark_is_nowhere_to_be_read(
    loud: Path,
    spark: SparkSession,
    events: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tls: bool,
) -> None:
    with caplog.at_level(logging.DEBUG), LoudSpark(spark=spark, num_workers=2, tls=tls) as backend:
        secret, _ = _exercise(backend, loud)
        # What Spark's page "Environment" shows, and what its status store knows of jobs.
        context = spark.sparkContext
        java: Any = context
        settings = str(context.getConf().getAll()) + str(java._jvm.System.getProperties().toString())
        tracker = context.statusTracker()
        jobs = "".join(str(tracker.getJobInfo(job)) for job in tracker.getActiveJobsIds())
        tags = str(backend._tags) + str(java._jsc.sc().getLocalProperties().toString())
    out = "".join(capfd.readouterr()) + caplog.text + settings + jobs + tags
    assert "spark.app.name" in out
    shown = _written(events)
    assert b"SparkListenerEnvironmentUpdate" in shown
    assert b"supervise(" in shown
    assert not [spelling for spelling in _spellings(secret) if spelling in out.encode() + _written(loud) + shown]


# --- what listens ----------------------------------------------------------------------------------------------------


def _listening(processes: list[psutil.Process]) -> set[tuple[int, str, int]]:
    """Process, address and port of everything that waits for a connection, and of every open UDP socket."""
    found = set()
    for process in processes:
        try:
            connections = process.net_connections(kind="inet")
        except psutil.NoSuchProcess:
            continue
        for connection in connections:
            waits = connection.status == psutil.CONN_LISTEN or connection.type != 1
            if waits and connection.laddr:
                # gRPC's sockets speak IPv6 too, where an IPv4 address is written like this.
                found.add((process.pid, connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port))
    return found


def _workers() -> list[psutil.Process]:
    return [process for process in _processes() if "cerebro_nas.worker" in _command(process)]


@pytest.mark.case(22)
@pytest.mark.parametrize("tls", [False, True])
def test_a_local_search_listens_on_the_loopback_address_at_known_ports_only(loud: Path, tls: bool) -> None:
    before = _listening(_processes())
    with LoudLocal(2, tls=tls) as backend:
        backend.start(_search(loud / "states"))
        _events(backend, 2)
        session = backend._session
        assert session is not None
        _run(backend, "w1", StateRef(0))
        new = _listening(_processes()) - before
        assert {address for _, address, _ in new} == {"127.0.0.1"}
        # One port of this process, and one of each worker.
        assert sorted(pid for pid, _, _ in new) == sorted([os.getpid(), *(worker.pid for worker in _workers())])
        assert len(new) == 3
        assert {port for pid, _, port in new if pid == os.getpid()} == {session.server.port}
        served = {session.table.location(name) for name in ("w0", "w1")}
        scheme = "grpc+tls" if tls else "grpc"
        assert {f"{scheme}://127.0.0.1:{port}" for pid, _, port in new if pid != os.getpid()} == served
    assert _listening(_processes()) <= before


@pytest.mark.case(22)
@pytest.mark.spark
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_a_search_on_spark_adds_one_port_of_its_own_and_one_of_each_worker(loud: Path, spark: SparkSession) -> None:
    spark.range(10).repartition(2).collect()  # starts what Spark itself keeps listening
    before = _listening(_processes())
    with LoudSpark(spark=spark, num_workers=2) as backend:
        backend.start(_search(loud / "states"))
        _events(backend, 2)
        session = backend._session
        assert session is not None
        _run(backend, "w1", StateRef(0))
        new = {(pid, port) for pid, _, port in _listening(_processes()) - before if not _is_sparks(pid)}
        assert {address for _, address, _ in _listening(_workers())} == {"127.0.0.1"}
        ports = {int((session.table.location(name) or "").rsplit(":", 1)[1]) for name in ("w0", "w1")}
        assert {port for _, port in new} == {session.server.port} | ports
        # Spark's own: on this machine only, and none of them its web page.
        assert {address for _, address, _ in _listening(_processes())} <= {"127.0.0.1", "::1"}
        assert spark.sparkContext.uiWebUrl is None


def _command(process: psutil.Process) -> list[str]:
    try:
        command: list[str] = process.cmdline()
    except psutil.NoSuchProcess:  # or a zombie
        return []
    return command


def _is_sparks(pid: int) -> bool:
    command = " ".join(_command(psutil.Process(pid)))
    return "pyspark.daemon" in command or "org.apache.spark" in command


@pytest.mark.spark
def test_on_a_cluster_the_driver_listens_at_the_address_that_spark_advertises(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = SparkBackend(spark=spark, num_workers=2)
    monkeypatch.setattr("cerebro_nas.backend.spark._spark.Cluster.is_local", False)
    here = own_address("grpc://192.0.2.1:1")
    for settings, found in (
        ({"spark.driver.host": here}, (here, here)),
        ({"spark.driver.host": here, "spark.driver.bindAddress": "0.0.0.0"}, (here, here)),
        # An address that is translated on the way: where to listen is the user's word.
        ({"spark.driver.host": "192.0.2.1", "spark.driver.bindAddress": here}, (here, "192.0.2.1")),
    ):
        monkeypatch.setattr(
            "cerebro_nas.backend.spark._spark.setting",
            lambda session, key, default, settings=settings: settings.get(key, default),
        )
        assert backend._addresses() == found


def test_the_tests_that_the_documentation_names_exist() -> None:
    root = HERE.parents[1]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (root / "docs" / "security.md").read_text())
    assert len(named) > 30
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (root / file).read_text()]
    assert not missing


_SERVER = """
import sys
from cerebro_nas.backend._server import ControlServer
from cerebro_nas.backend._table import WorkerTable
from cerebro_nas.worker.link import Secret
server = ControlServer("127.0.0.1", Secret(sys.argv[1]), WorkerTable(["w0"], 1))
server.announce("the search")
print(server.port, flush=True)
sys.stdin.read()
"""


def _call_that_announces(length: int) -> bytes:
    """The beginning of a call as gRPC puts it on the wire (HTTP/2), whose message is said to have `length` bytes."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/arrow.flight.protocol.FlightService/DoAction",
        ":authority": "driver",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers.items()
    )
    message = b"\x00" + length.to_bytes(4, "big") + b"x" * 100
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    return preface + frame(1, 4, 1, block) + frame(0, 0, 1, message)


@pytest.mark.case(22)
def test_a_length_of_4_gib_takes_no_memory_and_holds_nobody_up() -> None:
    key = "5ec4e7a1" * 8
    command = [sys.executable, "-c", _SERVER, key]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            me, grown = psutil.Process(process.pid), 0
            for _ in range(2):
                # The first round also pays for what the libraries load once.
                before = me.memory_info().rss
                with contextlib.ExitStack() as stack:
                    for length in [0xFFFFFFFF, 0x7FFFFFFF] * 10:
                        slow = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
                        slow.sendall(_call_that_announces(length))
                        assert slow.recv(9)  # the server speaks HTTP/2 with us: its settings
                    with contextlib.closing(DriverLink(f"grpc://127.0.0.1:{port}", Secret(key))) as link:
                        assert link.register(Register("w0", 0, 1, "here", "")).search == "the search"
                    grown = me.memory_info().rss - before
            assert grown < 2 << 20
        finally:
            process.kill()
