"""A page, whose marks come behind what is typed, and a program that writes before it reads on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque

import pytest
from support.watched import HEAD, KEY, connection, message

from k8s_ws_proxy.relay.bridge import Bridge
from k8s_ws_proxy.relay.read_budget import ReadBudget
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import MARK, STDIN, STDOUT
from k8s_ws_proxy.wire.rules.aside import MOST_AHEAD, AsideRelay

PART = 4096  # bytes of a message on stdin, as client.js sends them
PASTED = 512 * 1024  # bytes: of what is written of that, the proxy and the kernels hold a part
TYPED = 200 * 1024  # bytes: more than the kernels before a program hold
SMALL = 32 * 1024  # bytes that a kernel holds
TIMES = 4  # as much is written as was read
OUTPUT = message(STDOUT, b"x" * PART)


class Page:
    """Reads whatever comes, and sends each mark back behind what it has to send already."""

    def __init__(self, sock):
        self._sock = sock
        self._to_send = deque()
        self._more = asyncio.Event()
        self._head = True
        self.answers = True
        self.shown = 0  # bytes of output

    def send(self, *messages):
        self._to_send.extend(messages)
        self._more.set()

    async def write(self):
        while True:
            while self._to_send:
                await asyncio.get_running_loop().sock_sendall(self._sock, self._to_send.popleft())
            self._more.clear()
            await self._more.wait()

    async def read(self, count):
        """Until there were so many bytes of output."""
        data = b""
        while self.shown < count:
            more = await asyncio.get_running_loop().sock_recv(self._sock, 65536)
            assert more, "the session is over"
            data += more
            if self._head:
                data = data.removeprefix(HEAD)
                self._head = False
            data = self._take(data)

    def _take(self, data):
        pos = 0
        while (head := frames.parse_header(data, pos, len(data), masked=False)) is not None:
            start, after = pos + head.size, pos + head.size + head.length
            if after > len(data):
                break
            if data[start] == STDOUT:
                self.shown += head.length - 1
            elif data[start] == MARK and self.answers:
                self.send(message(MARK, data[start + 1 : after], KEY))
            pos = after
        return data[pos:]


@contextlib.asynccontextmanager
async def beside(coro):
    """Have ``coro`` run beside what is in the block."""
    task = asyncio.get_running_loop().create_task(coro)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def session():
    """The session, the page, and the apiserver's end."""
    loop = asyncio.get_running_loop()
    (near_client, client), (near_upstream, upstream) = connection(), connection()
    near_upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    upstream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    running = Bridge(
        loop,
        ReadBudget(loop.time),
        Stream(near_client, loop),
        Stream(near_upstream, loop),
        ping_period=30.0,
        on_end=lambda _: None,
        on_closed=lambda _: None,
        relay=AsideRelay,
    )
    running.start(HEAD)
    page = Page(client)
    async with beside(page.write()):
        yield running, page, upstream
    running.abort()
    client.close()
    upstream.close()


async def echo(sock):
    """A program that reads on only when all that it has to say of what it read is written."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, PART):
        await loop.sock_sendall(sock, message(STDOUT, b"x" * len(data)) * TIMES)


async def flood(sock):
    """One that only writes."""
    while True:
        await asyncio.get_running_loop().sock_sendall(sock, OUTPUT)


async def test_a_large_paste_and_what_is_written_of_it_both_arrive(session):
    """The marks are behind all of it: the proxy can't read them before the program reads, nor that before it writes."""
    _running, page, upstream = session
    page.send(*[message(STDIN, b"y" * PART, KEY)] * (PASTED // PART))
    async with beside(echo(upstream)):
        await page.read(TIMES * PASTED)


async def test_a_peer_s_large_paste_does_not_hold_up_the_output_either(session):
    """While upstream takes nothing, whoever typed it, the page isn't read."""
    running, page, upstream = session
    assert running.inject(STDIN, b"p" * TYPED)
    async with beside(flood(upstream)):
        await page.read(3 * MOST_AHEAD)


async def test_output_is_held_for_marks_again_once_all_that_was_typed_is_taken(session):
    running, page, upstream = session
    assert running.inject(STDIN, b"p" * TYPED)
    async with beside(flood(upstream)):
        await page.read(3 * MOST_AHEAD)
        while not running.inject(STDIN, b""):
            await asyncio.get_running_loop().sock_recv(upstream, PART)
        page.answers = False
        async with beside(page.read(99 * MOST_AHEAD)):
            while not running.relay.behind:  # noqa: ASYNC110 - it is read in passing
                await asyncio.sleep(0)
            for _ in range(9):
                running._watch()
                assert running.relay.behind
