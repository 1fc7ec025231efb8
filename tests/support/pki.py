"""Certificate authorities and leaves for tests of the TLS listener."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Leaf:
    """A certificate and its key, as files."""

    cert: Path
    key: Path


class Authority:
    """A CA that keeps its files in ``directory``; of its own making, or an intermediate one of ``issuer``."""

    def __init__(self, name: str, directory: Path, *, issuer: Authority | None = None, days: int = 1) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        above = issuer or self
        builder = _builder(self._name, above._name, self._key.public_key(), days=days)
        self._certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
            above._key, hashes.SHA256()
        )
        self.file = directory / f"{name}.crt"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def leaf(
        self,
        common_name: str,
        *,
        dns: tuple[str, ...] = (),
        file: str = "",
        days: int = 1,
        usages: tuple[x509.ObjectIdentifier, ...] = (),
        raw_dns: bytes = b"",
        passphrase: bytes = b"",
        organizations: tuple[str, ...] = (),
    ) -> Leaf:
        """A leaf for 127.0.0.1 and ``dns``; with ``days`` below zero it has expired, without ``usages`` it has all.

        ``raw_dns`` is the only name in the place of those, as no CA should make it.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *map(x509.DNSName, dns)]
        builder = _builder(_name(common_name, organizations), self._name, key.public_key(), days=days)
        der = bytes((0x30, len(raw_dns) + 2, 0x82, len(raw_dns))) + raw_dns
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der)
            if raw_dns
            else x509.SubjectAlternativeName(names),
            critical=False,
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        leaf = Leaf(self._directory / f"{file or common_name}.pem", self._directory / f"{file or common_name}.key")
        leaf.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption(),
            )
        )
        leaf.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return leaf

    def client(self, leaf: Leaf | None = None) -> ssl.SSLContext:
        """A client that trusts this CA and presents ``leaf``."""
        context = ssl.create_default_context(cafile=str(self.file))
        if leaf is not None:
            context.load_cert_chain(leaf.cert, leaf.key)
        return context


class Pki:
    """A server's CA, the callers' CA, and one that nobody trusts; and the daemon's settings for them."""

    def __init__(self, directory: Path) -> None:
        self.servers = Authority("servers", directory)
        self.callers = Authority("callers", directory)
        self.strangers = Authority("strangers", directory)
        self.server = self.servers.leaf("proxy", dns=("proxy",))

    def environ(self, subjects: str = "guacd,terminal.example") -> dict[str, str]:
        """A TLS listener that lets certificates of ``subjects`` in."""
        return {
            "TLS_LISTEN_ADDR": "127.0.0.1:0",
            "TLS_CERT_FILE": str(self.server.cert),
            "TLS_KEY_FILE": str(self.server.key),
            "TLS_CLIENT_CA_FILE": str(self.callers.file),
            "CLIENT_CERT_ALLOWED_SUBJECTS": subjects,
        }


def _name(common_name: str, organizations: tuple[str, ...] = ()) -> x509.Name:
    groups = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, each) for each in organizations]
    return x509.Name([*groups, x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=3))
        .not_valid_after(now + dt.timedelta(days=days))
    )
