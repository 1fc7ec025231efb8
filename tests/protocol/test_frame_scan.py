"""The hot loop against a walker that takes one frame after the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing import BINARY, CONT, KEY, PING, TEXT, Frame, read_frame, text

from k8s_ws_proxy.wire.framing.frame_scan import scan_whole_frames


def slow(data, pos, *, masked):
    """What scan_whole_frames() promises, one frame after the other: the offset where it stops."""
    while True:
        try:
            found = read_frame(data, pos, masked=masked)
        except AssertionError:
            break
        if found is None:
            break
        frame, after = found
        if frame.opcode != BINARY or not frame.fin or not 1 <= len(frame.payload) <= 65535:
            break
        if not masked and frame.payload[0] == 3:
            break
        pos = after
    return pos


def fast(data, pos=0, *, masked):
    buf = bytearray(data)
    after = scan_whole_frames(buf, pos, len(buf), masked=masked)
    assert buf == data, "the block was changed"
    return after


def check(data, *, masked):
    assert fast(data, masked=masked) == slow(data, 0, masked=masked)


def frame(masked, payload, opcode=BINARY, fin=True):
    return Frame(opcode, payload, fin, KEY if masked else None)


ODD = {
    "another size": lambda masked: frame(masked, b"\x01abc"),
    "a longer length form": lambda masked: frame(masked, b"\x01" + b"x" * 200),
    "another channel": lambda masked: frame(masked, b"\x02" + b"y" * 15),
    "a status": lambda masked: frame(masked, b"\x03" + b"y" * 15),
    "a status of another size": lambda masked: frame(masked, b"\x03{}"),
    "a ping": lambda masked: frame(masked, b"y" * 16, PING),
    "a text frame": lambda masked: frame(masked, b"\x01" + b"y" * 15, TEXT),
    "the first of several fragments": lambda masked: frame(masked, b"\x01" + b"y" * 15, fin=False),
    "a continuation": lambda masked: frame(masked, b"y" * 16, CONT),
    "an empty message": lambda masked: frame(masked, b""),
    "one byte": lambda masked: frame(masked, b"\x01"),
    "a large frame": lambda masked: frame(masked, b"\x01" + bytes(65535)),
}


@pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])
@pytest.mark.parametrize("odd", ODD)
def test_one_odd_frame_at_each_position_of_a_run(masked, odd):
    same = frame(masked, b"\x01" + b"z" * 15).encode()
    other = ODD[odd](masked).encode()
    for before in range(20):
        check(same * before + other + same * (19 - before), masked=masked)


@pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 125, 126, 127, 300, 4096, 32769, 65535])
def test_a_run_of_each_size_of_header(masked, size):
    data = frame(masked, b"\x01" + b"z" * (size - 1)).encode() * 12
    check(data, masked=masked)
    assert fast(data, masked=masked) == len(data)


@pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])
def test_a_run_cut_at_every_byte(masked):
    data = text([frame(masked, b"\x01" + b"z" * 3)] * 10 + [frame(masked, b"\x01" + b"z" * 130)] * 9)
    for end in range(len(data) + 1):
        check(data[:end], masked=masked)


@pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])
def test_what_lies_behind_the_end_is_not_looked_at(masked):
    data = text([frame(masked, b"\x01")] * 3 + [frame(masked, b"\x01" + b"z" * 130), frame(masked, b"\x01" * 4)])
    for end in range(len(data) + 1):
        assert scan_whole_frames(bytearray(data), 0, end, masked=masked) == slow(data[:end], 0, masked=masked)


def test_the_status_byte_inside_payloads_is_nothing():
    data = text([frame(False, b"\x01\x03\x03\x03\x82\x04")] * 30)
    assert fast(data, masked=False) == len(data)


def test_from_a_client_channel_3_is_nothing_special():
    data = text([frame(True, b"\x03abc")] * 30)
    assert fast(data, masked=True) == len(data)


def test_the_walk_starts_and_ends_where_it_is_told():
    one = frame(False, b"\x01" + b"z" * 15).encode()
    buf = bytearray(b"\xff\xff" + one * 20)
    assert scan_whole_frames(buf, 2, len(buf), masked=False) == len(buf)
    assert scan_whole_frames(buf, 2, len(buf) - 1, masked=False) == len(buf) - len(one)
    assert scan_whole_frames(buf, 2, 2 + 9 * len(one), masked=False) == 2 + 9 * len(one)
    assert scan_whole_frames(buf, 0, len(buf), masked=False) == 0


@pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])
@pytest.mark.parametrize(
    "raw", [b"\x82\x7e\x00\x05zzzzzzz", b"\x82\xfe\x00\x05kkkkzzzzz", b"\x82\x7f" + bytes(9), b"\xc2\x05zzzzzzz"]
)
def test_what_breaks_the_protocol_is_left_to_the_closer_look(masked, raw):
    good = frame(masked, b"\x01" + b"z" * 15).encode()
    for count in (0, 1, 8, 20):
        assert fast(good * count + raw, masked=masked) == len(good) * count


SIZES = st.sampled_from([1, 2, 3, 16, 64, 125, 126, 127, 200, 1000])
CHANNELS = st.sampled_from([0, 1, 1, 1, 1, 2, 3, 4, 255])


@st.composite
def runs(draw, masked):
    out = []
    for _ in range(draw(st.integers(1, 6))):
        payload = bytes([draw(CHANNELS)]) + b"\x03" * (draw(SIZES) - 1)
        opcode = draw(st.sampled_from([BINARY] * 12 + [TEXT, PING]))
        if opcode == PING:
            payload = payload[:125]
        key = draw(st.binary(min_size=4, max_size=4)) if masked else None
        out += [Frame(opcode, payload, key=key)] * draw(st.sampled_from([1, 2, 7, 8, 9, 20, 60]))
    return out


@given(st.data(), st.booleans())
def test_it_stops_where_the_slow_walker_does(data, masked):
    stream = text(data.draw(runs(masked)))
    end = data.draw(st.integers(0, len(stream)))
    pos = 0
    while True:  # as the splitter does: past what needs a closer look, and on
        stopped = fast(stream[:end], pos, masked=masked)
        assert stopped == slow(stream[:end], pos, masked=masked)
        found = read_frame(stream[:end], stopped, masked=masked)
        if found is None:
            break
        pos = found[1]


@given(st.binary(max_size=400), st.booleans())
def test_on_any_bytes_it_does_what_the_slow_walker_does(noise, masked):
    prefix = frame(masked, b"\x01abc").encode() * 9
    check(noise, masked=masked)
    check(prefix + noise, masked=masked)
