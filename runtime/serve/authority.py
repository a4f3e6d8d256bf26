"""A device's own certificate authority, made once and kept on the device, and the certificate it gives its server.

What it signs holds for names and addresses of a home alone (name constraints, RFC 5280 4.2.1.10), so that whoever
trusts it trusts it for nothing else, even if its key is stolen.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tlc_edge.runtime.errors import DeviceError, UsageError
from tlc_edge.runtime.files import write_file
from tlc_edge.runtime.install import pip_line
from tlc_edge.runtime.optional import NotThereError, load

from .access import is_address

_HOMES = ("localhost", "local", "lan", "home", "home.arpa", "internal", "fritz.box")
_NETWORKS = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
    *("::1/128", "fc00::/7", "fe80::/10"),
)
_AUTHORITY_DAYS, _SERVER_DAYS, _LEAST_DAYS = 3650, 397, 30  # browsers take no server's that holds longer than 398
_BEGIN = timedelta(days=2)  # a clock may be behind
_KEY, _CERTIFICATE, _SERVER = "authority.key", "authority.crt", "server.pem"


@dataclass(frozen=True)
class Trust:
    """What a server speaks TLS with."""

    context: ssl.SSLContext
    authority: bytes | None
    """The certificate to trust, in PEM; None where it is not this device's own."""
    fingerprint: str
    """SHA-256 of that certificate, for the person to compare."""
    renew: Callable[[], None] = lambda: None
    """Take a new certificate where the old one soon ends; connections that are open go on."""


def given_trust(certificate: str, key: str) -> Trust:
    """Return trust in a certificate that somebody else gave.

    Raises:
        DeviceError: they cannot be read, or do not belong together.
    """
    return Trust(_context(Path(certificate), Path(key)), None, "")


def own_trust(folder: Path, names: Iterable[str]) -> Trust:
    """Return trust in the device's own authority, which is made where there is none; certificates are renewed.

    Args:
        folder: where it is kept, for its owner alone.
        names: host names and addresses under which the server is reached. What is not of a home is left out.

    Raises:
        DeviceError: cryptography is missing, or the folder cannot be written to.
    """
    kept = _Authority(folder)
    wanted = sorted(name for name in set(names) if kept.may_sign(name))
    server = folder / _SERVER

    def sign() -> bool:
        stale = not kept.has_signed(server, wanted)
        if stale:
            kept.sign(server, wanted)
        return stale

    def renew() -> None:
        if sign():
            context.load_cert_chain(server)

    sign()
    context = _context(server, server)
    digest = kept.certificate.fingerprint(kept.hashes.SHA256()).hex().upper()
    shown = ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
    return Trust(context, kept.pem, shown, renew)


def check_names(names: Sequence[str]) -> None:
    """Refuse names that no authority of a home signs.

    Raises:
        UsageError: there is one.
    """
    for name in names:
        if not _of_a_home(name):
            raise UsageError(
                f"--host-name {name}: not of a home (such as NAME.local), so the device's own certificate cannot "
                "name it; give one that does with --cert and --key, or leave TLS to the reverse proxy"
            )


def _of_a_home(name: str) -> bool:
    if is_address(name):
        address = ipaddress.ip_address(name)
        return any(address in ipaddress.ip_network(network) for network in _NETWORKS)
    return any(name == home or name.endswith(f".{home}") for home in _HOMES)


class _Authority:
    """The key and the certificate in a folder."""

    def __init__(self, folder: Path) -> None:
        self.x509, self.hashes, self._ec, self._serial = _cryptography()
        self._folder = folder
        key, certificate = folder / _KEY, folder / _CERTIFICATE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (key.exists() and certificate.exists()):
                self._make(key, certificate)
            self._key: Any = self._serial.load_pem_private_key(key.read_bytes(), None)
            self.pem = certificate.read_bytes()
            self.certificate: Any = self.x509.load_pem_x509_certificate(self.pem)
        except (OSError, ValueError, TypeError) as e:
            why = getattr(e, "strerror", None) or "damaged; remove it, and trust the new one again"
            if isinstance(e, OSError):
                why = f"{why}; give another folder with --state"
            raise DeviceError(f"{folder}: the device's own certificate authority: {why}") from None

    def may_sign(self, name: str) -> bool:
        """Return whether the authority may sign for a name."""
        return _of_a_home(name) or name in self._bare_names()

    def has_signed(self, server: Path, names: Sequence[str]) -> bool:
        """Return whether a server's certificate is this authority's, for these names, and holds for a while."""
        try:
            found = self.x509.load_pem_x509_certificate(server.read_bytes())
        except (OSError, ValueError):
            return False
        now = datetime.now(UTC)
        left = found.not_valid_after_utc - now
        own = found.issuer == self.certificate.subject and found.not_valid_before_utc <= now
        try:
            found.verify_directly_issued_by(self.certificate)
        except Exception:  # of several kinds, which all mean: no
            return False
        alternatives = found.extensions.get_extension_for_class(self.x509.SubjectAlternativeName).value
        held = [str(getattr(name, "value", "")) for name in alternatives]
        return own and left > timedelta(days=_LEAST_DAYS) and sorted(held) == sorted(names)

    def sign(self, server: Path, names: Sequence[str]) -> None:
        """Write a new key and its certificate for these names, in one file."""
        x509 = self.x509
        key = self._ec.generate_private_key(self._ec.SECP256R1())
        alternatives = [
            x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name) for name in names
        ]
        usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])
        built = (
            self._builder("tlc serve", key.public_key(), _SERVER_DAYS)
            .issuer_name(self.certificate.subject)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, self.hashes.SHA256())
        )
        self._write(server, self._pem(built) + self._key_pem(key))

    def _make(self, key_file: Path, certificate_file: Path) -> None:
        x509 = self.x509
        key = self._ec.generate_private_key(self._ec.SECP256R1())
        public = key.public_key()
        permitted = [
            *(x509.DNSName(home) for home in (*_HOMES, *_own_bare_names())),
            *(x509.IPAddress(ipaddress.ip_network(network)) for network in _NETWORKS),
        ]
        name = f"tlc on {next(iter(_own_bare_names()), 'a device')}"
        usage = dict.fromkeys(
            (
                *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
                *("key_agreement", "encipher_only", "decipher_only"),
            ),
            False,
        )
        built = (
            self._builder(name, public, _AUTHORITY_DAYS)
            .issuer_name(x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)]))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
            .add_extension(x509.NameConstraints(permitted, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(key, self.hashes.SHA256())
        )
        self._write(key_file, self._key_pem(key))
        self._write(certificate_file, self._pem(built))

    def _builder(self, name: str, public: Any, days: int) -> Any:
        now = datetime.now(UTC)
        x509 = self.x509
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BEGIN)
            .not_valid_after(now - _BEGIN + timedelta(days=days))
        )

    def _bare_names(self) -> set[str]:
        found = self.certificate.extensions.get_extension_for_class(self.x509.NameConstraints).value
        return {str(name.value) for name in found.permitted_subtrees or ()} - set(_NETWORKS)

    def _pem(self, certificate: Any) -> bytes:
        pem: bytes = certificate.public_bytes(self._serial.Encoding.PEM)
        return pem

    def _key_pem(self, key: Any) -> bytes:
        serial = self._serial
        pem: bytes = key.private_bytes(serial.Encoding.PEM, serial.PrivateFormat.PKCS8, serial.NoEncryption())
        return pem

    def _write(self, path: Path, data: bytes) -> None:
        try:
            write_file(path, data, private=True)
            path.chmod(0o600)
        except OSError as e:
            raise DeviceError(f"{path}: cannot be written ({e.strerror or e})") from None


def _own_bare_names() -> list[str]:
    name = os.uname().nodename.lower().partition(".")[0] if hasattr(os, "uname") else ""
    return [name] if name and name not in _HOMES and all(c.isalnum() or c == "-" for c in name) else []


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password="")  # never asks at the terminal
    except (OSError, ValueError) as e:  # ssl.SSLError is an OSError
        why = e.strerror or "they do not belong together, or are none" if isinstance(e, OSError) else e
        raise DeviceError(
            f"certificate {certificate}, key {key}: {why}; expected both in PEM, the key unlocked"
        ) from None
    return context


def _cryptography() -> tuple[Any, Any, Any, Any]:
    try:
        x509: Any = load("cryptography.x509")
        load("cryptography.x509.oid")
        primitives = "cryptography.hazmat.primitives"
        ec: Any = load(f"{primitives}.asymmetric.ec")
        return x509, load(f"{primitives}.hashes"), ec, load(f"{primitives}.serialization")
    except NotThereError as e:
        raise DeviceError(f"--tls needs the library cryptography, which {e}; run: {pip_line('serve')}") from None
