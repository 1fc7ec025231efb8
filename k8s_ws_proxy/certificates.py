"""The TLS listener's context, made from its files and made again when they change (cert-manager renews them)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import CertificateError
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.reload import Fingerprint, Reloader, fingerprint

if TYPE_CHECKING:
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
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"TLS_CERT_FILE {tls.cert_file} and TLS_KEY_FILE {tls.key_file} can't be used together: {error}"
        ) from error
    if ask_for_certificate and tls.client_ca_file is not None:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(f"TLS_CLIENT_CA_FILE {tls.client_ca_file} can't be used: {error}") from error
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


class ServerTls:
    """The context for new connections. A bad renewal keeps the last good one; sessions aren't touched by either."""

    def __init__(self, tls: TlsSettings, *, ask_for_certificate: bool) -> None:
        self._tls = tls
        self._ask_for_certificate = ask_for_certificate
        known = self._fingerprint()
        self.context = self._read()
        self._reloader = Reloader(
            period=POLL,
            look=self._fingerprint,
            read=self._read,
            error=CertificateError,
            accept=self._accept,
            refuse=self._refuse,
            known=known,
        )

    async def look(self) -> None:
        """Look at the files now and take what changed."""
        await self._reloader.look()

    async def keep_fresh(self) -> None:
        """Look again for ever."""
        await self._reloader.keep_fresh()

    def _fingerprint(self) -> Fingerprint:
        files = (self._tls.cert_file, self._tls.key_file, self._tls.client_ca_file)
        return fingerprint(path for path in files if path is not None)

    def _read(self) -> ssl.SSLContext:
        return make_context(self._tls, ask_for_certificate=self._ask_for_certificate)

    def _accept(self, context: ssl.SSLContext) -> None:
        self.context = context
        metrics.TLS_RELOAD_OK.set(1)
        logger().info("TLS certificate loaded")

    def _refuse(self, error: Exception) -> None:
        metrics.TLS_RELOAD_OK.set(0)
        logger().error("the TLS certificate can't be read; the last good one stays in use", error=str(error))
