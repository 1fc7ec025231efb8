"""Somebody else's terminal, whose proxy says nothing any more while the connection lives on."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from k8s_ws_proxy.cli.client import Upgraded
from k8s_ws_proxy.cli.watch import watch_session
from k8s_ws_proxy.wire.framing.channels import STATUS


@contextlib.asynccontextmanager
async def joined(serve):
    """The terminal that ``serve`` has at the other end."""

    async def handler(request):
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        await serve(ws)
        return ws

    application = web.Application()
    application.router.add_get("/", handler)
    async with (
        TestServer(application) as server,
        aiohttp.ClientSession() as session,
        session.ws_connect(server.make_url("/"), autoping=False, decode_text=False) as ws,
    ):
        yield Upgraded(ws, "")


async def test_a_101_and_then_nothing_has_an_end():
    left = asyncio.Event()

    async def serve(_ws):
        await left.wait()

    @contextlib.asynccontextmanager
    async def opening():
        async with joined(serve) as opened:
            try:
                yield opened
            finally:
                left.set()

    ending = await watch_session(opening(), peer=False, patience=0.2)
    assert (ending.status, ending.message) == (
        1,
        "no sign of life from the proxy for 0.2 s. The session may go on",
    )


async def test_a_pong_is_a_sign_of_life():
    async def serve(ws):
        for _ in range(6):
            message = await ws.receive()
            assert message.type is aiohttp.WSMsgType.PING
            await ws.pong(message.data)
        await ws.send_bytes(bytes((STATUS,)) + b'{"status":"Success"}')
        await ws.close()

    ending = await watch_session(joined(serve), peer=False, patience=1.0)
    assert (ending.status, ending.message) == (0, "the session has ended, with exit status 0")


async def test_who_is_let_go_is_told_why():
    async def serve(ws):
        await ws.close(code=1008, message=b"too_slow")

    ending = await watch_session(joined(serve), peer=False)
    assert (ending.status, ending.message) == (1, "the proxy let you go: too_slow. The session may go on")
