"""What an observer is told of the messages that pass."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.channels import RESIZE, STATUS, STDERR, STDIN, STDOUT
from k8s_ws_proxy.wire.rules.observer import FEW_BYTES, MANY, Tap

KEY = b"\x11\x22\x33\x44"


class Told:
    """An observer that writes down what it is told."""

    def __init__(self, *, takes_input=True):
        self.full = False
        self.takes_input = takes_input
        self.told = []

    def output(self, channel, data):
        self.told.append((channel, data))

    def input(self, data):
        self.told.append(("typed", data))

    def resized(self, columns, rows):
        self.told.append(("size", columns, rows))

    def status(self, payload):
        self.told.append(("status", payload))

    def ended(self, relay):
        self.told.append(("ended", relay))


def tapped(**options):
    tap, told = Tap(), Told(**options)
    tap.observers = (told,)
    return tap, told


def message(channel, payload, key=b""):
    return frames.frame(frames.BINARY, bytes((channel,)) + payload, key)


def test_output_of_one_channel_in_one_turn_comes_as_one():
    tap, told = tapped()
    tap.to_client([message(STDOUT, b"a"), message(STDOUT, b"b"), message(STDERR, b"c"), message(STDOUT, b"d")])
    tap.to_client([message(STDOUT, b"e")])
    assert told.told == [(STDOUT, b"ab"), (STDERR, b"c"), (STDOUT, b"d"), (STDOUT, b"e")]


@pytest.mark.parametrize("sizes", [[20_000], [20_000, 30_000], [1], [7] * 20, [20_000, *[7] * 20, 20_000]], ids=len)
def test_what_was_told_stays_when_the_next_block_is_read(sizes):
    """A block serves all sessions: what points into it has another session's bytes soon."""
    tap, told = tapped()
    block = bytearray(b"".join(message(STDOUT, b"x" * size) for size in sizes) + message(STATUS, b"{}"))
    typed = bytearray(b"".join(message(STDIN, b"t" * size, KEY) for size in sizes))
    tap.to_client([memoryview(block)])
    tap.to_upstream([memoryview(typed)])
    block[:], typed[:] = bytes(len(block)), bytes(len(typed))
    total = sum(sizes)
    assert told.told == [(STDOUT, b"x" * total), ("status", b"{}"), ("typed", b"t" * total)]
    assert all(type(data) is bytes for _, data in told.told)


def test_what_is_no_output_is_left_out_and_a_status_is_told_as_it_is():
    tap, told = tapped()
    tap.to_client(
        [
            frames.frame(frames.PING, b"k8s-ws-proxy"),
            message(STDOUT, b""),
            frames.frame(frames.BINARY, b""),
            message(STATUS, b'{"status": "Success"}'),
            message(255, b"\x01"),
            frames.frame(frames.CLOSE, frames.close_payload(1000)),
        ]
    )
    assert told.told == [("status", b'{"status": "Success"}')]


def test_what_is_typed_and_the_size_are_unmasked():
    tap, told = tapped()
    sizes = [b'{"Width": 80, "Height": 24}', b'{"Width": 81, "Height": 24}']
    tap.to_upstream([message(STDIN, b"l", KEY), message(STDIN, b"s", KEY), message(STDIN, b"", KEY)])
    tap.to_upstream([message(RESIZE, size, KEY) for size in sizes])
    tap.to_upstream([frames.frame(frames.PONG, b"x", KEY), message(255, b"\x00", KEY)])
    assert told.told == [("typed", b"ls"), ("size", 80, 24), ("size", 81, 24)]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"Width": "80", "Height": 24}',
        b'{"Width": 0, "Height": 24}',
        b'{"Width": true, "Height": 24}',
    ],
)
def test_a_size_that_is_none_is_left_out(payload):
    tap, told = tapped()
    tap.to_upstream([message(RESIZE, payload, KEY)])
    assert told.told == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from([STDOUT, STDERR, STATUS]),
            st.one_of(st.binary(max_size=3), st.integers(60, 130).map(lambda size: b"x" * size)),
            st.integers(1, 40),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_nothing_is_lost_or_moved_whatever_the_sizes(runs, whole):
    tap, told = tapped()
    sent = [(channel, payload) for channel, payload, times in runs for _ in range(times)]
    pieces = [message(channel, payload) for channel, payload in sent]
    tap.to_client([memoryview(bytearray(b"".join(pieces)))] if whole else pieces)
    expected = []
    for channel, payload in sent:
        if channel == STATUS:
            expected.append(("status", payload))
        elif payload and expected and expected[-1][0] == channel:
            expected[-1] = (channel, expected[-1][1] + payload)
        elif payload:
            expected.append((channel, payload))
    joined = []
    for one in told.told:
        if joined and one[0] == joined[-1][0] != "status":
            joined[-1] = (one[0], joined[-1][1] + one[1])
        else:
            joined.append(one)
    assert joined == expected


def test_a_flood_of_single_characters_is_one_event_a_turn():
    tap, told = tapped()
    tap.to_client([b"".join(message(STDOUT, b"%d" % (number % 10)) for number in range(50_000))])
    assert told.told == [(STDOUT, b"0123456789" * 5000)]
    assert tap.max_read is None, "a run of alike ones is cheap"


def test_many_that_differ_are_taken_in_smaller_turns():
    tap, told = tapped()
    tap.to_client([message(STDOUT + number % 2, b"x") for number in range(MANY + 1)])
    assert tap.max_read == FEW_BYTES
    assert len(told.told) == MANY + 1
    tap.to_client([message(STDOUT, b"x")])
    assert tap.max_read is None


@pytest.mark.parametrize("two", [message(STDOUT, b"x") + message(STDOUT, b"xy"), 2 * frames.frame(frames.BINARY, b"")])
def test_many_of_one_channel_are_many_although_they_come_as_one(two):
    """They are taken out one by one, as those of two channels are, and cost as much."""
    tap, told = tapped()
    tap.to_client([two] * MANY)
    assert tap.max_read == FEW_BYTES
    assert len(told.told) <= 1


def test_who_does_not_take_what_is_typed_is_told_sizes_only():
    tap, told = tapped(takes_input=False)
    tap.to_upstream([message(STDIN, b"secret", KEY), message(RESIZE, b'{"Width": 80, "Height": 24}', KEY)])
    assert told.told == [("size", 80, 24)]
    assert tap.max_read_client is None
    tap.to_upstream([message(STDIN, b"x", KEY)] * (MANY + 1))
    assert tap.max_read_client == FEW_BYTES


def test_who_takes_it_has_it_in_small_turns():
    tap, _told = tapped()
    assert tap.max_read_client == FEW_BYTES


@pytest.mark.parametrize("size", [1, 63, 125, 126, 1000, 65535, 65536, 70000])
def test_messages_of_every_length(size):
    tap, told = tapped()
    tap.to_client([message(STDOUT, bytes([number]) * size) for number in range(9)] + [message(STDERR, b"end")])
    assert told.told == [(STDOUT, b"".join(bytes([number]) * size for number in range(9))), (STDERR, b"end")]
    told.told.clear()
    tap.to_upstream([message(STDIN, b"t" * size, KEY)])
    assert told.told == [("typed", b"t" * size)]


def test_a_full_one_holds_for_all():
    tap, told = tapped()
    other = Told()
    tap.observers = (told, other)
    assert not tap.full
    other.full = True
    assert tap.full


def test_every_observer_is_told_the_same():
    tap, told = tapped()
    other = Told()
    tap.observers = (told, other)
    tap.to_client([message(STDOUT, b"x"), message(STATUS, json.dumps({"status": "Success"}).encode())])
    assert told.told == other.told != []
