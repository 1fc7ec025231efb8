"""A body that goes on, from a node that may die without a word."""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web
from aiohttp.test_utils import TestServer

from k8s_ws_proxy.cli.client import download
from k8s_ws_proxy.cli.connection import Connection
from k8s_ws_proxy.cli.signer import Signer
from k8s_ws_proxy.cli.signing import Signing


async def test_the_peer_of_a_download_is_asked_whether_it_lives():
    left = asyncio.Event()

    async def handler(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"one")
        await left.wait()
        return answer

    application = web.Application()
    application.router.add_get("/", handler)
    async with TestServer(application) as server:
        to = Connection(str(server.make_url("")).rstrip("/"), Signing(), b"k" * 32)
        async with download(Signer(to, "/")) as body:
            assert await body.read(10) == b"one"
            connected = body._protocol.transport.get_extra_info("socket")
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            assert [connected.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [30, 10, 4]
            left.set()
