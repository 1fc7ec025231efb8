"""What is said where a proxy gave no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from k8s_ws_proxy.cli.answers import printable
from k8s_ws_proxy.cli.connection import URL_VARIABLE

if TYPE_CHECKING:
    from k8s_ws_proxy.cli.connection import Connection


def no_answer(to: Connection, error: TimeoutError | aiohttp.ClientError) -> str:
    """What to say of it, and what to do."""
    where = to.url
    match error:
        case TimeoutError():
            return f"{where} didn't answer in time: is this the proxy's address?"
        case aiohttp.ClientConnectorCertificateError():
            return (
                f"{where} shows a certificate that can't be trusted: {printable(str(error.certificate_error))}. "
                "If it is signed by a CA of your own, name that CA's file with --cacert (or in SSL_CERT_FILE)"
            )
        case aiohttp.ClientSSLError():
            return f"{where} doesn't speak TLS as it should ({_os_text(error)}): is this its TLS listener?"
        case aiohttp.ClientConnectorDNSError():
            return f"the host {error.host} can't be found: {_os_text(error)}. Check --url or {URL_VARIABLE}"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return (
                f"nothing listens at {where}: start the proxy (k8s-ws-proxy serve, or k8s-ws-proxy dev), "
                f"or say where it is with --url or {URL_VARIABLE}"
            )
        case aiohttp.ClientConnectorError():
            return f"{where} can't be reached: {_os_text(error)}"
        case aiohttp.WSServerHandshakeError():
            return f"{where} answered the upgrade, but not as RFC 6455 asks ({error.message}): is this the proxy?"
        case _ if to.secret is None:
            # A server's alert may be lost in the reset that follows it, so it isn't told from other ends.
            return (
                f"{where} closed the connection in place of an answer ({printable(str(error))}): it doesn't seem to "
                "take the certificate in --cert. Has it expired, or is it of another CA than TLS_CLIENT_CA_FILE there?"
            )
        case _:
            other = "http" if to.url.startswith("https:") else "https"
            return (
                f"{where} closed the connection without an answer ({printable(str(error))}): "
                f"is it perhaps a listener for {other}?"
            )


def _os_text(error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return printable(getattr(cause, "strerror", None) or str(cause))
