"""RFC 6455 framing: headers, masks and close payloads, as the RFC writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing import Frame, read_frames

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.frames import (
    FrameViolation,
    Header,
    close_payload,
    header,
    mask,
    parse_close,
    parse_header,
)

KEY = bytes.fromhex("37fa213d")
SIZES = [0, 1, 125, 126, 127, 65535, 65536, 1 << 32, (1 << 63) - 1]


def parse(data, *, masked=False):
    return parse_header(data, 0, len(data), masked=masked)


def code_of(data, *, masked=False):
    with pytest.raises(FrameViolation) as violation:
        parse(data, masked=masked)
    return violation.value.code


def test_the_examples_of_rfc_6455_section_5_7():
    hello = bytes.fromhex("818537fa213d7f9f4d5158")
    assert parse(hello, masked=True) == Header(frames.TEXT, True, 5, 6, KEY)
    assert mask(hello[6:], KEY) == b"Hello"
    assert frames.frame(frames.TEXT, b"Hello", KEY) == hello
    assert frames.frame(frames.TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert parse(bytes.fromhex("010348656c")) == Header(frames.TEXT, False, 3, 2, b"")
    assert parse(bytes.fromhex("80026c6f")) == Header(frames.CONTINUATION, True, 2, 2, b"")
    assert frames.frame(frames.PING, b"Hello") == bytes.fromhex("890548656c6c6f")
    assert frames.frame(frames.PONG, b"Hello", KEY) == bytes.fromhex("8a8537fa213d7f9f4d5158")
    assert header(frames.BINARY, 256) == bytes.fromhex("827e0100")
    assert header(frames.BINARY, 65536) == bytes.fromhex("827f0000000000010000")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", [b"", KEY], ids=["unmasked", "masked"])
def test_a_header_is_read_as_it_was_written_and_not_before_it_is_complete(size, key):
    written = header(frames.BINARY, size, key)
    for end in range(len(written)):
        assert parse(written[:end], masked=bool(key)) is None
    assert parse(written, masked=bool(key)) == Header(frames.BINARY, True, size, len(written), key)


def test_a_header_is_read_where_it_stands():
    buf = bytearray(b"\xff" * 7 + header(frames.BINARY, 300, KEY) + b"\xff" * 5)
    assert parse_header(buf, 7, len(buf), masked=True) == Header(frames.BINARY, True, 300, 8, KEY)
    assert parse_header(buf, 7, 14, masked=True) is None


@pytest.mark.parametrize("bit", [0x40, 0x20, 0x10])
def test_a_reserved_bit(bit):
    assert code_of(bytes([0x82 | bit, 0])) == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("fin", [0, 0x80])
def test_a_reserved_opcode(opcode, fin):
    assert code_of(bytes([fin | opcode, 0])) == 1002


def test_an_unmasked_frame_from_a_client_and_a_masked_one_from_a_server():
    assert code_of(bytes([0x82, 0]), masked=True) == 1002
    assert code_of(bytes([0x82, 0x80]), masked=False) == 1002


@pytest.mark.parametrize("opcode", [frames.CLOSE, frames.PING, frames.PONG])
@pytest.mark.parametrize("masked", [False, True])
def test_a_control_frame_is_short_and_whole(opcode, masked):
    bit = 0x80 if masked else 0
    assert code_of(bytes([opcode, bit]), masked=masked) == 1002
    assert code_of(bytes([0x80 | opcode, bit | 126]), masked=masked) == 1002
    assert code_of(bytes([0x80 | opcode, bit | 127]), masked=masked) == 1002
    assert parse(bytes([0x80 | opcode, bit | 125]) + bytes(4), masked=masked).length == 125


@pytest.mark.parametrize("length", [0, 1, 125])
def test_a_16_bit_length_that_needed_none(length):
    assert code_of(b"\x82\x7e" + length.to_bytes(2, "big")) == 1002


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 1 << 63, (1 << 64) - 1])
def test_a_64_bit_length_that_needed_fewer_or_has_its_top_bit_set(length):
    assert code_of(b"\x82\x7f" + length.to_bytes(8, "big")) == 1002


@pytest.mark.parametrize(
    "early",
    [b"\xc2\x00", b"\x83\x00", b"\x82\x80", b"\x09\x00", b"\x89\x7e"],
    ids=["reserved bit", "reserved opcode", "masked", "fragmented ping", "long ping"],
)
def test_a_violation_shows_in_the_first_two_bytes(early):
    assert code_of(early) == 1002


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_twice_is_nothing_and_once_is_rfc_6455_section_5_3(data, key):
    masked = mask(data, key)
    assert masked == bytes(byte ^ key[i % 4] for i, byte in enumerate(data))
    assert mask(masked, key) == data
    assert mask(data, b"") == data


@given(
    st.sampled_from([frames.TEXT, frames.BINARY, frames.CONTINUATION]),
    st.one_of(st.binary(max_size=300), st.sampled_from([bytes(65535), bytes(65536)])),
    st.one_of(st.just(b""), st.binary(min_size=4, max_size=4)),
)
def test_a_frame_is_what_the_slow_reader_reads(opcode, payload, key):
    (read,) = read_frames(frames.frame(opcode, payload, key), masked=bool(key))
    assert read == Frame(opcode, payload, key=key or None)


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        (0, False),
        (999, False),
        (1000, True),
        (1001, True),
        (1002, True),
        (1003, True),
        (1004, False),
        (1005, False),
        (1006, False),
        (1007, True),
        (1011, True),
        (1012, True),
        (1013, True),
        (1014, True),
        (1015, False),
        (1016, False),
        (1100, False),
        (2000, False),
        (2999, False),
        (3000, True),
        (3999, True),
        (4000, True),
        (4999, True),
        (5000, False),
        (65535, False),
    ],
)
def test_which_close_codes_may_be_sent(code, allowed):
    payload = code.to_bytes(2, "big") + b"why"
    if allowed:
        assert parse_close(payload) == (code, "why")
    else:
        with pytest.raises(FrameViolation) as violation:
            parse_close(payload)
        assert violation.value.code == 1002


def test_an_empty_close_has_no_code_and_half_a_code_is_a_violation():
    assert parse_close(b"") == (None, "")
    with pytest.raises(FrameViolation) as violation:
        parse_close(b"\x03")
    assert violation.value.code == 1002


@pytest.mark.parametrize("reason", [b"\xff", b"\xc3", b"ab\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf"])
def test_a_close_reason_is_utf_8(reason):
    with pytest.raises(FrameViolation) as violation:
        parse_close(b"\x03\xe8" + reason)
    assert violation.value.code == 1007


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("", b""),
        ("x" * 123, b"x" * 123),
        ("x" * 124, b"x" * 123),
        ("é" * 62, "é".encode() * 61),
        ("x" + "é" * 61, ("x" + "é" * 61).encode()),
        ("✓" * 42, ("✓" * 41).encode()),
        ("😀" * 31, ("😀" * 30).encode()),
        ("\ud800", b"?"),
    ],
)
def test_a_close_reason_of_ours_is_cut_to_123_bytes_between_characters(reason, expected):
    payload = close_payload(1011, reason)
    assert payload == b"\x03\xf3" + expected
    assert parse_close(payload)[0] == 1011


def test_a_close_without_a_code_has_no_payload():
    assert close_payload(None, "never said") == b""


@given(st.one_of(st.none(), st.sampled_from([1000, 1001, 1011, 3000, 4999])), st.text(max_size=200))
def test_a_close_of_ours_is_always_one_that_may_be_sent(code, reason):
    payload = close_payload(code, reason)
    assert len(payload) <= 125
    parsed_code, parsed_reason = parse_close(payload)
    assert parsed_code == code
    assert reason.encode("utf-8", "replace").decode().startswith(parsed_reason)


@given(st.binary(max_size=24), st.booleans())
def test_any_bytes_are_a_header_or_too_few_or_a_violation(data, masked):
    try:
        found = parse(data, masked=masked)
    except FrameViolation as violation:
        assert violation.code == 1002  # noqa: PT017 - either outcome is right
    else:
        assert found is None or (0 <= found.length < 1 << 63 and found.size <= len(data))


@given(st.binary(max_size=130))
def test_any_bytes_are_a_close_or_a_violation(data):
    try:
        code, _ = parse_close(data)
    except FrameViolation as violation:
        assert violation.code in (1002, 1007)  # noqa: PT017 - either outcome is right
    else:
        assert code is None or 1000 <= code <= 4999
