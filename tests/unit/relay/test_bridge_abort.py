"""A session that is ended without a word, whatever it carries."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from functools import partial

import pytest

from k8s_ws_proxy.relay.bridge import Bridge
from k8s_ws_proxy.relay.read_budget import ReadBudget
from k8s_ws_proxy.relay.stream import Stream
from k8s_ws_proxy.wire.http.body import Body
from k8s_ws_proxy.wire.rules.forward import ForwardRelay
from k8s_ws_proxy.wire.rules.guacd import GuacdRelay
from k8s_ws_proxy.wire.rules.log_relay import LogRelay, PlainLogRelay
from k8s_ws_proxy.wire.rules.relay import Ending, Relay

LOG = {"body": Body(), "hold": lambda _size: False}
RELAYS = {
    "a terminal": Relay,
    "guacd's": GuacdRelay,
    "a port-forward": partial(ForwardRelay, ports=(80,)),
    "a log": partial(LogRelay, **LOG),
    "a plain log": partial(PlainLogRelay, **LOG),
}


@pytest.mark.parametrize("told", [False, True], ids=["still relaying", "told"])
@pytest.mark.parametrize("relay", RELAYS.values(), ids=RELAYS)
async def test_it_ends_once_and_the_books_learn_how(relay, told):
    loop = asyncio.get_running_loop()
    ends = []
    with contextlib.ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(2)]
        for pair in pairs:
            for sock in pair:
                stack.enter_context(sock)
        client, upstream = (Stream(ours, loop) for ours, _ in pairs)
        session = Bridge(
            loop,
            ReadBudget(loop.time),
            client,
            upstream,
            ping_period=60,
            on_end=lambda session: ends.append(session.relay.ending),
            on_closed=lambda _session: ends.append("closed"),
            relay=relay,
        )
        session.start(b"HTTP/1.1 101\r\n\r\n")
        if told:
            session.drain(b"bye\r\n", 1, "bye")
        session.abort()
        assert ends == [Ending.DRAINED, "closed"]
        for _, theirs in pairs:
            while theirs.recv(4096):
                pass
