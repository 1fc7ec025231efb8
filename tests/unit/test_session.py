"""A session on two real connections, its peers within the test."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import socket

import pytest

from k8s_ws_proxy.relay.pace import BLOCK_SIZE, Pace
from k8s_ws_proxy.relay.session import Session
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.wire import frames
from k8s_ws_proxy.wire.guacd import CLOSE_AFTER, GuacdRelay


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


async def push(sock, data, until):
    """Send ``data`` again and again, as far as the kernel takes it, one turn of the loop after the other."""
    sent = 0
    while not until():
        with contextlib.suppress(BlockingIOError):
            sent += sock.send(data[sent % len(data) :])
        await asyncio.sleep(0)


async def test_an_apiserver_that_pings_and_does_not_read_is_not_read_either(session):
    """As a client that does so isn't."""
    _running, client, upstream, pace = session
    for peer, key in ((upstream, b""), (client, b"\1\2\3\4")):
        ping = frames.frame(frames.PING, b"p" * frames.MAX_CONTROL, key)
        await push(peer, ping, lambda: pace.held > BLOCK_SIZE)
        turns = itertools.count()
        await push(peer, ping, lambda turns=turns: next(turns) == 2000)
        assert pace.held <= 2 * BLOCK_SIZE + 8 * 1024, "500 KiB a session: what waits, and what waits for its turn"
        while pace.held:  # once it reads, it is read again
            with contextlib.suppress(BlockingIOError):
                peer.recv(1 << 20)
            await asyncio.sleep(0)


async def test_a_close_that_waits_holds_up_neither_what_is_said_nor_upstream():
    """guacd's: it comes half a second after the 101; the apiserver's connection is closed in the same turn."""
    loop = asyncio.get_running_loop()
    (near_client, client), (near_upstream, upstream) = connection(), connection()
    ended = loop.create_future()
    running = Session(
        loop,
        Pace(loop.time),
        Stream(near_client, loop),
        Stream(near_upstream, loop),
        ping_period=30.0,
        on_end=lambda _: None,
        on_closed=ended.set_result,
        relay=GuacdRelay,
    )
    with client, upstream:
        began = loop.time()
        running.start(b"HEAD")
        running.drain(b"bye", 1, "")
        data = b""
        while b"bye" not in data:
            data += await loop.sock_recv(client, 4096)
        said = data
        assert frames.frame(frames.CLOSE, b"\x03\xe9") not in said
        while await loop.sock_recv(upstream, 4096):
            pass
        assert running.timer is not None, "the client's side is open still"
        while more := await loop.sock_recv(client, 4096):
            data += more
        assert loop.time() - began >= CLOSE_AFTER
        assert data.endswith(frames.frame(frames.CLOSE, b"\x03\xe9"))
        client.close()
        await ended


async def test_a_session_that_is_over_is_not_kept_for_its_last_timer():
    """It gives its peer ten seconds to close; one that has closed needn't be remembered so long, with its TLS state."""
    loop = asyncio.get_running_loop()
    (near_client, client), (near_upstream, upstream) = connection(), connection()
    closed = asyncio.Event()
    running = Session(
        loop,
        Pace(loop.time),
        Stream(near_client, loop),
        Stream(near_upstream, loop),
        ping_period=30.0,
        on_end=lambda _: None,
        on_closed=lambda _: closed.set(),
    )
    running.start(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    running.drain(b"", 1, "over")
    number = id(running)
    del running
    client.close()
    upstream.close()
    await asyncio.wait_for(closed.wait(), 10)
    await asyncio.sleep(0)
    gc.collect()
    assert not any(id(each) == number and isinstance(each, Session) for each in gc.get_objects())
