"""A session on two real connections, its peers within the test."""

from __future__ import annotations

import asyncio
import socket

import pytest

from k8s_ws_proxy.relay.pace import BLOCK_SIZE, Pace
from k8s_ws_proxy.relay.session import Session
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.wire import frames


def connection():
    """Two ends of one, whose kernels take little."""
    far = socket.socket()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    with socket.create_server(("127.0.0.1", 0)) as server:
        far.connect(server.getsockname())
        near, _ = server.accept()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    far.setblocking(False)
    return near, far


@pytest.fixture
async def session():
    """The session, the client's end and the apiserver's."""
    loop = asyncio.get_running_loop()
    (near_client, client), (near_upstream, upstream) = connection(), connection()
    pace = Pace(loop.time)
    running = Session(
        loop,
        pace,
        Stream(near_client, loop),
        Stream(near_upstream, loop),
        ping_period=30.0,
        on_end=lambda _: None,
        on_closed=lambda _: None,
    )
    running.start(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    yield running, client, upstream, pace
    running.drain(b"", 1, "the test is over")
    running.abort()
    client.close()
    upstream.close()


async def push(sock, data):
    """Send ``data`` again and again, until neither the kernels nor the session take more: the bytes sent."""
    sent, refused = 0, 0
    while refused < 100:
        try:
            sent += sock.send(data[sent % len(data) :])
            refused = 0
        except BlockingIOError:
            refused += 1
        await asyncio.sleep(0)
    return sent


async def take(sock):
    """Read until nothing comes any more: the bytes read."""
    taken, empty = 0, 0
    while empty < 100:
        try:
            taken += len(sock.recv(1 << 20))
            empty = 0
        except BlockingIOError:
            empty += 1
        await asyncio.sleep(0)
    return taken


async def test_an_apiserver_that_pings_and_does_not_read_is_not_read_either(session):
    """As a client that does so isn't."""
    _running, client, upstream, pace = session
    for peer, key in ((upstream, b""), (client, b"\1\2\3\4")):
        ping = frames.frame(frames.PING, b"p" * frames.MAX_CONTROL, key)
        await push(peer, ping)
        assert BLOCK_SIZE < pace.held <= BLOCK_SIZE + 16 * 1024
        await take(peer)
        assert pace.held == 0, "once it reads, it is read again"
