"""A terminal and those who watch it, on real connections, the apiserver's among them within the test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import struct

import pytest
from structlog.testing import capture_logs
from support.watched import KEY, Watched, closed, message, repeat, stuck

from k8s_ws_proxy.auth.principal import Mode, Principal
from k8s_ws_proxy.relay.feed import MOST_WAITING
from k8s_ws_proxy.relay.tails import Tails
from k8s_ws_proxy.sessions.record import WatchMode
from k8s_ws_proxy.sessions.registry import Termination
from k8s_ws_proxy.sessions.watching import Watcher
from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import RESIZE, STATUS, STDIN, STDOUT
from k8s_ws_proxy.wire.rules.guacd import GuacdRelay
from k8s_ws_proxy.wire.rules.relay import Ending
from k8s_ws_proxy.wire.rules.tail import MOST

SUCCESS = b'{"metadata":{},"status":"Success"}'


@pytest.fixture
async def session():
    running = Watched()
    yield running
    running.close()


@pytest.fixture
async def told():
    """One whose terminal is told who comes and goes."""
    running = Watched(notices=True)
    yield running
    running.close()


async def test_who_joins_late_sees_what_was_said_before_and_then_what_comes(session):
    await session.said(b"hello, ")
    bob = session.watch()
    await session.said(b"world")
    assert await bob.until(b"world") == b"hello, world"


async def test_a_session_that_said_nothing_shows_nothing(session):
    bob = session.watch()
    await session.said(b"first")
    assert await bob.message() == (STDOUT, b"first")


async def test_sizes_are_told_at_joining_and_at_each_change(session):
    await session.size(80, 24)
    await session.said(b"$ ")
    bob = session.watch()
    assert await bob.message() == (RESIZE, b'{"Width":80,"Height":24}')
    assert await bob.message() == (STDOUT, b"$ ")
    await session.client.say(STDIN, b"a keystroke, and no size at all")
    await session.size_after(b"a keystroke, and no size at all", 132, 43)
    assert await bob.message() == (RESIZE, b'{"Width":132,"Height":43}')


async def test_where_something_is_missing_the_program_is_made_to_draw(session):
    await session.size(80, 24)
    for number in range(3):
        await session.said(b"x" * MOST + b"#%d" % number)
    bob, eve = session.watch(), session.watch("eve")
    assert await session.upstream.message() == (RESIZE, b'{"Width":79,"Height":24}')
    assert await session.upstream.message() == (RESIZE, b'{"Width":80,"Height":24}')
    for watcher in (bob, eve):
        assert await watcher.message() == (RESIZE, b'{"Width":80,"Height":24}')
        await watcher.until(b"#2")
    began = session.loop.time()
    session.watch("dan")  # the next time not before a second has passed
    assert await session.upstream.message() == (RESIZE, b'{"Width":79,"Height":24}')
    assert session.loop.time() - began > 0.7
    await session.client.say(RESIZE, b'{"Width":90,"Height":24}')  # the client's own, in between
    assert await session.upstream.message() == (RESIZE, b'{"Width":90,"Height":24}')
    assert await session.upstream.message() == (RESIZE, b'{"Width":90,"Height":24}')
    assert await bob.message() == (RESIZE, b'{"Width":90,"Height":24}'), "of ours it isn't told"


async def test_ten_watchers_are_given_the_same_bytes(session):
    watchers = [session.watch(f"w{number}") for number in range(10)]
    queues = [slot.bridge._upstream.stream._queue for slot in session.slots[1:]]
    session.bridge.fanout.to_client(message(STDOUT, b"x" * 1000))
    assert len({id(queue[0]) for queue in queues}) == 1
    for watcher in watchers:
        assert await watcher.message() == (STDOUT, b"x" * 1000)


async def test_an_observer_types_nothing(session):
    bob = session.watch()
    await bob.say(STDIN, b"rm -rf /\r")
    await bob.say(RESIZE, b'{"Width":10,"Height":10}')
    await bob.send(frames.frame(frames.PING, b"still there?", KEY))
    raw = b""
    while b"still there?" not in raw:
        raw += await session.loop.sock_recv(bob.sock, 4096)
    await session.client.say(STDIN, b"ls\r")
    assert await session.upstream.message() == (STDIN, b"ls\r")


async def test_a_peer_types_and_sees_what_comes_of_it(session):
    eve = session.watch("eve", WatchMode.PEER)
    await eve.say(STDIN, b"who")
    assert await session.upstream.message() == (STDIN, b"who")
    await session.said(b"who\r\n")
    assert await eve.until(b"who\r\n") == b"who\r\n"


async def test_what_a_peer_types_stands_between_two_messages_of_the_clients(session):
    """However either of them is cut on its way."""
    eve = session.watch("eve", WatchMode.PEER)
    mine = [message(STDIN, b"<" + b"c" * (20_000 + number) + b">", KEY) for number in range(20)]
    hers = [message(STDIN, b"[" + b"p" * (1 + 317 * number) + b"]", KEY) for number in range(100)]

    async def send(peer, messages, size):
        data = b"".join(messages)
        for start in range(0, len(data), size):
            await peer.send(data[start : start + size])
            await asyncio.sleep(0)

    sending = asyncio.gather(send(session.client, mine, 7001), send(eve, hers, 2999))
    wanted = sum(20_002 + number for number in range(20)) + sum(3 + 317 * number for number in range(100))
    typed = b""
    while len(typed) < wanted:
        channel, payload = await session.upstream.message()
        assert channel == STDIN
        typed += payload
    await sending
    whole = b"".join(b"[" + b"p" * (1 + 317 * number) + b"]" for number in range(100))
    assert b"".join(part for part in split(typed) if part[:1] == b"[") == whole
    assert b"".join(part for part in split(typed) if part[:1] == b"<") == typed_by(mine)


def split(typed):
    """The messages: each begins and ends with its sender's brackets, and holds nothing of the other's."""
    parts = []
    while typed:
        end = typed.index(b"]" if typed[:1] == b"[" else b">") + 1
        parts.append(typed[:end])
        assert len(set(typed[1 : end - 1])) <= 1, "one within the other"
        typed = typed[end:]
    return parts


def typed_by(messages):
    return b"".join(
        frames.mask(each[frames.parse_header(each, 0, 14, masked=True).size :], KEY)[1:] for each in messages
    )


async def test_a_peer_that_floods_is_not_read_until_it_is_taken(session):
    eve = session.watch("eve", WatchMode.PEER)
    data = message(STDIN, b"p" * 999, KEY)
    sent, idle = 0, 0
    while idle < 500:
        try:
            sent += eve.sock.send((data * 100)[sent % len(data) :])
            idle = 0
        except BlockingIOError:
            idle += 1
        await asyncio.sleep(0)
    assert sent < 8 << 20, "kernels' buffers, and a block"
    assert session.budget.held < 1 << 20
    got = 0
    while got < sent // len(data) * 999:  # and all of it is taken, once the apiserver reads
        got += len((await session.upstream.message())[1])


async def test_who_comes_and_goes_does_not_fill_the_terminal(monkeypatch):
    monkeypatch.setattr("k8s_ws_proxy.sessions.watching._AT_ONCE", 0.5)
    session = Watched(notices=True)
    try:
        for number in range(25):
            session.watch(f"bob-{number}")
        seen = await session.client.until(b"15 more have joined or left.")
        assert seen.count(b"watches from now on") == 10
        session.watch("carol")
        await session.client.until(b"carol watches from now on.")
    finally:
        session.close()


async def test_a_client_has_its_turn_while_a_peer_floods(session):
    """Its Ctrl-C reaches a program that reads slowly, behind what kernels hold and no more."""
    eve = session.watch("eve", WatchMode.PEER)
    flood = session.loop.create_task(repeat(eve, message(STDIN, b"p" * 30_000, KEY), 1000))
    while not session.bridge._upstream.waiting:  # noqa: ASYNC110 - it fills in passing
        await asyncio.sleep(0)
    interrupt = message(STDIN, b"as if it were Ctrl-C", KEY)
    await session.client.send(interrupt)
    read = b""
    while interrupt not in read and len(read) < 4 << 20:
        read += await session.loop.sock_recv(session.upstream.sock, 16384)
        await asyncio.sleep(0.005)
    flood.cancel()
    assert interrupt in read


async def test_a_flood_does_not_wait_for_a_watcher_that_reads_nothing(session):
    bob = session.watch()
    flood = message(STDOUT, b"f" * 8000)
    sending = session.loop.create_task(repeat(session.upstream, flood, 1000))
    got = 0
    while got < 8_000_000:
        got += len((await session.client.message())[1])
    await sending
    assert session.registry.open == 2, "its connection may be read for a while"
    assert session.watching.watchers(session.slot.id) == []
    assert session.budget.held < 1 << 18
    rest = await bob.rest()
    assert (bob.code, bob.reason) == (1008, "too_slow")
    assert 0 < len(rest[STDOUT]) < 8_000_000
    bob.sock.close()
    await closed(session, 1)
    assert session.slots[1].bridge.relay.ending is Ending.TOO_SLOW


async def test_one_that_never_reads_is_closed_after_a_while(session, monkeypatch):
    monkeypatch.setattr("k8s_ws_proxy.relay.bridge._LAST_WORDS", 0.05)
    session.watch()
    sending = session.loop.create_task(repeat(session.upstream, message(STDOUT, b"f" * 8000), 500))
    got = 0
    while got < 4_000_000:
        got += len((await session.client.message())[1])
    await sending
    await closed(session, 1)
    assert session.budget.held < 1 << 18


async def test_so_is_a_session_whose_client_reads_nothing_where_somebody_ends_it(session, monkeypatch):
    """Also where it is ending already, and was to wait for its client."""
    monkeypatch.setattr("k8s_ws_proxy.relay.bridge._LAST_WORDS", 0.05)
    flooding = session.loop.create_task(repeat(session.upstream, message(STDOUT, b"f" * 8000), 1000))
    await stuck(session.bridge)
    session.bridge.give_up(b"", STDOUT, "it can't go on")
    with capture_logs() as log:
        session.slot.terminate(Termination(Principal(Mode.RFC9421, "k", user="carol")))
    assert [(line["event"], line["by"]) for line in log] == [("session terminated", "carol")]
    await closed(session, 0)
    flooding.cancel()


async def test_a_watcher_that_reads_keeps_up_with_a_flood(session):
    bob = session.watch(small=False)
    sending = session.loop.create_task(repeat(session.upstream, message(STDOUT, b"f" * 8000), 1000))

    async def count(peer):
        got = 0
        while got < 8_000_000:
            said = await peer.message()
            assert said is not None, (got, peer.code, peer.reason)
            got += len(said[1])

    await asyncio.gather(count(session.client), count(bob), sending)


async def test_where_much_is_held_less_waits_for_a_watcher(session):
    session.watch()
    session.budget.held += 64 << 20
    sending = session.loop.create_task(repeat(session.upstream, message(STDOUT, b"f" * 800), 1000))
    got = 0
    while got < 800_000:
        got += len((await session.client.message())[1])
    await sending
    session.budget.held -= 64 << 20
    assert session.watching.watchers(session.slot.id) == []
    assert MOST_WAITING == 256 * 1024


async def test_when_the_command_ends_all_are_told_alike(session):
    watchers = [session.watch(f"w{number}") for number in range(3)]
    await session.upstream.say(STDOUT, b"done\r\n")
    await session.upstream.say(STATUS, SUCCESS)
    await session.upstream.send(frames.frame(frames.CLOSE, frames.close_payload(1000)))
    for peer in (session.client, *watchers):
        assert await peer.rest() == {STDOUT: b"done\r\n", STATUS: SUCCESS}
        assert (peer.code, peer.reason) == (1000, "")
        peer.sock.close()
    await closed(session, 0)
    assert session.tails.held == 0
    assert session.budget.held == 0
    assert session.slots[1].bridge.relay.exit_code == 0


async def test_when_the_session_is_ended_from_here_all_are_told_alike(session):
    bob = session.watch()
    session.bridge.drain(b"going down\r\n", STDOUT, "shutting down")
    mine, his = await session.client.rest(), await bob.rest()
    assert mine == his
    assert (bob.code, bob.reason) == (1001, "shutting down") == (session.client.code, session.client.reason)


async def test_when_the_client_leaves_so_do_they(session):
    bob = session.watch()
    session.client.sock.close()
    assert b"ClientLeft" in (await bob.rest())[STATUS]
    assert bob.code == 1001


async def test_a_session_that_is_cut_off_is_over_for_all(session):
    bob = session.watch()
    session.bridge.abort()
    assert STATUS in await bob.rest()
    assert session.watching.watchers(session.slot.id) == []


async def test_guacd_s_close_waits_and_that_of_who_watches_it_comes_then():
    session = Watched(relay=GuacdRelay)
    bob = session.watch()
    await session.upstream.say(STATUS, SUCCESS)
    await session.upstream.send(frames.frame(frames.CLOSE, frames.close_payload(1000)))
    assert await bob.rest() == {STATUS: SUCCESS}
    assert bob.code == 1000
    session.close()


async def test_the_terminal_is_told_who_comes_and_goes(told):
    bob = told.watch("bob")
    line = b"\r\nk8s-ws-proxy: bob watches from now on.\r\n"
    assert await told.client.until(line) == line
    assert await bob.until(line) == line
    eve = told.watch("eve\x1b[2J", WatchMode.PEER)
    line = b"\r\nk8s-ws-proxy: eve?[2J watches and may type from now on.\r\n"
    assert await told.client.until(line) == line
    assert await bob.until(line) == line
    eve.sock.close()
    line = b"\r\nk8s-ws-proxy: eve?[2J has left.\r\n"
    assert await told.client.until(line) == line
    assert await bob.until(line) == line


async def test_one_who_reads_nothing_is_not_told_without_end(told):
    sending = told.loop.create_task(repeat(told.upstream, message(STDOUT, b"x" * 60_000), 20))
    while not told.bridge._client.waiting:  # noqa: ASYNC110 - it is read in passing
        await asyncio.sleep(0)
    before = told.bridge._client.waiting
    for _ in range(5000):
        told.bridge.say("x" * 100)
    assert told.bridge._client.waiting < before + 256 * 1024
    sending.cancel()


async def test_who_watches_is_known(session):
    assert session.watching.may_join(session.slot)
    bob, eve = session.watch("bob"), session.watch("eve", WatchMode.PEER)
    assert session.watching.watchers(session.slot.id) == [
        Watcher(session.slots[1].id, "bob", WatchMode.OBSERVE, 1000.0),
        Watcher(session.slots[2].id, "eve", WatchMode.PEER, 1000.0),
    ]
    assert not session.watching.may_join(session.slots[1]), "nobody watches a watcher"
    bob.sock.close()
    eve.sock.close()
    await closed(session, 1)
    assert session.watching._watchers == {}
    assert not session.bridge.fanout.watched


async def test_a_session_that_is_over_is_not_joined(session):
    session.bridge.abort()
    assert not session.watching.may_join(session.slot)
    bob = session.watch()  # it ended in just that moment
    assert b"Failure" in (await bob.rest())[STATUS]


async def test_nor_is_one_whose_client_is_found_gone_when_it_is_told_of_that(told):
    told.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    told.client.sock.close()  # reset: the first write fails
    bob = told.watch()
    assert told.bridge.fanout is None
    assert b"Failure" in (await bob.rest())[STATUS]
    assert told.watching.watchers(told.slot.id) == []


async def test_nor_is_one_whose_command_has_ended_and_that_waits_for_the_close(session):
    await session.upstream.say(STATUS, SUCCESS)
    assert await session.client.message() == (STATUS, SUCCESS)
    assert not session.watching.may_join(session.slot)


async def test_both_log_lines_say_whom_it_watches(session):
    with capture_logs() as log:
        session.watch("eve", WatchMode.PEER).sock.close()
        await closed(session, 1)
    assert [line["event"] for line in log] == ["session opened", "session ended"]
    for line in log:
        assert (line["watches"], line["watch_mode"], line["mode"]) == (session.slot.id, "peer", "hmac")
    assert log[1]["reason"] == "client_left"


async def test_with_many_terminals_an_old_one_may_have_nothing_to_show():
    session = Watched(tails=Tails(max_bytes=10))
    await session.size(80, 24)
    await session.said(b"more than ten bytes")
    bob = session.watch()
    assert await session.upstream.message() == (RESIZE, b'{"Width":79,"Height":24}')
    await session.said(b"drawn anew")
    assert (await bob.until(b"drawn anew")).endswith(b"drawn anew")
    session.close()


async def test_it_is_all_there_to_the_byte(session):
    sent, turns = b"", itertools.count(1)
    for _ in range(60):
        said = os.urandom(next(turns) * 7).translate(None, b"\x1b\x05")
        await session.said(said)
        sent += said
    bob = session.watch()
    await session.said(b"end of it")
    with contextlib.suppress(TimeoutError):
        assert await bob.until(b"end of it") == sent + b"end of it"
