"""Connections that have said nothing yet: who is heard, in which order, and how many at once."""

from __future__ import annotations

import asyncio
import socket

import pytest

from k8s_ws_proxy.web import silent
from k8s_ws_proxy.web.pending import PendingConnections
from k8s_ws_proxy.web.silent import SilentConnections

WHOLE = b"GET /healthz HTTP/1.1\r\nHost: proxy\r\n\r\n"
BEGUN = b"GET /healthz HTTP/1.1\r\nHo"


class Door:
    """SilentConnections, and what became of them."""

    def __init__(self, places=1024, patience=3600.0):
        self.served = []
        loop = asyncio.get_running_loop()
        self.pending = PendingConnections(loop, lambda: places)
        self.all = SilentConnections(
            loop, self.pending, speaks=self._speaks, farewell=lambda: b"full", patience=patience
        )

    def _speaks(self, sock, peer):
        sock.close()
        if peer == "fails":
            raise ZeroDivisionError
        self.served.append(peer)

    def connect(self, peer, said=b""):
        near, far = socket.socketpair()
        far.setblocking(False)
        if said:
            far.send(said)
        self.all.add(near, peer)
        return far

    async def until(self, count):
        while len(self.served) < count:  # noqa: ASYNC110 - they are served in passing
            await asyncio.sleep(0)


@pytest.fixture
def door():
    made = []

    def make(**options):
        made.append(Door(**options))
        return made[-1]

    yield make
    for each in made:
        each.all.close()
        each.pending.close()


async def test_who_speaks_is_served_and_who_doesn_t_waits(door):
    at = door()
    ends = [at.connect("silent"), at.connect("speaks", WHOLE), at.connect("later")]
    await at.until(1)
    ends[2].send(BEGUN)
    await at.until(2)
    assert at.served == ["speaks", "later"]
    for end in ends:
        end.close()


async def test_whose_request_is_there_is_served_before_a_crowd_that_has_only_begun(door):
    """However many heads without an end have come before."""
    at = door()
    ends = [at.connect(f"begun {number}", BEGUN) for number in range(500)]
    ends.append(at.connect("whole", WHOLE))
    await at.until(1)
    assert at.served[0] == "whole"
    assert len(at.served) <= 1 + silent._BEGUN_AT_ONCE
    await at.until(501)
    assert at.served[1:] == [f"begun {number}" for number in range(500)]
    for end in ends:
        end.close()


async def test_in_a_turn_so_many_are_served_and_no_more(door):
    at = door()
    ends = [at.connect(str(number), WHOLE) for number in range(100)]
    assert at.served == []
    await asyncio.sleep(0)
    for turn in range(3):
        assert len(at.served) == turn * silent._SERVED_AT_ONCE
        await asyncio.sleep(0)
    await at.until(100)
    for end in ends:
        end.close()


async def test_one_that_fails_is_nobody_else_s(door, failures):
    at = door()
    ends = [at.connect("fails" if number == 1 else str(number), WHOLE) for number in range(50)]
    for _ in range(9):
        await asyncio.sleep(0)
    assert len(at.served) == 49
    ends.append(at.connect("a later one", WHOLE))
    for _ in range(9):
        await asyncio.sleep(0)
    assert at.served[-1] == "a later one"
    assert [type(failure) for failure in failures] == [ZeroDivisionError]
    for end in ends:
        end.close()


async def test_who_leaves_without_a_word_costs_nothing_more(door):
    at = door()
    ends = [at.connect(str(number)) for number in range(300)]
    for end in ends:
        end.close()
    at.connect("gone already").close()
    turns = 0
    while at.all._here:
        turns += 1
        await asyncio.sleep(0)
    assert at.served == []
    assert turns >= 300 // silent._AT_ONCE, "so many in a turn, however many leave at once"


async def test_when_there_are_too_many_who_came_first_is_told_to_go(door):
    at = door(places=2)
    ends = [at.connect(str(number)) for number in range(3)]
    assert ends[0].recv(100) == b"full"
    assert ends[0].recv(100) == b""
    for end in ends[1:]:
        with pytest.raises(BlockingIOError):
            end.recv(100)
    for end in ends:
        end.close()


async def test_who_had_to_go_is_not_served_although_it_has_spoken(door):
    at = door(places=1)
    ends = [at.connect("first", WHOLE), at.connect("second", WHOLE)]
    await at.until(1)
    await asyncio.sleep(0)
    assert at.served == ["second"]
    for end in ends:
        end.close()


async def test_without_a_place_nobody_stays(door):
    at = door(places=0)
    end = at.connect("it", WHOLE)
    assert end.recv(100) == b"full"
    assert at.all._here == {}
    end.close()


async def test_patience_has_an_end(door):
    at = door(patience=0.01)
    end = at.connect("silent")
    while at.all._here:  # noqa: ASYNC110 - it is dropped in passing
        await asyncio.sleep(0)
    assert end.recv(100) == b""
    end.close()


async def test_what_begins_tls_is_taken_as_whole(door):
    at = door()
    ends = [at.connect("begun", BEGUN), at.connect("tls", b"\x16\x03\x01")]
    await at.until(2)
    assert at.served == ["tls", "begun"]
    for end in ends:
        end.close()
