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


def transport_of(ours, protocol, *, idle=1, on_closed=lambda _: None):
    loop = asyncio.get_running_loop()
    return StreamTransport(
        Stream(ours, loop),
        protocol,
        loop=loop,
        block=ReadBudget(loop.time).block,
        head_timeout=60.0,
        pending=PendingConnections(loop, lambda: 1),
        idle=PendingConnections(loop, lambda: idle),
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
