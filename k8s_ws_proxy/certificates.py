"""The TLS listener's context, made from its files and made again when they change (cert-manager renews them)."""

from __future__ import annotations

import hashlib
import math
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy import pem
from k8s_ws_proxy.audit.trail import NO_TRAIL
from k8s_ws_proxy.errors import CertificateError
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.reload import Fingerprint, Reloader, fingerprint
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.wire.audit.events import TlsChanged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from k8s_ws_proxy.audit.trail import Trail
    from k8s_ws_proxy.settings import TlsSettings

POLL: Final = 5.0  # seconds between looks at the files
# For TLS 1.2 (1.3 has only good ones): forward secrecy and authenticated encryption, RFC 9325 §4.2.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def make_context(tls: TlsSettings, *, ask_for_certificate: bool) -> ssl.SSLContext:
    """A server's context. Blocks on files. Raises CertificateError.

    With ``ask_for_certificate`` a caller may present a certificate; a chain that doesn't verify against the client CA
    then fails the handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    encrypted = f"TLS_KEY_FILE {tls.key_file} has a pass phrase, and nobody is there to type it: use openssl pkey"
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, pem.no_pass_phrase(encrypted))
        pem.check_whole(tls.cert_file.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(
            f"TLS_CERT_FILE {tls.cert_file} and TLS_KEY_FILE {tls.key_file} can't be used together: {error}"
        ) from error
    if ask_for_certificate and tls.client_ca_file is not None:
        _ask_for_certificate(context, tls.client_ca_file)
    return context


def _ask_for_certificate(context: ssl.SSLContext, client_ca_file: Path) -> None:
    try:
        context.load_verify_locations(client_ca_file)
        pem.check_whole(client_ca_file.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(f"TLS_CLIENT_CA_FILE {client_ca_file} can't be used: {error}") from error
    if not context.get_ca_certs():
        raise CertificateError(f"TLS_CLIENT_CA_FILE {client_ca_file} can't be used: it holds no CA's certificate")
    context.verify_mode = ssl.CERT_OPTIONAL
    pem.trust_partial_chains(context)


@dataclass(frozen=True, slots=True)
class _Made:
    """A context, until when there is nothing in it that has expired, in Unix seconds, and what that is then.

    ``shown`` is the SHA-256 of the certificate that it shows, where that can be found out.
    """

    context: ssl.SSLContext
    good_until: float
    what: str
    shown: str | None

    @property
    def event(self) -> TlsChanged:
        """For the audit trail."""
        cas = self.context.get_ca_certs(binary_form=True)
        return TlsChanged(
            certificate_sha256=self.shown,
            client_cas_sha256=tuple(hashlib.sha256(each).hexdigest() for each in cas),
            expires=rfc3339(self.good_until) if math.isfinite(self.good_until) else None,
        )


class ServerTls:
    """The context for new connections. A bad renewal keeps the last good one; sessions aren't touched by either.

    What has expired is a bad renewal as long as the last one hasn't; else it is used, since there is nothing better.
    ``clock`` gives Unix seconds.
    """

    def __init__(
        self,
        tls: TlsSettings,
        *,
        ask_for_certificate: bool,
        clock: Callable[[], float] = time.time,
        audit: Trail = NO_TRAIL,
    ) -> None:
        self._tls = tls
        self._audit = audit
        self._ask_for_certificate = ask_for_certificate
        self._clock = clock
        known = self._fingerprint()
        self._made = self._make()
        self._warn()
        self._reloader = Reloader(
            period=POLL,
            look=self._fingerprint,
            read=self._read,
            error=CertificateError,
            accept=self._accept,
            refuse=self._refuse,
            known=known,
        )

    @property
    def context(self) -> ssl.SSLContext:
        """Of the last good reading."""
        return self._made.context

    async def look(self) -> None:
        """Look at the files now and take what changed."""
        await self._reloader.look()

    async def keep_fresh(self) -> None:
        """Look again for ever."""
        await self._reloader.keep_fresh()

    def _fingerprint(self) -> Fingerprint:
        files = (self._tls.cert_file, self._tls.key_file, self._tls.client_ca_file)
        return fingerprint(path for path in files if path is not None)

    def _make(self) -> _Made:
        context = make_context(self._tls, ask_for_certificate=self._ask_for_certificate)
        ends = [(_server_certificate_ends(context, self._tls), f"TLS_CERT_FILE {self._tls.cert_file}")]
        if authorities := context.get_ca_certs():
            last = max(ssl.cert_time_to_seconds(str(each["notAfter"])) for each in authorities)
            ends.append((last, f"TLS_CLIENT_CA_FILE {self._tls.client_ca_file}"))
        return _Made(context, *min(ends), _shown(self._tls))

    def _read(self) -> _Made:
        made = self._make()
        if made.good_until < self._clock() <= self._made.good_until:
            raise CertificateError(f"{made.what} has expired")
        return made

    def _accept(self, made: _Made) -> None:
        self._made = made
        metrics.TLS_RELOAD_OK.set(1)
        logger().info("TLS certificate loaded")
        self._audit.emit(made.event)
        self._warn()

    def _warn(self) -> None:
        if self._made.good_until < self._clock():
            logger().warning("a TLS certificate has expired", file=self._made.what)

    def _refuse(self, error: Exception) -> None:
        metrics.TLS_RELOAD_OK.set(0)
        logger().error("the TLS certificate can't be read; the last good one stays in use", error=str(error))


def _shown(tls: TlsSettings) -> str | None:
    """The SHA-256 of the first certificate in its file, which is the one that is shown."""
    try:
        text = tls.cert_file.read_text("ascii", "replace")
        begin = text.index(ssl.PEM_HEADER)
        end = text.index(ssl.PEM_FOOTER, begin) + len(ssl.PEM_FOOTER)
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[begin:end])).hexdigest()
    except (OSError, ValueError):
        return None


def _server_certificate_ends(context: ssl.SSLContext, tls: TlsSettings) -> float:
    """When what ``context`` shows expires, in Unix seconds; that isn't found out of one that no client takes."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= pem.NO_CHECK_TIME
    pem.trust_partial_chains(client)
    try:
        client.load_verify_locations(tls.cert_file)
        found = pem.shown(client, context, server_side=False)
    except (OSError, ValueError):
        return math.inf
    return ssl.cert_time_to_seconds(str(found["notAfter"]))
