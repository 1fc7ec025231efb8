"""Whose size a terminal has that several have: its client's, or where that says none, the peers'."""

from __future__ import annotations

import asyncio

import pytest
from support.watched import KEY, Watched, closed, message, repeat

from k8s_ws_proxy.relay import fanout
from k8s_ws_proxy.sessions.record import WatchMode
from k8s_ws_proxy.wire.framing.channels import RESIZE, STDIN
from k8s_ws_proxy.wire.rules.tail import MOST


@pytest.fixture
async def session():
    running = Watched()
    yield running
    running.close()


def a_size(columns, rows):
    return RESIZE, b'{"Width":%d,"Height":%d}' % (columns, rows)


async def test_the_client_s_size_counts_and_not_a_peer_s(session):
    await session.size(80, 24)
    eve = session.watch("eve", WatchMode.PEER)
    assert await eve.message() == a_size(80, 24)
    await eve.say(*a_size(10, 10))
    await eve.say(STDIN, b"who")
    assert await session.upstream.message() == (STDIN, b"who")
    await session.size(81, 24)
    assert await eve.message() == a_size(81, 24)


async def test_a_client_that_says_no_size_leaves_it_to_the_peers(session):
    recorded = session.observe()
    bob, eve = session.watch(), session.watch("eve", WatchMode.PEER)
    await bob.say(*a_size(1, 1))  # who only looks on has no say
    await eve.say(*a_size(100, 30))
    assert await session.upstream.message() == a_size(100, 30)
    assert await bob.message() == await eve.message() == a_size(100, 30)
    dan = session.watch("dan", WatchMode.PEER)
    assert await dan.message() == a_size(100, 30)
    await dan.say(STDIN, b"no size")
    await dan.say(*a_size(90, 20))
    assert await session.upstream.message() == (STDIN, b"no size")
    assert await session.upstream.message() == a_size(90, 20)
    for each in (bob, eve, dan):
        assert await each.message() == a_size(90, 20)
    assert recorded.sizes == [(100, 30), (90, 20)]


async def test_the_size_stays_when_the_peer_that_gave_it_leaves(session):
    eve = session.watch("eve", WatchMode.PEER)
    await eve.say(*a_size(100, 30))
    assert await session.upstream.message() == a_size(100, 30)
    eve.sock.close()
    await closed(session, 1)
    bob = session.watch()
    assert await bob.message() == a_size(100, 30)
    await session.client.say(STDIN, b"ls")
    assert await session.upstream.message() == (STDIN, b"ls")


@pytest.fixture
def slowly(monkeypatch):
    """A peer's second size waits for longer than a test takes."""
    monkeypatch.setattr(fanout, "_BETWEEN_SIZES", 600.0)


@pytest.mark.usefixtures("slowly")
async def test_from_the_client_s_first_size_on_only_the_client_s_count(session):
    eve = session.watch("eve", WatchMode.PEER)
    await eve.say(*a_size(100, 30))
    assert await session.upstream.message() == a_size(100, 30)
    await eve.say(*a_size(101, 30))  # is still to be told, when the client says its own
    await eve.say(STDIN, b"read")
    assert await session.upstream.message() == (STDIN, b"read")
    await session.size(80, 24)
    await eve.say(*a_size(102, 30))
    await eve.say(STDIN, b"too")
    assert await session.upstream.message() == (STDIN, b"too")
    assert [await eve.message(), await eve.message()] == [a_size(100, 30), a_size(80, 24)]
    assert session.bridge.fanout._resizing is not None
    session.bridge.fanout._take_peer_size()  # its time has come
    await session.size(81, 24)
    assert await eve.message() == a_size(81, 24)


async def test_a_client_that_says_the_peer_s_size_has_said_one(session):
    eve = session.watch("eve", WatchMode.PEER)
    await eve.say(*a_size(100, 30))
    assert await session.upstream.message() == a_size(100, 30)
    await session.size(100, 30)
    await eve.say(*a_size(10, 10))
    await eve.say(STDIN, b"who")
    assert await session.upstream.message() == (STDIN, b"who")
    await session.size(101, 30)


async def test_what_is_no_size_changes_nothing(session):
    eve = session.watch("eve", WatchMode.PEER)
    for bad in (b"{}", b"[" * 5000, b'{"Width":0,"Height":0}', b'{"Width":70000,"Height":1}', b"\xff"):
        await eve.say(RESIZE, bad)
    await eve.say(STDIN, b"who")
    assert await session.upstream.message() == (STDIN, b"who")
    assert session.bridge.fanout.size is None
    assert session.bridge.fanout._resizing is None


async def test_a_peer_that_floods_sizes_has_them_told_now_and_then(session):
    """And the last of them counts; what is typed passes meanwhile, and whoever watches isn't let go."""
    bob, eve = session.watch(), session.watch("eve", WatchMode.PEER)
    began = session.loop.time()
    sizes = [message(*a_size(100 + number % 900, 30 + number % 50), KEY) for number in range(20_000)]
    await eve.send(b"".join(sizes) + message(*a_size(77, 33), KEY))
    told = []
    while not told or told[-1] != a_size(77, 33):
        told.append(await session.upstream.message())
    assert {channel for channel, _ in told} == {RESIZE}
    assert len(told) <= 2 + (session.loop.time() - began) / 0.1
    seen = []
    while not seen or seen[-1] != a_size(77, 33):
        seen.append(await bob.message())
    assert seen == told
    assert session.budget.held < 1 << 18


async def test_a_size_waits_while_the_apiserver_takes_nothing(session):
    eve = session.watch("eve", WatchMode.PEER)
    flood = session.loop.create_task(repeat(session.client, message(STDIN, b"c" * 30_000, KEY), 100))
    while not session.bridge._upstream.waiting:  # noqa: ASYNC110 - it fills in passing
        await asyncio.sleep(0)
    for columns in (90, 100):
        await eve.say(*a_size(columns, 30))
    while session.bridge.fanout._peer_size != (100, 30):  # noqa: ASYNC110 - it is read in passing
        await asyncio.sleep(0)
    assert session.bridge.fanout.size is None
    flood.cancel()
    sizes = []
    while not sizes:
        said = await session.upstream.message()
        if said[0] == RESIZE:
            sizes.append(said)
    assert sizes == [a_size(100, 30)]
    assert await eve.message() == a_size(100, 30)


async def test_a_size_waits_while_an_observer_is_full(session):
    recorded = session.observe()
    recorded.full = True
    eve = session.watch("eve", WatchMode.PEER)
    await eve.say(*a_size(100, 30))
    fanout = session.bridge.fanout
    while fanout._peer_size is None or fanout._resizing is None:  # noqa: ASYNC110 - it is read in passing
        await asyncio.sleep(0)
    fanout._take_peer_size()
    assert (fanout.size, recorded.sizes) == (None, [])
    recorded.full = False
    session.bridge.go_on()
    assert await session.upstream.message() == a_size(100, 30)
    assert recorded.sizes == [(100, 30)]


@pytest.mark.usefixtures("slowly")
async def test_a_session_that_ends_forgets_a_size_that_was_to_come(session):
    eve = session.watch("eve", WatchMode.PEER)
    for columns in (90, 100):
        await eve.say(*a_size(columns, 30))
        await eve.say(STDIN, b"read")
    fanout = session.bridge.fanout
    while fanout._peer_size != (100, 30):  # noqa: ASYNC110 - it is read in passing
        await asyncio.sleep(0)
    waiting = fanout._resizing
    session.bridge.abort()
    assert waiting.cancelled()


async def test_a_program_that_is_made_to_draw_has_the_peer_s_size_again(session):
    eve = session.watch("eve", WatchMode.PEER)
    await eve.say(*a_size(80, 24))
    assert await session.upstream.message() == a_size(80, 24)
    for number in range(3):
        await session.said(b"x" * MOST + b"#%d" % number)
    session.watch()
    assert await session.upstream.message() == a_size(79, 24)
    assert await session.upstream.message() == a_size(80, 24)
