"""TLS: both sides show a certificate, their own or one of the search, and without it nothing is read (case 22)."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyarrow import flight

from cerebro_nas.backend import LocalBackend
from cerebro_nas.backend import TlsConfig
from cerebro_nas.backend._server import ControlServer
from cerebro_nas.backend._table import WorkerTable
from cerebro_nas.backend._tls import make_certificate
from cerebro_nas.backend._tls import open_tls
from cerebro_nas.backend._tls import tls_source
from cerebro_nas.errors import ConfigError
from cerebro_nas.worker.link import DriverLink
from cerebro_nas.worker.link import Peers
from cerebro_nas.worker.link import Secret
from cerebro_nas.worker.link import States
from cerebro_nas.worker.link import StateServer
from cerebro_nas.worker.link import Tls
from cerebro_nas.worker.link import UnreachableError
from cerebro_nas.worker.link import location_of
from cerebro_nas.worker.messages import Register
from cerebro_nas.worker.messages import WorkerConfig
from cerebro_nas.worker.messages import decode
from cerebro_nas.worker.messages import encode

SECRET = Secret("5ec4e7a1" * 8)
JOIN = Register("w0", 0, 1234, "here", "grpc://127.0.0.1:1")
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
BODY = 256 << 20


@pytest.fixture(scope="module")
def tls() -> Tls:
    return make_certificate()


@contextlib.contextmanager
def _driver(tls: Tls | None) -> Iterator[str]:
    table = WorkerTable(["w0"], max_restarts=1)
    server = ControlServer("127.0.0.1", SECRET, table, tls)
    server.announce("the search")
    try:
        yield location_of("127.0.0.1", server.port, tls)
    finally:
        table.close()
        server.shutdown()


def _join(location: str, tls: Tls | None) -> str:
    with contextlib.closing(DriverLink(location, SECRET, tls)) as link:
        return link.register(JOIN).search


def test_both_sides_show_the_certificate_of_the_search(tls: Tls) -> None:
    with _driver(tls) as location:
        assert location.startswith("grpc+tls://")
        assert _join(location, tls) == "the search"


@pytest.mark.case(22)
def test_the_certificate_of_another_search_is_not_taken(tls: Tls) -> None:
    other = make_certificate()
    with _driver(tls) as location:
        # One that trusts the driver but shows another certificate, and one that does not trust it.
        for wrong in (
            replace(tls, certificate=other.certificate, key=other.key),
            replace(tls, authority=other.authority),
        ):
            with pytest.raises(UnreachableError):
                _join(location, wrong)
        with pytest.raises(UnreachableError):
            _join(location, replace(tls, name="another.name"))
        with pytest.raises(UnreachableError):
            _join(location.replace("grpc+tls", "grpc"), None)
        assert _join(location, tls) == "the search"


@pytest.mark.case(22)
def test_a_certificate_does_not_replace_the_secret(tls: Tls) -> None:
    with _driver(tls) as location:
        client = flight.FlightClient(
            location,
            tls_root_certs=tls.authority.encode(),
            cert_chain=tls.certificate.encode(),
            private_key=tls.key.encode(),
            override_hostname=tls.name,
        )
        with contextlib.closing(client), pytest.raises(flight.FlightUnauthenticatedError):
            list(client.do_action(flight.Action("register", b"{}"), flight.FlightCallOptions(timeout=5)))


def test_states_travel_encrypted(tls: Tls) -> None:
    states = States()
    states.put("t", 3, b"state" * 2_000_000)
    server = StateServer("127.0.0.1", SECRET, states, tls)
    try:
        assert server.location.startswith("grpc+tls://")
        with contextlib.closing(Peers(SECRET, tls)) as peers:
            assert peers.fetch(server.location, "t", 3) == b"state" * 2_000_000
        with contextlib.closing(Peers(SECRET, make_certificate())) as peers, pytest.raises(UnreachableError):
            peers.fetch(server.location, "t", 3)
    finally:
        server.shutdown()


def test_the_certificate_of_a_search_vouches_for_itself_only(tls: Tls) -> None:
    certificate = x509.load_pem_x509_certificate(tls.certificate.encode())
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_before_utc < NOW - DAY / 2 < NOW + 300 * DAY < certificate.not_valid_after_utc
    assert make_certificate().key != tls.key


@pytest.mark.case(23)
def test_the_private_key_does_not_show_itself_and_travels_in_the_workers_configuration(tls: Tls) -> None:
    config = WorkerConfig("grpc+tls://d:1", SECRET.reveal(), "w0", 0, "", "", 0, tls=tls)
    for shown in (repr(tls), repr(config), str(config)):
        assert "PRIVATE" not in shown
        assert SECRET.reveal() not in shown
    line = encode(config)
    assert b"\n" not in line
    assert decode(WorkerConfig, line, 1 << 20) == config


# --- the setting -----------------------------------------------------------------------------------------------------


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _issue(
    key: ec.EllipticCurvePrivateKey,
    issuer: ec.EllipticCurvePrivateKey,
    *,
    dns: str | None,
    ca: bool,
    end: Any = NOW + DAY,
) -> bytes:
    builder = x509.CertificateBuilder(
        _name("authority"), _name("authority" if ca else "peer"), key.public_key(), x509.random_serial_number()
    )
    builder = builder.not_valid_before(NOW - 3 * DAY).not_valid_after(end)
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if dns is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
    return _pem(builder.sign(issuer, hashes.SHA256()))


@pytest.fixture
def own(tmp_path: Path) -> TlsConfig:
    """One's own authority, and a certificate of it, in files."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    files = TlsConfig(tmp_path / "peer.pem", tmp_path / "peer.key", str(tmp_path / "authority.pem"))
    Path(files.authority).write_bytes(_issue(authority, authority, dns=None, ca=True))
    Path(files.certificate).write_bytes(_issue(key, authority, dns="nas.example.org", ca=False))
    Path(files.key).write_bytes(_private(key))
    for name, wrong in (("nameless", {"dns": None}), ("late", {"dns": "nas.example.org", "end": NOW - DAY})):
        (tmp_path / name).write_bytes(_issue(key, authority, ca=False, **wrong))
    (tmp_path / "stranger").write_bytes(_issue(key, key, dns=None, ca=True))
    (tmp_path / "other.key").write_bytes(_private(authority))
    (tmp_path / "garbage").write_text("no certificate")
    return files


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_ones_own_certificate_is_used(own: TlsConfig) -> None:
    tls = open_tls(tls_source(own))
    assert tls is not None
    assert tls.name == "nas.example.org"
    with _driver(tls) as location:
        assert _join(location, tls) == "the search"
        with pytest.raises(UnreachableError):
            _join(location, make_certificate())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"certificate": "absent"}, "`TlsConfig.certificate` must be a readable PEM file"),
        ({"certificate": "garbage"}, "must name PEM files with certificates"),
        ({"authority": "garbage"}, "must name PEM files with certificates"),
        ({"certificate": "nameless"}, "must carry a DNS name"),
        ({"certificate": "late"}, "must be valid now"),
        ({"authority": "stranger"}, "must lead up to"),
        ({"key": "other.key"}, "must be the private key of the certificate"),
        ({"key": "garbage"}, "must be the private key of the certificate"),
    ],
)
def test_files_that_cannot_be_used_are_refused(
    own: TlsConfig, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    paths = {name: tmp_path / file for name, file in change.items()}
    with pytest.raises(ConfigError, match=message) as refusal:
        LocalBackend(tls=replace(own, **paths))
    assert "PRIVATE" not in str(refusal.value)
    assert str(next(iter(paths.values()))) in str(refusal.value)


@pytest.mark.parametrize("wrong", [None, 1, "yes", ("a", "b", "c")])
def test_another_kind_of_setting_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="`tls` must be True, False or a TlsConfig"):
        LocalBackend(tls=wrong)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[tls\]"'):
        LocalBackend(tls=True)
    LocalBackend(tls=False)


def test_each_search_has_a_certificate_of_its_own() -> None:
    first, second = open_tls(tls_source(True)), open_tls(tls_source(True))
    assert first is not None
    assert second is not None
    assert first.key != second.key
    assert open_tls(tls_source(False)) is None


# --- memory ----------------------------------------------------------------------------------------------------------

_SERVER = """
import sys
from cerebro_nas.backend._server import ControlServer
from cerebro_nas.backend._table import WorkerTable
from cerebro_nas.worker.link import Secret
from cerebro_nas.worker.messages import Tls, decode
tls = decode(Tls, sys.stdin.buffer.readline(), 1 << 20)
server = ControlServer("127.0.0.1", Secret(sys.argv[1]), WorkerTable(["w0"], 1), tls)
server.announce("the search")
print(server.port, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(tls: Tls) -> Iterator[tuple[psutil.Process, int]]:
    command = [sys.executable, "-c", _SERVER, SECRET.reveal()]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(encode(tls) + b"\n")
        process.stdin.flush()
        try:
            yield psutil.Process(process.pid), int(process.stdout.readline())
        finally:
            process.kill()


def _flood(stream: Any) -> int:
    """Send up to 256 MB; how much of it was taken before the other side hung up."""
    chunk, sent = bytes(1 << 20), 0
    with contextlib.suppress(OSError):
        while sent < BODY:
            stream.sendall(chunk)
            sent += len(chunk)
    return sent


@pytest.mark.case(22)
def test_over_tls_nothing_is_read_from_a_peer_without_a_certificate(
    server: tuple[psutil.Process, int], tls: Tls
) -> None:
    process, port = server
    assert _join(f"grpc+tls://127.0.0.1:{port}", tls) == "the search"
    trusting = ssl.create_default_context(cadata=tls.authority)
    trusting.check_hostname = False
    for _ in range(2):
        with pytest.raises(flight.FlightUnavailableError):
            _action_of_256_mb(port, tls)
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            _flood(plain)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as raw:
            with trusting.wrap_socket(raw, server_hostname=tls.name) as encrypted:
                assert _flood(encrypted) < 64 << 20
        # The first round also pays for what the libraries load once.
        before, after = locals().get("after"), process.memory_info().rss
    assert after - before < 2 << 20
    assert _join(f"grpc+tls://127.0.0.1:{port}", tls) == "the search"


def _action_of_256_mb(port: int, tls: Tls) -> None:
    client = flight.FlightClient(
        f"grpc+tls://127.0.0.1:{port}", tls_root_certs=tls.authority.encode(), override_hostname=tls.name
    )
    with contextlib.closing(client):
        list(client.do_action(flight.Action("register", bytes(BODY)), flight.FlightCallOptions(timeout=10)))
