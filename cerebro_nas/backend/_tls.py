"""Certificates for the calls of a search: one made for it, in memory, or the user's own."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from cerebro_nas.errors import ConfigError
from cerebro_nas.worker.link import Tls

if TYPE_CHECKING:
    from cryptography import x509

_NAME = "search.cerebro-nas.invalid"
_LIFE = datetime.timedelta(days=365)
# Clocks of a cluster differ.
_SKEW = datetime.timedelta(days=1)
_INSTALL = 'pip install -e ".[tls]"'


@dataclass(frozen=True)
class TlsConfig:
    """Files of one's own public-key infrastructure, in PEM.

    All peers of a search show this one certificate, and look for the first DNS name in it at the other side; it must
    be good for servers and for clients. The files are read once, on this machine.

    Attributes:
        certificate: the certificate, followed by those between it and the authority.
        key: its private key, not encrypted. It reaches the workers the way that the secret of the search does.
        authority: the certificates that the certificate must lead up to.
    """

    certificate: str | Path
    key: str | Path
    authority: str | Path


TlsSetting = bool | TlsConfig


def tls_source(setting: TlsSetting) -> Tls | bool:
    """Check the argument `tls` of a backend: the user's certificate, read; or whether one is to be made.

    Raises:
        ConfigError: the argument, or what is in the files, cannot be used.
        ImportError: the package that reads and makes certificates is not installed.
    """
    if setting is False:
        return False
    if setting is not True and not isinstance(setting, TlsConfig):
        raise ConfigError(f"`tls` must be True, False or a TlsConfig. Received: tls of type {type(setting).__name__}.")
    _require_cryptography()
    return True if setting is True else _read(setting)


def open_tls(source: Tls | bool) -> Tls | None:
    """The certificate of one search."""
    if isinstance(source, Tls):
        return source
    return make_certificate() if source else None


def make_certificate(now: datetime.datetime | None = None) -> Tls:
    """A new certificate that is its own authority. It and its key exist in memory only."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.timezone.utc) if now is None else now
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cerebro_nas search")])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False)
        # It vouches for itself and for no other: nobody who holds it can make a second one.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .sign(key, hashes.SHA256())
    )
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return Tls(text, private, text, _NAME)


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ImportError(f"`tls` needs the package cryptography. Install it: {_INSTALL}") from error


def _read(config: TlsConfig) -> Tls:
    from cryptography import x509

    certificate, key, authority = (_text(config, name) for name in ("certificate", "key", "authority"))
    try:
        chain = x509.load_pem_x509_certificates(certificate.encode())
        authorities = x509.load_pem_x509_certificates(authority.encode())
    except ValueError as error:
        raise ConfigError(
            f"`TlsConfig` must name PEM files with certificates: {error}. Received: {config!r}."
        ) from None
    _check_key(config, chain[0], key)
    _check_dates(config, chain[0])
    _check_authority(config, chain[-1], authorities)
    return Tls(certificate, key, authority, _dns_name(config, chain[0]))


def _text(config: TlsConfig, name: str) -> str:
    path = getattr(config, name)
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"`TlsConfig.{name}` must be a readable PEM file: {error}. Received: {path!r}.") from None


def _check_key(config: TlsConfig, certificate: x509.Certificate, key: str) -> None:
    from cryptography.hazmat.primitives import serialization

    try:
        private: Any = serialization.load_pem_private_key(key.encode(), password=None)
    except (TypeError, ValueError):
        # What the parser says is left out: it read a private key.
        private = None
    if private is None or private.public_key() != certificate.public_key():
        raise ConfigError(
            "`TlsConfig.key` must be the private key of the certificate, in PEM and without a password. "
            f"Received: key={config.key!r}, certificate={config.certificate!r}."
        )


def _check_dates(config: TlsConfig, certificate: x509.Certificate) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= now <= end:
        raise ConfigError(
            f"`TlsConfig.certificate` must be valid now; it is from {begin} to {end}. "
            f"Received: certificate={config.certificate!r}."
        )


def _check_authority(config: TlsConfig, certificate: x509.Certificate, authorities: list[x509.Certificate]) -> None:
    if certificate not in authorities and not any(_issued(certificate, other) for other in authorities):
        raise ConfigError(
            "`TlsConfig.certificate` must lead up to one in the file `authority`; append those between them to it. "
            f"Received: certificate={config.certificate!r}, authority={config.authority!r}."
        )


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _dns_name(config: TlsConfig, certificate: x509.Certificate) -> str:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        found = []
    if not found:
        raise ConfigError(
            "`TlsConfig.certificate` must carry a DNS name (subjectAltName). "
            f"Received: certificate={config.certificate!r}."
        )
    return found[0]
