"""What an upgrade offers, and what may stand beside it."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from k8s_ws_proxy.errors import Refusal
from k8s_ws_proxy.relay.read_budget import ReadBudget
from k8s_ws_proxy.settings import Address
from k8s_ws_proxy.web.handshakes import Handshakes
from k8s_ws_proxy.web.listener import Listener, bind
from k8s_ws_proxy.web.pending import PendingConnections
from k8s_ws_proxy.web.upgrade import Hijacked, hijack, offered_subprotocols, parse_offer
from k8s_ws_proxy.wire.framing.channels import SUBPROTOCOLS

HEAD = (
    "GET /proxy/exec/default/web HTTP/1.1\r\n"
    "Host: proxy\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
FRAMES = bytes(range(256))


def test_subprotocols_are_those_of_all_headers_in_order():
    offered = CIMultiDict([("Sec-WebSocket-Protocol", "a , b"), ("sec-websocket-protocol", ",c")])
    assert offered_subprotocols(CIMultiDictProxy(offered)) == ["a", "b", "c"]


@pytest.fixture
async def came():
    """The port where upgrades are asked for, and of each that was one what came behind its head."""
    loop = asyncio.get_running_loop()
    behind: list[bytes] = []

    async def answer(request):
        try:
            parse_offer(request, SUBPROTOCOLS)
        except Refusal as refusal:
            return web.Response(status=refusal.reason.rule.status)
        stream, early = hijack(request)
        behind.append(early)
        stream.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        stream.close()
        return Hijacked()

    server = web.Server(answer)
    listener = Listener(
        bind(Address("127.0.0.1", 0)),
        server,
        loop=loop,
        block=ReadBudget(loop.time).block,
        head_timeout=60.0,
        pending=PendingConnections(loop, lambda: 9),
        idle=PendingConnections(loop, lambda: 9),
        handshakes=Handshakes(loop),
    )
    yield listener.port, behind
    listener.close()
    await server.shutdown(0.1)


async def status_of(port, *lines):
    """That of the answer to an upgrade with ``lines`` in its head, and frames right behind it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([HEAD + lines[0], *lines[1:], "", ""]).encode() + FRAMES)
    head = await reader.readuntil(b"\r\n")
    writer.transport.abort()
    return int(head.split()[1])


@pytest.mark.parametrize("line", ["X: y", "Content-Length: 0", "content-length:0", "Content-Length: \t0 "])
async def test_what_comes_behind_the_head_is_no_body(came, line):
    """RFC 9110 §8.6: a length of 0 says that there is none."""
    port, behind = came
    assert await status_of(port, line) == 101
    assert behind == [FRAMES]


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 00",),
        ("Content-Length: +0",),
        ("Content-Length: -0",),
        ("Content-Length: 0x0",),
        ("Content-Length:",),
        ("Content-Length: 0, 0",),
        ("Content-Length: 0", "Content-Length: 0"),
        ("Content-Length: 0", "Content-Length: 3"),
        ("Content-Length: 3",),
        ("Content-Length: 0", "Transfer-Encoding: chunked"),
        ("Content-Length: 0", "Transfer-Encoding: identity"),
        ("Transfer-Encoding: identity",),
        ("Content-Length: 0", "Expect: 100-continue"),
    ],
    ids=" and ".join,
)
async def test_what_speaks_of_a_body_is_refused(came, lines):
    port, behind = came
    assert await status_of(port, *lines) == 400
    assert behind == []
