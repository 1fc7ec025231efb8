"""A connection to the apiserver: TCP, and TLS where the endpoint has it."""

from __future__ import annotations

import asyncio
import contextlib
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
    infos = await _addresses(endpoint.host, endpoint.port)
    sock = await aiohappyeyeballs.start_connection(infos, loop=loop, happy_eyeballs_delay=0.25)
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


async def _addresses(host: str, port: int) -> list[aiohappyeyeballs.AddrInfoType]:
    """Where to connect. In a cluster the host is an address already, and a thread for looking it up a detour."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    return list(await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _session_for(context: ssl.SSLContext) -> ssl.SSLSession | None:
    kept = _sessions.get(context)
    return kept[1] if kept and time.monotonic() - kept[0] < _SESSION_AGE else None


def keep_session(tls: ssl.SSLObject | None) -> None:
    """Keep the session of a full handshake; with TLS 1.3 the tickets come with the first bytes."""
    if tls is not None and not tls.session_reused and (session := tls.session) is not None and session.has_ticket:
        _sessions[tls.context] = (time.monotonic(), session)
