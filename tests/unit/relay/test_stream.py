"""What the kernel's word on a connection means: whether what it repeats or probes for has gone unanswered too long."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from k8s_ws_proxy.relay.stream import Stream

PERIOD = 30.0
TCP_RTO_MAX_MS = 44


@pytest.fixture
async def streams():
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    made = [Stream(each, asyncio.get_running_loop()) for each in (one, other)]
    yield made
    for stream in made:
        stream.close()


class Told(socket.socket):
    """The kernel says ``info`` of it (struct tcp_info of linux/tcp.h)."""

    info = b""

    def getsockopt(self, level, option, *size):
        return self.info if option == socket.TCP_INFO else super().getsockopt(level, option, *size)


@pytest.fixture
async def told():
    """A stream whose kernel tells this: repetitions and probes without an answer, seconds since an acknowledgement."""
    made = []

    def stream(retransmits, probes, last_ack):
        sock = Told()
        sock.info = struct.pack("=BBBB52xI44x", 1, 0, retransmits, probes, int(last_ack * 1000))
        made.append(Stream(sock, asyncio.get_running_loop()))
        return made[-1]

    yield stream
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("retransmits", "probes", "last_ack", "under_way", "verdict"),
    [
        pytest.param(0, 0, 3600.0, True, False, id="nothing had to be repeated, however long ago it was heard"),
        pytest.param(3, 0, 30.0, True, True, id="repeated, and nothing acknowledged for a period"),
        pytest.param(3, 0, 29.9, True, False, id="not yet for a period"),
        pytest.param(1, 0, 3600.0, False, False, id="lost a moment ago, after a long silence"),
        pytest.param(0, 1, 100.0, True, False, id="one probe, which may just have gone out"),
        pytest.param(0, 2, 30.0, True, True, id="two, and nothing acknowledged for a period"),
        pytest.param(0, 2, 29.9, True, False, id="two within a period"),
        pytest.param(0, 3, 30.0, False, True, id="keepalive's, which nothing is under way for"),
    ],
)
async def test_unanswered(told, retransmits, probes, last_ack, under_way, verdict):
    assert told(retransmits, probes, last_ack).unanswered(PERIOD, under_way=under_way) is verdict


@pytest.mark.parametrize(("last_ack", "verdict"), [(2.9, False), (3.0, True)])
async def test_a_quick_series_of_probes_gets_three_seconds_whatever_the_period(told, last_ack, verdict):
    assert told(0, 5, last_ack).unanswered(0.2, under_way=True) is verdict


@pytest.mark.parametrize(("seconds", "milliseconds"), [(15.0, 15000), (0.1, 1000), (600.0, None)])
async def test_the_kernel_repeats_as_often_as_it_is_told_if_it_can(streams, seconds, milliseconds):
    stream = streams[0]

    def most():
        try:
            return stream.socket.getsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS)
        except OSError:  # before Linux 6.15
            return None

    before = most()
    stream.repeat_within(seconds)
    assert most() == (None if before is None else milliseconds or before)


async def test_a_connection_that_is_well(streams):
    one, other = streams
    assert one.write(b"x" * 1000) == 1000
    assert not one.unanswered(0.0, under_way=True)
    assert not one.peer_gone()
    other.end_output()
    await one.readable()
    assert one.peer_gone()


async def test_a_closed_one_holds_nothing_back(streams):
    one, _ = streams
    while one.write(bytes(1 << 20)):
        pass
    assert one.unsent()
    one.close()
    assert not one.unsent()
    assert not one.unanswered(0.0, under_way=True)
