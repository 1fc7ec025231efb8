"""Dialling the apiserver: TCP, TLS, and one HTTP exchange on it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakKeyDictionary

import aiohappyeyeballs

from k8s_ws_proxy.errors import ClusterConfigError, UpstreamError, UpstreamRefused, UpstreamUnreachable
from k8s_ws_proxy.relay.stream import Stream, StreamLost
from k8s_ws_proxy.wire.handshake import Exchange, Upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from k8s_ws_proxy.kube.access import Access
    from k8s_ws_proxy.kube.config import Endpoint

_T = TypeVar("_T")

_READ: Final = 32 * 1024  # bytes: a TLS record must fit
_MAX_BODY: Final = 8 * 1024 * 1024  # bytes of a plain answer: a list of pods

# A TLS session of each context, to resume: that halves the work of a handshake, the apiserver's above all. Reading one
# out of OpenSSL costs a quarter of a millisecond (CPython copies it by way of ASN.1), so each is kept for a while; a
# ticket may be used more than once, and an apiserver that won't take it says so with a full handshake (RFC 8446 §2.2).
_sessions: WeakKeyDictionary[ssl.SSLContext, tuple[float, ssl.SSLSession]] = WeakKeyDictionary()
_SESSION_AGE: Final = 300.0  # seconds


@dataclass(frozen=True, slots=True)
class Upstream:
    """An upgraded connection to the apiserver, and what it sent right after the 101."""

    stream: Stream
    subprotocol: str | None
    early: bytes


async def dial(access: Access, path: str) -> Upstream:
    """Open a WebSocket to ``path`` on the apiserver.

    A 401, or a certificate that doesn't verify, has the configuration read again and one more try: a token expires
    and a CA is replaced under a running daemon. Raises UpstreamError; the caller bounds the time.
    """
    try:
        return await _dial_once(access, path)
    except UpstreamRefused as refused:
        if refused.status != 401:
            raise
    except UpstreamUnreachable as error:
        if not isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise
    await access.reread()
    return await _dial_once(access, path)


async def get(access: Access, path: str) -> tuple[int, str, bytes]:
    """Status, content type and body (its first 8 MiB) of a GET; a 401 has the configuration read again, as in dial().

    Raises UpstreamError; the caller bounds the time.
    """
    answer = await _get_once(access, path)
    if answer[0] == 401:
        await access.reread()
        answer = await _get_once(access, path)
    return answer


async def _get_once(access: Access, path: str) -> tuple[int, str, bytes]:
    endpoint = _endpoint(access)
    headers = [("Host", endpoint.authority), ("Accept", "application/json"), ("Connection", "close")]
    if endpoint.authorization:
        headers.append(("Authorization", endpoint.authorization))
    exchange = Exchange(endpoint.prefix + path, headers, max_body=_MAX_BODY)
    async with _connected(access, endpoint) as stream:
        result = await _exchange(stream, exchange.request, exchange.receive)
        stream.close()
    if not isinstance(result, tuple):
        raise UpstreamUnreachable("The apiserver switched protocols on a plain request.")
    access.succeeded()
    return result


async def _dial_once(access: Access, path: str) -> Upstream:
    endpoint = _endpoint(access)
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    upgrade = Upgrade(endpoint.prefix + path, host=endpoint.authority, key=key, authorization=endpoint.authorization)
    async with _connected(access, endpoint) as stream:
        try:
            accepted = await _exchange(stream, upgrade.request, upgrade.receive)
        except UpstreamRefused:
            access.succeeded()
            raise
        access.succeeded()
        return Upstream(stream, accepted.subprotocol, accepted.early)


def _endpoint(access: Access) -> Endpoint:
    try:
        return access.endpoint
    except ClusterConfigError as error:
        raise UpstreamUnreachable("The proxy doesn't know where the apiserver is.", detail=str(error)) from error


@contextlib.asynccontextmanager
async def _connected(access: Access, endpoint: Endpoint) -> AsyncIterator[Stream]:
    """A stream to the apiserver, closed if the block fails; network errors become UpstreamUnreachable."""
    stream = None
    try:
        stream = await _connect(endpoint)
        yield stream
    except (OSError, StreamLost) as error:
        # ssl's errors are OSErrors. The peer isn't told addresses; the log is.
        if stream is not None:
            stream.close()
        access.failed(str(error))
        text = (
            "The apiserver's certificate doesn't verify."
            if isinstance(error, ssl.SSLCertVerificationError)
            else "The apiserver can't be reached."
        )
        raise UpstreamUnreachable(text, detail=str(error)) from error
    except UpstreamError as error:
        if stream is not None:
            stream.close()
        if not isinstance(error, UpstreamRefused):
            access.failed(str(error))
        raise
    except BaseException:
        if stream is not None:
            stream.close()
        raise


async def _connect(endpoint: Endpoint) -> Stream:
    loop = asyncio.get_running_loop()
    infos = await _addresses(endpoint.host, endpoint.port)
    sock = await aiohappyeyeballs.start_connection(infos, loop=loop, happy_eyeballs_delay=0.25)
    if endpoint.tls is None:
        return Stream(sock, loop)
    try:
        secured = endpoint.tls.wrap_socket(
            sock,
            server_hostname=endpoint.server_name,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            session=_session_for(endpoint.tls),
        )
    except BaseException:
        sock.close()
        raise
    stream = Stream(secured, loop)
    try:
        await stream.handshake()
    except BaseException:
        stream.close()
        raise
    return stream


async def _addresses(host: str, port: int) -> list[aiohappyeyeballs.AddrInfoType]:
    """Where to connect. In a cluster the host is an address already, and a thread for looking it up a detour."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    return list(await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))


async def _exchange(stream: Stream, request: bytes, receive: Callable[[bytes], _T | None]) -> _T:
    view = memoryview(request)
    while view:
        sent = stream.write(view)
        if sent is None:
            await stream.writable()
        else:
            view = view[sent:]
    block = bytearray(_READ)
    while True:
        count = stream.read_into(memoryview(block))
        if count is None:
            await stream.readable()
            continue
        _keep_session(stream.tls)
        if (result := receive(bytes(block[:count]))) is not None:
            return result


def _session_for(context: ssl.SSLContext) -> ssl.SSLSession | None:
    kept = _sessions.get(context)
    return kept[1] if kept and time.monotonic() - kept[0] < _SESSION_AGE else None


def _keep_session(tls: ssl.SSLSocket | None) -> None:
    """Keep the session of a full handshake; with TLS 1.3 the tickets come with the first bytes."""
    if tls is not None and not tls.session_reused and (session := tls.session) is not None and session.has_ticket:
        _sessions[tls.context] = (time.monotonic(), session)
