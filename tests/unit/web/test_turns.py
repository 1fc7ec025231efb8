"""When what costs its time may cost it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from k8s_ws_proxy.errors import Reason
from k8s_ws_proxy.web.turns import OneAtATime, Turns

LONG = SimpleNamespace(size=128 * 1024)


async def test_at_most_one_goes_on_in_a_turn_in_the_order_of_coming_and_who_has_left_costs_none():
    work, done = OneAtATime(), []

    async def one(number):
        await work.turn()
        done.append(number)

    going = [asyncio.ensure_future(one(number)) for number in range(20)]  # noqa: TID251
    turns, before = 0, 0
    while len(done) < 10:
        await asyncio.sleep(0)
        assert len(done) - before <= 1
        turns, before = turns + 1, len(done)
    for each in going[10:15]:
        each.cancel()
    await asyncio.wait(going)
    assert done == [*range(10), *range(15, 20)]
    assert turns >= 10


async def test_long_requests_that_wait_to_be_taken_apart_have_a_bound():
    """They have no slot yet: a thousand of 128 KiB would hold a gigabyte."""
    turns = Turns()
    going = [asyncio.ensure_future(turns.take_apart(LONG)) for _ in range(1000)]  # noqa: TID251
    await asyncio.wait(going)
    refused = [each for each in going if each.exception() is not None]
    assert {each.exception().reason for each in refused} == {Reason.TOO_MANY_HANDSHAKES}
    assert 1 <= len(going) - len(refused) < 20
    await turns.take_apart(LONG)


async def test_orders_that_wait_have_the_same_one_by_what_their_bodies_take():
    turns = Turns()
    going = [asyncio.ensure_future(turns.take_apart_order(bytes(64 * 1024))) for _ in range(1000)]  # noqa: TID251
    await asyncio.wait(going)
    refused = [each for each in going if each.exception() is not None]
    assert {each.exception().reason for each in refused} == {Reason.TOO_MANY_HANDSHAKES}
    assert len(going) - len(refused) == 257, "one need not wait"
