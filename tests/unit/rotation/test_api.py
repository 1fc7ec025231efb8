"""How long an answer of the apiserver's may take, and whose clock counts."""

from __future__ import annotations

import asyncio
import contextlib
from email.utils import formatdate

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from k8s_ws_proxy.errors import ClusterApiTimeout
from k8s_ws_proxy.rotation.api import Api, Where

THEN = 1_735_689_600.0


@contextlib.asynccontextmanager
async def slow(pause, *times):
    """An apiserver that pauses in the middle of its answer. Its clock says ``times``, one after the other."""
    dates = [formatdate(when, usegmt=True) for when in times]

    async def handler(request):
        answer = web.StreamResponse(headers={"Date": dates.pop(0)} if dates else None)
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


async def test_what_time_it_was_is_when_the_head_came():
    async with slow(1.5, THEN) as api:
        assert (await api.request("GET", "/")).received > THEN


@pytest.mark.parametrize("off", [-200, 200])
async def test_the_clock_of_a_pod_behind_the_apiserver_s_proxy_is_not_the_one_that_counts(off):
    async with slow(0, THEN, THEN + off, THEN + 100) as api:
        await api.request("GET", "/")
        answer = await api.request("GET", "/", of_a_pod=True)
        assert answer.received == pytest.approx(THEN, abs=50)
        await api.request("GET", "/")
        assert api.now() == pytest.approx(THEN + 100, abs=50), "the apiserver's own: this machine may have slept"
