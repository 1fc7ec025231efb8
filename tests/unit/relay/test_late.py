"""A stream that a session begins with before it is there."""

from __future__ import annotations

import asyncio
import socket

import pytest

from k8s_ws_proxy.relay.late import Late
from k8s_ws_proxy.relay.stream import Stream, StreamLost


@pytest.fixture
async def wire():
    """A stream, and the socket at its other end."""
    ours, theirs = socket.socketpair()
    stream = Stream(ours, asyncio.get_running_loop())
    yield stream, theirs
    stream.close()
    theirs.close()


def late(closed=lambda: None):
    return Late(asyncio.get_running_loop(), closed)


def taken(stream, size=1 << 16):
    block = bytearray(size)
    count = stream.read_into(memoryview(block))
    return None if count is None else bytes(block[:count])


async def test_until_it_arrives_nothing_comes_and_nothing_is_taken():
    stream = late()
    assert (taken(stream), stream.write(b"x")) == (None, None)
    assert not stream.unsent()
    assert not stream.peer_gone()
    assert not stream.unanswered(1.0, under_way=True)
    stream.end_output()


async def test_who_waits_is_called_when_it_has_arrived(wire):
    stream, (there, peer) = late(), wire
    read, all_read, written = [], asyncio.Event(), asyncio.Event()

    def readable():
        read.append(taken(stream, 3))
        stream.on_readable(readable)
        if b"".join(read) == b"soonerlater":
            all_read.set()

    stream.on_readable(readable)
    stream.on_writable(written.set)
    peer.send(b"later")
    stream.arrive(there, b"sooner")
    await written.wait()
    stream.on_writable(None)
    await all_read.wait()
    assert stream.write(b"typed") == 5
    assert peer.recv(9) == b"typed"


async def test_who_does_not_listen_is_not_called(wire):
    stream = late()
    calls = []
    stream.on_readable(lambda: calls.append(1))
    stream.arrive(wire[0], b"early")
    stream.on_readable(None)
    await asyncio.sleep(0)
    assert calls == []
    assert taken(stream) == b"early"


async def test_one_that_will_not_arrive_is_lost():
    stream, told = late(), asyncio.Event()
    stream.on_readable(told.set)
    stream.lose(StreamLost("why"))
    await told.wait()
    with pytest.raises(StreamLost, match="why"):
        taken(stream)


async def test_one_that_was_closed_by_then_is_closed_when_it_arrives(wire):
    closed = []
    stream = late(lambda: closed.append(1))
    stream.close()
    stream.close()
    assert (closed, stream.closed) == ([1], True)
    stream.arrive(wire[0], b"early")
    assert wire[1].recv(1) == b""
