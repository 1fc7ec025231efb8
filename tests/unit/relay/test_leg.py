"""A leg on a real socket: what waits in it, and what all legs hold together."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from types import SimpleNamespace

import pytest

from k8s_ws_proxy.relay.leg import UNSENT, Leg
from k8s_ws_proxy.relay.read_budget import BLOCK_SIZE, HELD_LIMIT, SMALL_SIZE, ReadBudget
from k8s_ws_proxy.relay.stream import Stream

BLOCK = b"x" * BLOCK_SIZE


@pytest.fixture
def budget():
    return ReadBudget(lambda: 0.0)


@pytest.fixture
async def legs(budget):
    """Makes legs; the other end of each is a blocking socket."""
    with contextlib.ExitStack() as stack:

        def make():
            ours, theirs = socket.socketpair()
            leg = Leg(Stream(ours, asyncio.get_running_loop()), budget)
            stack.callback(leg.close)
            return leg, stack.enter_context(theirs)

        yield make


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
async def legs_in_time():
    """A budget, its clock, and what makes legs."""
    clock = Clock()
    budget = ReadBudget(clock)
    with contextlib.ExitStack() as stack:

        def make():
            ours, theirs = socket.socketpair()
            leg = Leg(Stream(ours, asyncio.get_running_loop()), budget)
            stack.callback(leg.close)
            return leg, stack.enter_context(theirs)

        yield budget, clock, make


def fill(leg):
    """Write until the socket takes no more."""
    while not leg.waiting:
        leg.send([BLOCK])


def drain(leg, theirs):
    """Read on the other side until nothing waits."""
    while leg.waiting:
        theirs.recv(1 << 20)
        leg.flush()


async def test_what_waits_is_counted_until_it_is_written(budget, legs):
    one, theirs = legs()
    other, _ = legs()
    fill(one)
    fill(other)
    assert budget.held == one.waiting + other.waiting
    assert 0 < one.waiting <= BLOCK_SIZE
    drain(one, theirs)
    assert budget.held == other.waiting


async def test_pieces_are_kept_as_one(budget, legs):
    """Each would take an object of its own, many times what it says, and a write of its own."""
    leg, theirs = legs()
    fill(leg)
    before = leg.waiting
    leg.send([b"xy"] * 50_000)
    assert leg.waiting == before + 100_000
    assert budget.held == sys.getsizeof(leg._outbox.obj) - sys.getsizeof(b"") == leg.waiting
    drain(leg, theirs)


async def test_what_is_written_of_it_is_let_go(budget, legs):
    leg, theirs = legs()
    fill(leg)
    leg.send([BLOCK])
    most = 0
    while leg.waiting:
        most = max(most, budget.held - 2 * leg.waiting)
        theirs.recv(1 << 14)
        leg.flush()
    assert most <= 0, "what is held is never more than twice what waits"


async def test_what_waits_for_its_turn_is_counted(budget, legs):
    leg, _ = legs()
    fill(leg)
    leg.carry(1000)
    assert budget.held == leg.waiting + 1000
    leg.carry(0)
    assert budget.held == leg.waiting


async def test_a_reader_that_takes_little_is_slow_until_it_takes_more(legs_in_time):
    """What is read for it is little then: it is what is still shown after Ctrl-C."""
    budget, clock, make = legs_in_time
    leg, theirs = make()
    fill(leg)
    clock.now += 1.0  # for less than a block
    drain(leg, theirs)
    assert leg.slow
    fill(leg)
    clock.now += 0.001
    drain(leg, theirs)
    assert not leg.slow
    fill(leg)
    clock.now += 1.0
    drain(leg, theirs)
    while leg.slow:
        leg.send([b"x"])
        theirs.recv(10)
    assert budget.held == 0


async def test_the_kernel_keeps_little_of_what_is_not_sent_yet():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
    leg = Leg(Stream(ours, asyncio.get_running_loop()), ReadBudget(lambda: 0.0))
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT
    leg.close()


async def test_closing_lets_go_of_what_waits(budget, legs):
    leg, _ = legs()
    fill(leg)
    leg.close()
    assert (leg.waiting, budget.held) == (0, 0)


@pytest.mark.parametrize("written_before", [0, 1000])
async def test_a_broken_leg_holds_nothing(budget, legs, written_before):
    leg, theirs = legs()
    fill(leg)
    theirs.recv(written_before) if written_before else None
    theirs.close()
    leg.flush()
    assert leg.broken
    assert (leg.waiting, budget.held) == (0, 0)
    leg.send([BLOCK])
    assert (leg.waiting, budget.held) == (0, 0)


async def test_a_leg_that_breaks_halfway_through_a_piece_holds_nothing(budget, legs):
    leg, theirs = legs()
    fill(leg)
    stream = leg.stream

    def writes_a_little_then_finds_out(view):
        if len(view) == leg.waiting:
            return 10
        theirs.close()
        return stream.write(view)

    leg.stream = SimpleNamespace(write=writes_a_little_then_finds_out, flush=stream.flush, backlog=0)
    leg.flush()
    leg.stream = stream
    assert leg.broken
    assert (leg.waiting, budget.held) == (0, 0)


def test_turns_are_small_while_somebody_types_or_much_is_held():
    now = 0.0
    budget = ReadBudget(lambda: now)
    assert budget.allowance() == BLOCK_SIZE
    budget.note_keystroke()
    assert budget.allowance() == SMALL_SIZE
    now = 1.0
    assert budget.allowance() == BLOCK_SIZE
    budget.held = HELD_LIMIT + 1
    assert budget.allowance() == SMALL_SIZE
    budget.held = HELD_LIMIT
    assert budget.allowance() == BLOCK_SIZE
