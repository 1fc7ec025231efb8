"""How long an answer of the apiserver's may take."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from k8s_ws_proxy.errors import ClusterApiTimeout
from k8s_ws_proxy.rotation.api import Api, Where


@contextlib.asynccontextmanager
async def slow(pause):
    """An apiserver that pauses in the middle of its answer."""

    async def handler(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"one")
        await asyncio.sleep(pause)
        await answer.write(b"two")
        return answer

    application = web.Application()
    application.router.add_get("/", handler)
    async with TestServer(application) as server:
        configuration = client.Configuration(host=str(server.make_url("")).rstrip("/"))
        api = Api(configuration, Where(), "default")
        try:
            yield api
        finally:
            await api.close()


async def test_a_body_has_a_time_of_its_own():
    async with slow(1.5) as api:
        answer = await api.request("GET", "/", timeout=1.0, body_timeout=30.0)
        assert answer.body == b"onetwo"
        assert answer.received - answer.sent > 1.0


@pytest.mark.parametrize("times", [{"timeout": 1.0}, {"timeout": 30.0, "body_timeout": 1.0}])
async def test_the_time_that_it_had_is_said(times):
    async with slow(30) as api:
        with pytest.raises(ClusterApiTimeout, match="within 1 s") as raised:
            await api.request("GET", "/", **times)
        assert raised.value.within == 1.0
