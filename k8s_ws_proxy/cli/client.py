"""A command's way to the proxy: the signed upgrade, and what to do about each failure."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

import aiohttp
from yarl import URL

from k8s_ws_proxy.cli.connection import URL_VARIABLE, Connection
from k8s_ws_proxy.errors import ProxyError, Reason
from k8s_ws_proxy.wire.framing.channels import SUBPROTOCOLS
from k8s_ws_proxy.wire.requests.signing import signed_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

_CONNECT: Final = 10.0  # seconds for TCP and TLS
_HANDSHAKE: Final = 60.0  # seconds for the 101: the proxy has its own, shorter limit and tells it better
_CLOSE: Final = 2.0  # seconds for the other side to take our close frame and answer it
_LARGEST_MESSAGE: Final = 32 << 20  # bytes; docs/observed.md, "Frames": it drops more itself
_UPGRADE_REQUIRED: Final = 426
_LARGEST_BODY: Final = 64 * 1024  # bytes of a refusal that are read

# Only a connection without traffic is asked whether it still lives; one that is busy never is.
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


@contextlib.asynccontextmanager
async def upgraded(
    to: Connection, path: str, query: str, subprotocols: Sequence[str] = SUBPROTOCOLS
) -> AsyncIterator[aiohttp.ClientWebSocketResponse[Any]]:
    """A WebSocket to ``path`` (percent-decoded) of the proxy, until the block is left.

    Raises ProxyError with a sentence that says what to do.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
    transports: list[asyncio.BaseTransport] = []

    async def keep_transport(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await _refuse_all_but_101(request, handler)
        if response.connection is not None and response.connection.transport is not None:
            transports.append(response.connection.transport)
        return response

    async with aiohttp.ClientSession(timeout=timeout, middlewares=(keep_transport,)) as session:
        with _told(to):
            async with asyncio.timeout(_HANDSHAKE):
                ws = await session.ws_connect(
                    _url(to, path, query),
                    protocols=subprotocols,
                    headers=_credential(to, path),
                    ssl=to.tls or True,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE),
                    max_msg_size=_LARGEST_MESSAGE,
                    autoping=False,  # see life.py: answering must not wait for the socket
                    compress=0,
                    decode_text=False,
                )
        for level, option, value in _KEEPALIVE:
            with contextlib.suppress(OSError, AttributeError):
                ws.get_extra_info("socket").setsockopt(level, option, value)
        try:
            yield ws
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE):
                    await ws.close()
            for transport in transports:
                # Both have said their close. asyncio's TLS would wait for a close of its own, in a loop that ends now.
                # Python 3.11.2's has nothing left to abort once it was closed twice, and trips over that.
                with contextlib.suppress(AttributeError):
                    cast("asyncio.Transport", transport).abort()


async def let_in(to: Connection, path: str) -> None:
    """Ask for ``path`` without an upgrade: the proxy says whether it would let us in, and opens nothing.

    Raises ProxyError if it wouldn't, or can't be asked.
    """
    timeout = aiohttp.ClientTimeout(total=_HANDSHAKE, sock_connect=_CONNECT)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        with _told(to):
            async with session.get(
                _url(to, path, ""), headers=_credential(to, path), ssl=to.tls or True, allow_redirects=False
            ) as response:
                body = await _body(response)
    if response.status != _UPGRADE_REQUIRED:
        raise ProxyError(_refusal(response, body))


def _url(to: Connection, path: str, query: str) -> URL:
    return URL(f"{to.url}{quote(path)}?{query}", encoded=True)


def _credential(to: Connection, path: str) -> dict[str, str]:
    """What is signed is what the proxy itself gets to see: a prefix in --url is for whoever stands before it."""
    return {} if to.secret is None else signed_headers(to.secret, path, int(time.time()))


@contextlib.contextmanager
def _told(to: Connection) -> Iterator[None]:
    """What goes wrong before there is an answer, as a ProxyError."""
    try:
        yield
    except TimeoutError as error:
        raise ProxyError(f"{to.url} didn't answer in time: is this the proxy's address?") from error
    except aiohttp.ClientError as error:
        raise ProxyError(_sentence(to, error)) from error


def printable(text: str) -> str:
    """``text`` from a peer, without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


async def _refuse_all_but_101(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Read a refusal while it can be read: ``ws_connect`` throws the body away. No redirect is followed."""
    response = await handler(request)
    if response.status != 101:
        try:
            body = await _body(response)
        except aiohttp.ClientError:
            body = b""
        response.close()
        raise ProxyError(_refusal(response, body))
    return response


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    while len(body) < _LARGEST_BODY and (part := await response.content.read(_LARGEST_BODY)):
        body += part
    return body


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> str:
    status = response.status
    try:
        told = json.loads(body)
        sentence, reason = printable(str(told["error"])), printable(str(told["reason"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        phrase = printable(response.reason or "")
        return (
            f"{response.url.origin()} answered {status} {phrase} and isn't k8s-ws-proxy, by that answer: "
            "check --url, and what stands between"
        )
    lines = [f"the proxy refused ({status} {reason}): {sentence}"]
    if hint := _hint(reason, response):
        lines.append(hint)
    return "\n".join(lines)


def _hint(reason: str, response: aiohttp.ClientResponse) -> str:
    """What to do, beyond what the proxy says itself."""
    match reason:
        case Reason.EXPIRED.value:
            return _clocks(response.headers.get("Date", ""))
        case Reason.BAD_SIGNATURE.value:
            return "Is the file named by --secret-file (or SHARED_SECRET_FILE) the secret that this proxy accepts now?"
        case Reason.MISSING_TIMESTAMP.value | Reason.MISSING_HMAC.value:
            return "They were sent: something between here and the proxy takes the X-Catalyst-... headers out."
        case Reason.SUBJECT_DENIED.value:
            return "CLIENT_CERT_ALLOWED_SUBJECTS of the proxy must hold the CN or a DNS name of the one in --cert."
        case Reason.NAMESPACE_DENIED.value:
            return "Ask whoever runs the proxy to add the namespace, or use a proxy that may reach it."
        case Reason.SUBRESOURCE_DENIED.value:
            return "Ask whoever runs the proxy to switch it on."
        case Reason.PORT_DENIED.value:
            return "Ask whoever runs the proxy to allow the port."
        case Reason.NO_RUNNING_POD.value:
            return "Is the name right, and does a pod of that name or label run?"
        case Reason.TOO_MANY_SESSIONS.value | Reason.SHUTTING_DOWN.value:
            seconds = printable(response.headers.get("Retry-After", ""))
            return f"Try again in {seconds} s." if seconds else "Try again in a while."
    return ""


def _clocks(date: str) -> str:
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return "Set this machine's clock right."
    ahead = round(time.time() - theirs)
    return f"This machine's clock is {abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} the proxy's: set it right."


def _sentence(to: Connection, error: aiohttp.ClientError) -> str:
    where = to.url
    match error:
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


def _os_text(error: aiohttp.ClientError) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return printable(getattr(cause, "strerror", None) or str(cause))
