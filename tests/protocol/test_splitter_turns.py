"""How much of a block is dealt with in one turn, where its frames are many and tiny."""

from __future__ import annotations

import pytest
from support.framing import BINARY, CONT, PING, Frame, read_frames, server, take, take_once

from k8s_ws_proxy.wire.framing.splitter import FRAMES_AT_ONCE, MessageSplitter

MANY = 3 * FRAMES_AT_ONCE + 10


def ping(masked):
    return Frame(PING, b"", True, b"abcd" if masked else None).encode()


def fragment(masked):
    return Frame(CONT, b"x", False, b"abcd" if masked else None).encode()


@pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])
def test_pings_are_told_a_few_at_a_time(masked):
    splitter = MessageSplitter(masked=masked)
    turns, part = [], ping(masked) * MANY
    while part or splitter.halted:
        _, events = take_once(splitter, part)
        turns.append(len(events))
        part = b""
    assert turns == [FRAMES_AT_ONCE] * 3 + [10]
    assert not splitter.carry


@pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])
def test_fragments_leave_as_they_would_in_one_turn(masked):
    first = Frame(BINARY, b"\1x", False, b"abcd" if masked else None).encode()
    last = Frame(CONT, b"!", True, b"abcd" if masked else None).encode()
    splitter = MessageSplitter(masked=masked)
    out, events = take(splitter, first + fragment(masked) * MANY + last)
    left = b"".join(one.payload[1:] for one in read_frames(out, masked=masked))
    assert (left, events) == (b"x" + b"x" * MANY + b"!", [])
    assert splitter.between_messages


def test_whole_messages_in_a_run_are_one_look_however_many():
    splitter = MessageSplitter(masked=False)
    wire = server(1, b"x") * 10_000
    out, _ = take_once(splitter, wire)
    assert (out, splitter.halted) == (wire, False)


def test_a_turn_that_ends_with_the_block_leaves_nothing_to_do():
    splitter = MessageSplitter(masked=True)
    _, events = take_once(splitter, ping(True) * FRAMES_AT_ONCE)
    assert (len(events), splitter.halted, splitter.carry) == (FRAMES_AT_ONCE, False, b"")
