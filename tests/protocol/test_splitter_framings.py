"""Messages without a terminal's channels, cut and fragmented anywhere: the bytes stay, and nothing in them is read."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing import BINARY, CONT, PING, PONG, Frame, cut_at, join, read_frames, take, text

from k8s_ws_proxy.wire.framing.channels import Framing
from k8s_ws_proxy.wire.framing.splitter import MessageSplitter, Ping

SIDES = pytest.mark.parametrize("masked", [False, True], ids=["from upstream", "from a client"])
KEY = b"\x9c\x01\xf7\x33"


def feed(splitter, *parts):
    told = [take(splitter, part) for part in parts]
    return b"".join(out for out, _ in told), [event for _, events in told for event in events]


def meaning(framing, payloads):
    """What messages say: their bytes in order; where there are channels, each with its channel before it."""
    if framing is Framing.TUNNEL:
        return b"".join(payloads)
    said = b"".join(payload[1:] for payload in payloads)
    channels = b"".join(payload[:1] * (len(payload) - 1) for payload in payloads)
    return bytes(itertools.chain.from_iterable(zip(channels, said, strict=True)))


@st.composite
def streams(draw, masked):
    """Frames on the wire, the payloads of their messages, and the pings among them."""
    frames, messages, pings = [], [], []
    key = st.binary(min_size=4, max_size=4) if masked else st.none()
    for number in range(draw(st.integers(1, 6))):
        size = draw(st.one_of(st.integers(0, 12), st.sampled_from([125, 126, 127, 300, 4096, 65536])))
        first = draw(st.sampled_from([0, 1, 3, 4, 128, 255]))  # where channels are a terminal's, some are held
        payload = (bytes((first,)) + bytes((number + i * 37) % 256 for i in range(997)) * (size // 997 + 1))[:size]
        inner = sorted(draw(st.lists(st.integers(0, size), max_size=3)))
        edges = [0, *inner, size]
        for part, (start, end) in enumerate(itertools.pairwise(edges)):
            opcode = CONT if part else BINARY
            frames.append(Frame(opcode, payload[start:end], part == len(inner), draw(key)))
            if draw(st.booleans()):
                control = Frame(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=5)), key=draw(key))
                frames.append(control)
                pings += [Ping(control.payload)] if control.opcode == PING else []
        messages.append(payload)
    return text(frames), messages, pings


@SIDES
@pytest.mark.parametrize("framing", [Framing.PORTS, Framing.TUNNEL], ids=lambda framing: framing.value)
@given(st.data())
def test_bytes_stay_and_leave_in_whole_messages(masked, framing, data):
    wire, messages, pings = data.draw(streams(masked))
    offsets = data.draw(st.lists(st.integers(0, len(wire)), max_size=8))
    splitter = MessageSplitter(masked=masked, framing=framing)
    out, events = b"", []
    for part in cut_at(wire, offsets):
        took, seen = take(splitter, part)
        out, events = out + took, events + seen
        frames = read_frames(out, masked=masked)  # whole at every moment
        assert all(frame.fin and frame.opcode == BINARY for frame in frames)
    assert meaning(framing, [frame.payload for frame in frames]) == meaning(framing, messages)
    assert events == pings
    assert splitter.between_messages


@SIDES
@pytest.mark.parametrize("channel", [3, 4, 255])
@pytest.mark.parametrize("framing", [Framing.PORTS, Framing.TUNNEL], ids=lambda framing: framing.value)
def test_no_channel_is_held_until_its_message_is_whole(masked, framing, channel):
    message = Frame(BINARY, bytes((channel,)) + b"x" * 100_000, key=KEY if masked else None).encode()
    out, events = feed(MessageSplitter(masked=masked, framing=framing), message[:5000])
    (frame,) = read_frames(out, masked=masked)
    assert frame.payload[:2] == bytes((channel, ord("x")))
    assert events == []


@SIDES
def test_nothing_is_added_to_a_tunnel(masked):
    """The bytes of a message that is cut are the bytes that came: no channel is repeated, and masks stay right."""
    payload = bytes(i * 7 % 251 for i in range(1000))
    wire = Frame(BINARY, payload, key=KEY if masked else None).encode()
    for offset in range(len(wire) - 1000 + 126, len(wire)):
        out, _ = feed(MessageSplitter(masked=masked, framing=Framing.TUNNEL), *cut_at(wire, [offset]))
        assert [frame.payload for frame in read_frames(out, masked=masked)] == [
            payload[: offset - len(wire)],
            payload[offset - len(wire) :],
        ]


@SIDES
@pytest.mark.parametrize(("framing", "least"), [(Framing.TUNNEL, 1), (Framing.PORTS, 2)])
def test_flush_truncated(masked, framing, least):
    """What there was of a short message when its sender died, unless that is only a channel."""
    wire = Frame(BINARY, b"\x03word", key=KEY if masked else None).encode()
    for there in range(5):
        splitter = MessageSplitter(masked=masked, framing=framing)
        feed(splitter, wire[: len(wire) - 5 + there])
        said = [frame.payload for frame in read_frames(join(splitter.flush_truncated()), masked=masked)]
        assert said == ([b"\x03word"[:there]] if there >= least else [])
