"""Any stream of messages, fragmented and cut anywhere: what comes out means the same, and is whole at every moment."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing import (
    BINARY,
    CLOSE,
    CONT,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    closing,
    cut_at,
    join,
    read_frames,
    take,
    text,
)

from k8s_ws_proxy.wire.framing.frames import FrameViolation, mask, parse_close
from k8s_ws_proxy.wire.framing.splitter import STATUS_LIMIT, Closed, MessageSplitter, Ping, Status, Violation

WATCHED = {False: (3,), True: (4, 255)}
SIZES = st.one_of(
    st.integers(0, 12), st.sampled_from([124, 125, 126, 127, 128, 250, 300]), st.sampled_from([4095, 65535, 65536])
)


@dataclass
class Meaning:
    """What a stream says, independent of its framing.

    ``said`` is one (channel, byte) for each byte of data, in order over all channels; ``wholes`` are the messages that
    must never be cut; ``empty`` counts the messages of no bytes.
    """

    channels: bytes = b""
    said: bytes = b""
    wholes: tuple[bytes, ...] = ()
    empty: int = 0

    def add(self, payload, *, masked):
        if not payload:
            self.empty += 1
        elif payload[0] in WATCHED[masked]:
            self.wholes += (payload,)
        self.channels += payload[:1] * (len(payload) - 1)
        self.said += payload[1:]

    def begins(self, other):
        """Whether ``other`` says the same, and maybe more."""
        return (
            other.channels.startswith(self.channels)
            and other.said.startswith(self.said)
            and other.wholes[: len(self.wholes)] == self.wholes
            and self.empty <= other.empty
        )


def meaning(out, *, masked, before=None):
    """Of bytes that must be whole, unfragmented messages; ``before`` grows by it."""
    found = before or Meaning()
    for frame in read_frames(out, masked=masked):
        assert frame.fin
        assert frame.opcode in (BINARY, TEXT)
        found.add(frame.payload, masked=masked)
    return found


def filler(size, seed):
    return bytes((seed + i * 37) % 256 for i in range(min(size, 997))) * (size // 997 + 1)


@st.composite
def streams(draw, masked, *, sizes=SIZES, most=8):
    """Frames of a stream, what it means, and the events it must give."""
    frames, expected, events = [], Meaning(), []
    key = st.binary(min_size=4, max_size=4) if masked else st.none()
    control = st.sampled_from([PING, PONG])

    def controls():
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            one = Frame(draw(control), draw(st.binary(max_size=9)), key=draw(key))
            frames.append(one)
            if one.opcode == PING:
                events.append(Ping(one.payload))

    for seed in range(draw(st.integers(1, most))):
        channel = draw(st.sampled_from([0, 1, 2, 3, 4, 255]))
        size = draw(sizes)
        if channel in (3, 4, 255):
            size = min(size, 4095)
        payload = bytes([channel]) + filler(size, seed)[:size]
        payload = payload[: draw(st.sampled_from([len(payload)] * 9 + [0]))]
        opcode = draw(st.sampled_from([BINARY, BINARY, TEXT]))
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4))) if draw(st.booleans()) else []
        edges = [0, *cuts, len(payload)]
        repeat = draw(st.sampled_from([1, 1, 1, 1, 9])) if not cuts and size < 300 else 1
        for _ in range(repeat):
            for n, (start, end) in enumerate(itertools.pairwise(edges)):
                controls()
                frames.append(Frame(CONT if n else opcode, payload[start:end], n == len(edges) - 2, draw(key)))
            expected.add(payload, masked=masked)
            if payload[:1] == b"\x03" and not masked:
                events.append(Status(payload[1:]))
    return frames, expected, events


def check(data, parts, expected, events, *, masked):
    splitter = MessageSplitter(masked=masked)
    said, seen, fed = Meaning(), [], 0
    for part in parts:
        passed, told = take(splitter, part)
        seen += told
        fed += len(part)
        if passed:
            assert meaning(passed, masked=masked, before=said).begins(expected)
        assert len(splitter.carry) <= STATUS_LIMIT + 14
        assert data[:fed].endswith(splitter.carry)
    assert fed == len(data)
    assert said == expected
    assert seen == events
    assert splitter.carry == b""
    assert splitter.flush_truncated() == []


SIDES = pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])


@SIDES
@given(st.data())
def test_cut_at_random_offsets(masked, data):
    frames, expected, events = data.draw(streams(masked))
    stream = text(frames)
    offsets = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    check(stream, cut_at(stream, offsets), expected, events, masked=masked)


@SIDES
@given(st.data())
def test_cut_at_every_offset_and_byte_by_byte(masked, data):
    small = st.one_of(st.integers(0, 6), st.sampled_from([126, 130]))
    frames, expected, events = data.draw(streams(masked, sizes=small, most=3))
    stream = text(frames)
    for offset in range(0, len(stream), len(stream) // 300 + 1):
        check(stream, cut_at(stream, [offset]), expected, events, masked=masked)
    check(stream, cut_at(stream, range(len(stream))), expected, events, masked=masked)


@SIDES
@given(st.data())
def test_cut_at_even_distances(masked, data):
    frames, expected, events = data.draw(streams(masked, sizes=st.sampled_from([0, 5, 126, 127, 500])))
    stream = text(frames)
    step = data.draw(st.integers(1, 200))
    check(stream, cut_at(stream, range(0, len(stream), step)), expected, events, masked=masked)


@SIDES
@given(st.data())
def test_what_needs_no_cutting_is_not_touched(masked, data):
    frames, _, _ = data.draw(streams(masked))
    whole = [frame for frame in frames if frame.fin and frame.opcode in (BINARY, TEXT)]
    stream = text(whole)
    out, events = take(MessageSplitter(masked=masked), stream)
    assert out == stream
    assert [event for event in events if not isinstance(event, Status)] == []


@SIDES
@given(st.data())
def test_a_peer_that_dies_between_any_two_bytes_leaves_nothing_half_said(masked, data):
    frames, expected, events = data.draw(streams(masked))
    stream = text(frames)
    end = data.draw(st.integers(0, len(stream)))
    splitter = MessageSplitter(masked=masked)
    out, seen = b"", []
    for part in cut_at(stream[:end], data.draw(st.lists(st.integers(0, len(stream)), max_size=5))):
        passed, told = take(splitter, part)
        out, seen = out + passed, seen + told
    before = meaning(out, masked=masked)
    told = meaning(out + join(splitter.flush_truncated()), masked=masked)
    assert before.begins(expected)
    assert told.begins(expected)
    assert told.wholes == before.wholes
    assert seen == events[: len(seen)]
    # Of the data, every byte that came is told.
    came = Meaning()
    message = b""
    for frame, after in zip(frames, itertools.accumulate(len(frame.encode()) for frame in frames), strict=True):
        if frame.opcode in (PING, PONG):
            continue
        message += frame.payload[: max(0, len(frame.payload) - max(0, after - end))]
        if after > end:
            break
        if frame.fin:
            came.add(message, masked=masked)
            message = b""
    if message[:1] and message[0] not in WATCHED[masked]:
        came.add(message, masked=masked)
    assert (told.channels, told.said) == (came.channels, came.said)


BAD = st.sampled_from(
    [
        (b"\xc2\x80", 1002),
        (b"\x83\x80", 1002),
        (b"\x8b\x80", 1002),
        (b"\x09\x80", 1002),
        (b"\x89\xfe\x00\x7e", 1002),
        (b"\x82\xfe\x00\x7d", 1002),
        (b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", 1002),
        (b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00", 1002),
        (b"\x82\xff\x00\x00\x00\x00\x02\x00\x00\x01" + KEY + b"x", 1009),
        (b"\x88\x81" + KEY + b"x", 1002),
        (b"\x88\x82" + KEY + mask(b"\x03\xed", KEY), 1002),
        (b"\x88\x83" + KEY + mask(b"\x03\xe8\xff", KEY), 1007),
        (b"\x82\x00", 1002),
    ]
)


@given(st.data())
def test_a_violation_anywhere_ends_it_there(data):
    frames, expected, events = data.draw(streams(True))
    bad, code = data.draw(BAD)
    stream = text(frames)
    tail = data.draw(st.binary(max_size=20))
    offsets = data.draw(st.lists(st.integers(0, len(stream) + len(bad)), max_size=8))
    splitter = MessageSplitter(masked=True)
    out, seen = b"", []
    for part in cut_at(stream + bad + tail, offsets):
        if splitter.ended:
            break
        passed, told = take(splitter, part)
        out, seen = out + passed, seen + told
    assert meaning(out, masked=True) == expected
    assert seen[:-1] == events
    assert isinstance(seen[-1], Violation)
    assert seen[-1].code == code


@SIDES
@given(st.data())
def test_a_close_anywhere_ends_it_there(masked, data):
    frames, expected, events = data.draw(streams(masked))
    stream = text(frames) + closing(1001, "bye", key=KEY if masked else None)
    tail = data.draw(st.binary(max_size=20))
    offsets = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    splitter = MessageSplitter(masked=masked)
    out, seen = b"", []
    for part in cut_at(stream + tail, offsets):
        if splitter.ended:
            break
        passed, told = take(splitter, part)
        out, seen = out + passed, seen + told
    assert meaning(out, masked=masked) == expected
    assert seen == [*events, Closed(1001, "bye")]


@SIDES
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8))
def test_any_bytes_give_whole_messages_and_the_documented_events(masked, parts):
    noise(masked, parts)


@SIDES
@given(st.data())
def test_a_stream_with_some_bytes_changed_gives_whole_messages_and_the_documented_events(masked, data):
    frames, _, _ = data.draw(streams(masked, sizes=st.sampled_from([0, 3, 126, 300])))
    stream = bytearray(text(frames))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    noise(masked, cut_at(bytes(stream), data.draw(st.lists(st.integers(0, len(stream)), max_size=6))))


def noise(masked, parts):
    splitter = MessageSplitter(masked=masked)
    out = b""
    for part in parts:
        passed, events = take(splitter, part)
        out += passed
        meaning(out, masked=masked)
        for event in events[:-1]:
            assert isinstance(event, Ping | Status)
        if splitter.ended:
            assert isinstance(events[-1], Closed | Violation)
            assert splitter.carry == b""
            break
        assert len(splitter.carry) <= STATUS_LIMIT + 14
        for event in events:
            assert isinstance(event, Ping | Status)
    meaning(out + join(splitter.flush_truncated()), masked=masked)


@given(st.binary(max_size=125))
def test_a_close_frame_is_told_or_is_a_violation(payload):
    frame = replace(Frame(CLOSE, payload), key=KEY)
    _, (event,) = take(MessageSplitter(masked=True), frame.encode())
    try:
        expected = Closed(*parse_close(payload))
    except FrameViolation as violation:
        expected = Violation(violation.code, str(violation))
    assert event == expected
