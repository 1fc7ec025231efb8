"""A connection while it is still HTTP: what is kept of one that is over."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import weakref

from k8s_ws_proxy.relay.read_budget import ReadBudget
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.web.pending import PendingConnections
from k8s_ws_proxy.web.transport import StreamTransport


async def test_who_is_gone_before_its_answer_s_time_is_over_is_not_kept():
    """A crowd that is refused and leaves at once would otherwise hold for a second what nobody counts."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    closed = asyncio.Event()
    transport = StreamTransport(
        Stream(ours, loop),
        asyncio.Protocol(),
        loop=loop,
        block=ReadBudget(loop.time).block,
        head_timeout=60.0,
        pending=PendingConnections(loop, lambda: 1),
        idle=PendingConnections(loop, lambda: 1),
        on_closed=lambda _: closed.set(),
    )
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
