"""A connection while it is still HTTP: what is kept of one that is over."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import weakref

import pytest

from k8s_ws_proxy.relay.read_budget import ReadBudget
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.web.pending import PendingConnections
from k8s_ws_proxy.web.transport import StreamTransport, address_of


def transport_of(ours, protocol, *, idle=1, places=None, on_closed=lambda _: None):
    """With ``places`` for known callers that others have, too, or ``idle`` of its own."""
    loop = asyncio.get_running_loop()
    return StreamTransport(
        Stream(ours, loop),
        protocol,
        loop=loop,
        block=ReadBudget(loop.time).block,
        head_timeout=60.0,
        pending=PendingConnections(loop, lambda: 1),
        idle=places or PendingConnections(loop, lambda: idle),
        on_closed=on_closed,
    )


async def test_who_is_gone_before_its_answer_s_time_is_over_is_not_kept():
    """A crowd that is refused and leaves at once would otherwise hold for a second what nobody counts."""
    ours, theirs = socket.socketpair()
    closed = asyncio.Event()
    transport = transport_of(ours, asyncio.Protocol(), on_closed=lambda _: closed.set())
    transport.write(b"answer")
    transport.close()
    kept = weakref.ref(transport)
    del transport
    theirs.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closed.wait(), 10)
    await asyncio.sleep(0)
    gc.collect()
    assert kept() is None


class Reads(asyncio.Protocol):
    """Keeps what it is given."""

    def __init__(self):
        self.parts = asyncio.Queue()

    def data_received(self, data):
        self.parts.put_nowait(data)


async def test_a_body_that_is_asked_for_is_still_of_this_request():
    """And its client has no place among those that may be sent away, who wait for their next request."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    protocol = Reads()
    transport = transport_of(ours, protocol, idle=0)
    theirs.send(b"POST / HTTP/1.1\r\n\r\n")
    await protocol.parts.get()
    transport.request_began()
    transport.caller_known()
    transport.ask_for_body()
    assert await loop.sock_recv(theirs, 4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
    theirs.send(b"{}")
    assert await protocol.parts.get() == b"{}"
    assert not transport.is_closing()
    transport.abort()
    transport.ask_for_body()
    theirs.close()


class Known:
    """A caller who was let in, and has a place with others."""

    def __init__(self, places):
        ours, self.sock = socket.socketpair()
        self.sock.setblocking(False)
        self.transport = transport_of(ours, Reads(), places=places)
        self.transport.request_began()
        self.transport.caller_known()

    async def read(self, count):
        got = b""
        while more := await asyncio.get_running_loop().sock_recv(self.sock, min(count - len(got), 65536)):
            got += more
            if len(got) == count:
                break
        return got

    def close(self):
        self.transport.abort()
        self.sock.close()


async def test_an_answer_that_is_under_way_is_not_cut_off_for_others_who_have_theirs():
    places = PendingConnections(asyncio.get_running_loop(), lambda: 3)
    long, parts = b"x" * 2_000_000, b"y" * 72_000
    with contextlib.ExitStack() as stack:
        reads_slowly, in_parts, *others = [stack.enter_context(contextlib.closing(Known(places))) for _ in range(5)]
        reads_slowly.transport.write(long)
        in_parts.transport.write(parts)
        for other in others:
            other.transport.write(b"answered")
            assert await other.read(8) == b"answered"
            in_parts.transport.write(parts)
            assert await in_parts.read(72_000) == parts
        assert [each.transport.is_closing() for each in (reads_slowly, *others)] == [False, True, True, False]
        assert await reads_slowly.read(len(long)) == long
        assert await in_parts.read(len(parts)) == parts
        others += [stack.enter_context(contextlib.closing(Known(places))) for _ in range(3)]
        for other in others[3:]:
            other.transport.write(b"answered")
        assert reads_slowly.transport.is_closing(), "it has its answer, and others wait as well as it"


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("10.0.0.7", 4711), "10.0.0.7"),
        (("::ffff:10.0.0.7", 4711, 0, 0), "10.0.0.7"),
        (("2001:db8::1", 4711, 0, 0), "2001:db8::1"),
        (None, "?"),
    ],
)
def test_an_ipv4_peer_on_a_socket_for_both_is_told_as_such(name, address):
    assert address_of(name) == address
