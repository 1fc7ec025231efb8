"""A session on two real connections, its peers within the test."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import socket

import pytest
from support.watched import stuck

from k8s_ws_proxy.relay import bridge
from k8s_ws_proxy.relay.bridge import Bridge
from k8s_ws_proxy.relay.read_budget import BLOCK_SIZE, ReadBudget
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.rules.guacd import CLOSE_AFTER, GuacdRelay
from k8s_ws_proxy.wire.rules.relay import CLOSING, Ending

HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


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
    budget = ReadBudget(loop.time)
    running = Bridge(
        loop,
        budget,
        Stream(near_client, loop),
        Stream(near_upstream, loop),
        ping_period=30.0,
        on_end=lambda _: None,
        on_closed=lambda _: None,
    )
    running.start(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    yield running, client, upstream, budget
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
    _running, client, upstream, budget = session
    for peer, key in ((upstream, b""), (client, b"\1\2\3\4")):
        ping = frames.frame(frames.PING, b"p" * frames.MAX_CONTROL, key)
        await push(peer, ping, lambda: budget.held > BLOCK_SIZE)
        turns = itertools.count()
        await push(peer, ping, lambda turns=turns: next(turns) == 2000)
        assert budget.held <= 2 * BLOCK_SIZE + 8 * 1024, "500 KiB a session: what waits, and what waits for its turn"
        while budget.held:  # once it reads, it is read again
            with contextlib.suppress(BlockingIOError):
                peer.recv(1 << 20)
            await asyncio.sleep(0)


async def test_a_close_that_waits_holds_up_neither_what_is_said_nor_upstream():
    """guacd's: it comes half a second after the 101; the apiserver's connection is closed in the same turn."""
    loop = asyncio.get_running_loop()
    (near_client, client), (near_upstream, upstream) = connection(), connection()
    ended = loop.create_future()
    running = Bridge(
        loop,
        ReadBudget(loop.time),
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
    running = Bridge(
        loop,
        ReadBudget(loop.time),
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
    assert not any(id(each) == number and isinstance(each, Bridge) for each in gc.get_objects())


@pytest.fixture
async def unread(monkeypatch):
    """A session whose client has read nothing of a flood; what it comes to; the client's end."""
    monkeypatch.setattr(bridge, "_LAST_WORDS", 0.05)
    loop = asyncio.get_running_loop()
    (near_client, client), (near_upstream, upstream) = connection(), connection()
    came_to = asyncio.Queue()
    running = Bridge(
        loop,
        ReadBudget(loop.time),
        Stream(near_client, loop),
        Stream(near_upstream, loop),
        ping_period=30.0,
        on_end=lambda running: came_to.put_nowait(running.relay.ending),
        on_closed=lambda _: came_to.put_nowait("closed"),
    )
    running.start(HEAD)
    flooding = loop.create_task(push(upstream, said(b"y" * 1000), lambda: running.relay.phase is CLOSING))
    await stuck(running)
    yield running, came_to, client
    running.abort()
    await flooding
    client.close()
    upstream.close()


async def test_a_client_that_reads_nothing_does_not_keep_a_session_that_somebody_ends(unread):
    running, came_to, _client = unread
    running.terminate(b"no more", 1, "no more")
    assert [await came_to.get(), await came_to.get()] == [Ending.TERMINATED, "closed"]


async def test_nor_one_that_is_ending_when_somebody_does(unread):
    running, came_to, _client = unread
    running.give_up(b"no more", 1, "no more")
    running.hurry()
    assert [await came_to.get(), await came_to.get()] == [Ending.RECORDING_FAILED, "closed"]


async def test_one_that_has_paused_keeps_nothing_from_being_written_down_and_gets_the_rest_when_it_reads(unread):
    running, came_to, client = unread
    running.give_up(b"no more", 1, "the disk is full")
    assert await came_to.get() is Ending.RECORDING_FAILED
    assert running._client.waiting
    seen = b""
    while more := await asyncio.get_running_loop().sock_recv(client, 65536):
        seen += more
    assert seen.endswith(frames.frame(frames.CLOSE, frames.close_payload(1011, "the disk is full")))
    assert b'"status": "Failure"' in seen
    client.close()
    assert await came_to.get() == "closed"


class Told:
    """An observer that writes down what it is told."""

    def __init__(self):
        self.full, self.takes_input = False, True
        self.shown, self.typed, self.ends = b"", b"", []

    def output(self, _channel, data):
        self.shown += data

    def input(self, data):
        self.typed += data

    def resized(self, columns, rows):
        pass

    def status(self, payload):
        pass

    def ended(self, relay):
        self.ends.append(relay.ending)


def said(text, key=b""):
    return frames.frame(frames.BINARY, (b"\0" if key else b"\1") + text, key)


async def got(sock, count):
    data = b""
    while len(data) < count:
        data += await asyncio.get_running_loop().sock_recv(sock, 65536)
    return data


async def test_an_observer_sees_both_directions_and_the_end(session):
    running, client, upstream, _budget = session
    told = Told()
    running.observe(told)
    client.send(said(b"ls\r", b"\1\2\3\4"))
    assert len(await got(upstream, 10)) == 10
    upstream.send(said(b"a b"))
    assert await got(client, len(HEAD) + 6) == HEAD + said(b"a b")
    assert (told.shown, told.typed, told.ends) == (b"a b", b"ls\r", [])
    client.close()
    while not told.ends:  # noqa: ASYNC110 - it is told in passing
        await asyncio.sleep(0)
    assert [ending.value for ending in told.ends] == ["client_left"]


async def test_an_observer_that_leaves_is_told_no_more(session):
    running, client, upstream, _budget = session
    told = Told()
    running.observe(told)
    running.leave(told)
    upstream.send(said(b"a"))
    await got(client, len(HEAD) + 4)
    client.close()
    assert (told.shown, told.ends) == (b"", [])


async def test_an_observer_that_is_full_holds_the_session_back_and_loses_nothing(session):
    running, client, upstream, budget = session
    told = Told()
    running.observe(told)
    await got(client, len(HEAD))
    told.full = True
    running.go_on()
    upstream.send(said(b"late"))
    turns = itertools.count()
    await push(upstream, said(b"x" * 999), lambda: next(turns) == 500)
    assert told.shown == b""
    assert budget.held == 0, "nothing is read, so nothing is held"
    with pytest.raises(BlockingIOError):
        client.recv(1)
    told.full = False
    running.go_on()
    assert (await got(client, 7))[:7] == said(b"late")
    assert told.shown.startswith(b"late")


async def test_somebody_besides_the_client_may_type(session):
    running, client, upstream, _budget = session
    told = Told()
    running.observe(told)
    begun = frames.frame(frames.BINARY, b"\0" + b"c" * 9000, b"\1\2\3\4")
    client.send(begun[:4500])  # in the middle of a message of the client's
    await got(upstream, 2000)
    assert running.inject(0, b"peer")
    client.send(begun[4500:])
    while told.typed.count(b"c") < 9000:  # noqa: ASYNC110 - it is told in passing
        await asyncio.sleep(0)
    assert told.typed.replace(b"c", b"") == b"peer"


async def test_who_types_into_a_session_that_takes_nothing_is_told_so(session):
    running, client, _upstream, _budget = session
    count = 0
    while running.inject(0, b"p" * 65536):
        count += 1
    assert count < 100
    client.close()
    running.drain(b"", 1, "over")
    assert not running.inject(0, b"p")


async def test_who_types_into_a_session_whose_observer_is_full_is_told_so(session):
    """A recording of what is typed, whose disk hangs: a peer is held back as the client is."""
    running, client, _upstream, _budget = session
    told = Told()
    running.observe(told)
    told.full = True
    assert not running.inject(0, b"p")
    assert not running.type(b"p")
    told.full = False
    assert running.type(b"p")
    assert told.typed == b"p"
    client.close()
