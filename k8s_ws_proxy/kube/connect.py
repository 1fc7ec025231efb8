"""A connection to the apiserver: TCP, and TLS where the endpoint has it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import aiohappyeyeballs

from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.relay.tls import Tls

if TYPE_CHECKING:
    import ssl

    from k8s_ws_proxy.kube.config import Endpoint

# A TLS session of each context, to resume: that halves the work of a handshake, the apiserver's above all. Reading one
# out of OpenSSL costs a quarter of a millisecond (CPython copies it by way of ASN.1), so each is kept for a while; a
# ticket may be used more than once, and an apiserver that won't take it says so with a full handshake (RFC 8446 §2.2).
_sessions: WeakKeyDictionary[ssl.SSLContext, tuple[float, ssl.SSLSession]] = WeakKeyDictionary()
_SESSION_AGE: Final = 300.0  # seconds


async def connect(endpoint: Endpoint) -> Stream:
    """Connect and shake hands. Raises OSError, of which ssl's errors are some; the caller bounds the time."""
    loop = asyncio.get_running_loop()
    sock = await _connected(endpoint.host, endpoint.port, loop)
    if endpoint.tls is None:
        return Stream(sock, loop)
    try:
        tls = Tls(
            endpoint.tls,
            server_side=False,
            server_hostname=endpoint.server_name,
            session=_session_for(endpoint.tls),
        )
    except BaseException:
        sock.close()
        raise
    stream = Stream(sock, loop, tls)
    try:
        await stream.handshake()
    except BaseException:
        stream.close()
        raise
    return stream


async def _connected(host: str, port: int, loop: asyncio.AbstractEventLoop) -> socket.socket:
    """A TCP connection. In a cluster the host is an address already: there is nothing to look up or to choose from."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            break
    else:
        infos = list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        return await aiohappyeyeballs.start_connection(infos, loop=loop, happy_eyeballs_delay=0.25)
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        error = sock.connect_ex((host, port))
        if error == errno.EINPROGRESS:  # connect(2)
            await Stream(sock, loop).writable()
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except BaseException:
        sock.close()
        raise
    if error:
        sock.close()
        raise OSError(error, f"{os.strerror(error)}: {host}, port {port}")
    return sock


def _session_for(context: ssl.SSLContext) -> ssl.SSLSession | None:
    kept = _sessions.get(context)
    return kept[1] if kept and time.monotonic() - kept[0] < _SESSION_AGE else None


def keep_session(tls: ssl.SSLObject | None) -> None:
    """Keep the session of a full handshake; with TLS 1.3 the tickets come with the first bytes."""
    if tls is not None and not tls.session_reused and (session := tls.session) is not None and session.has_ticket:
        _sessions[tls.context] = (time.monotonic(), session)
