"""Legs without pings: what the kernel is asked to do about a silent peer."""

from __future__ import annotations

import asyncio
import socket

import pytest

from k8s_ws_proxy.relay.stream import Stream


@pytest.mark.parametrize(("period", "idle", "between"), [(30.0, 30, 10), (5.0, 5, 1), (0.1, 1, 1)])
async def test_a_dead_peer_is_given_up_within_two_periods_or_a_few_seconds(period, idle, between):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        Stream(client, asyncio.get_running_loop()).keep_alive(period)
        asked = [
            client.getsockopt(level, option)
            for level, option in (
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
            )
        ]
    assert asked == [1, idle, between, 3]
    assert idle + 3 * between <= max(2 * period, 4)


async def test_where_there_is_no_tcp_nothing_happens():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Stream(ours, asyncio.get_running_loop()).keep_alive(30.0)
