"""Waiting for the apiserver: as long as there is time, and as the daemon lasts."""

from __future__ import annotations

import asyncio

import pytest

from k8s_ws_proxy.errors import Reason, Refusal, UpstreamTimeout
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.registry import Registry
from k8s_ws_proxy.web.upstream import reach


class Apiserver:
    """What a dial's end tells of it."""

    def __init__(self):
        self.told = []

    def timed_out(self):
        self.told.append("timed out")


@pytest.fixture
def apiserver():
    return Apiserver()


@pytest.fixture
def registry():
    return Registry(quotas(1), lambda: 0.0)


@pytest.fixture
def start(apiserver, registry):
    """Begins to wait for a dial, a minute at most, and lets it begin; what it is to drop is in ``start.dropped``."""

    async def begin(dial):
        until = asyncio.get_running_loop().time() + 60
        waiting = asyncio.ensure_future(  # noqa: TID251
            reach(dial, apiserver, registry, until=until, within=60, drop=begin.dropped.append)
        )
        await asyncio.sleep(0)
        return waiting

    begin.dropped = []
    return begin


async def turned_away(waiting):
    with pytest.raises(Refusal) as refusal:
        await waiting
    return refusal.value.reason is Reason.SHUTTING_DOWN


async def test_what_is_reached_in_time(start):
    answer = asyncio.get_running_loop().create_future()
    waiting = await start(lambda: answer)
    answer.set_result("it")
    assert await waiting == "it"
    assert start.dropped == []


async def test_at_the_drain_s_end_nobody_waits_any_more_and_the_apiserver_is_not_blamed(start, registry, apiserver):
    waiting = await start(asyncio.get_running_loop().create_future)
    registry.turn_away()
    assert await turned_away(waiting)
    assert (apiserver.told, start.dropped) == ([], [])


async def test_what_is_reached_in_that_very_moment_is_dropped(start, registry, apiserver):
    answer = asyncio.get_running_loop().create_future()
    waiting = await start(lambda: answer)
    answer.set_result("it")
    registry.turn_away()
    assert await turned_away(waiting)
    assert (apiserver.told, start.dropped) == ([], ["it"])


async def test_after_it_nothing_is_dialled(start, registry):
    registry.turn_away()
    assert await turned_away(await start(lambda: pytest.fail("dialled")))


async def timed_out(apiserver, registry, *, left, within):
    until = asyncio.get_running_loop().time() + left
    never = asyncio.get_running_loop().create_future
    with pytest.raises(UpstreamTimeout) as timeout:
        await reach(never, apiserver, registry, until=until, within=within, drop=pytest.fail)
    return str(timeout.value)


async def test_an_apiserver_that_had_its_time_is_suspected(apiserver, registry):
    assert await timed_out(apiserver, registry, left=0.01, within=0.01) == "The apiserver didn't answer within 0.01 s."
    assert apiserver.told == ["timed out"]


async def test_one_that_a_slow_client_left_no_time_is_not(apiserver, registry):
    text = await timed_out(apiserver, registry, left=0.01, within=10)
    assert text == "Of the request's 10 s too little was left for the apiserver."
    assert apiserver.told == []


async def test_one_that_is_over_is_not_cut_short(start, registry):
    answer = asyncio.get_running_loop().create_future()
    waiting = await start(lambda: answer)
    answer.set_result("it")
    await waiting
    registry.turn_away()
