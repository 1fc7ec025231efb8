"""One direction of a session, script by script: bytes in, pieces and events out."""

from __future__ import annotations

import pytest
from support.framing import (
    BINARY,
    CONT,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    client,
    closing,
    cut_at,
    join,
    read_frames,
    server,
    take,
    text,
)

from k8s_ws_proxy.wire.framing.splitter import (
    ASSEMBLY_LIMIT,
    HEADROOM,
    MESSAGE_LIMIT,
    RESIZE_LIMIT,
    STATUS_LIMIT,
    Block,
    Closed,
    MessageSplitter,
    Ping,
    Status,
    Violation,
)

OTHER = b"\xaa\xbb\xcc\xdd"
SIDES = pytest.mark.parametrize("masked", [False, True], ids=["server", "client"])


def frame(masked, payload, opcode=BINARY, *, fin=True, key=KEY):
    return Frame(opcode, payload, fin, key if masked else None)


def feed(splitter, *parts):
    """Bytes and events of all parts."""
    out, events = b"", []
    for part in parts:
        passed, seen = take(splitter, part)
        read_frames(passed, masked=splitter._masked)  # whole, valid frames after every take
        out += passed
        events += seen
    return out, events


def payloads(out, *, masked):
    """What left, as whole unfragmented messages."""
    frames = read_frames(out, masked=masked)
    assert all(one.fin and one.opcode in (BINARY, TEXT) for one in frames)
    return [one.payload for one in frames]


@SIDES
def test_whole_messages_leave_as_they_came_and_are_not_copied(masked):
    data = text(
        frame(masked, payload, opcode, key=key)
        for payload, opcode, key in [
            (b"\x01hello", BINARY, KEY),
            (b"\x02" + b"e" * 200, BINARY, OTHER),
            (b"", BINARY, KEY),
            (b"\x01" + b"z" * 70_000, BINARY, KEY),
            (b"\x01text", TEXT, OTHER),
            (b"\x01", BINARY, KEY),
        ]
    )
    block = Block(len(data))
    block.buf[HEADROOM:] = data
    pieces = MessageSplitter(masked=masked).take(block, HEADROOM, HEADROOM + len(data))
    assert join(pieces) == data
    (piece,) = pieces
    assert isinstance(piece, memoryview)
    assert piece.obj is block.buf


@SIDES
def test_an_empty_message_is_passed_on(masked):
    data = frame(masked, b"").encode()
    assert feed(MessageSplitter(masked=masked), data * 3) == (data * 3, [])


@SIDES
def test_a_header_waits_until_it_and_a_byte_of_payload_are_there(masked):
    data = frame(masked, b"\x01" + b"x" * 300).encode()
    head = len(data) - 301
    splitter = MessageSplitter(masked=masked)
    for end in range(1, head + 1):
        assert feed(splitter, data[end - 1 : end]) == (b"", [])
        assert splitter.carry == data[:end]


@SIDES
def test_a_short_message_waits_for_its_end(masked):
    data = frame(masked, b"\x01" + b"x" * 124).encode()
    splitter = MessageSplitter(masked=masked)
    for byte in data[:-1]:
        assert feed(splitter, bytes([byte])) == (b"", [])
    assert feed(splitter, data[-1:]) == (data, [])
    assert splitter.carry == b""


@SIDES
@pytest.mark.parametrize("size", [140, 300, 65_535, 65_536, 200_000])
@pytest.mark.parametrize("turn", range(4))
def test_a_long_message_leaves_as_several_that_mean_the_same(masked, size, turn):
    payload = b"\x01" + bytes(i * 7 % 251 for i in range(size - 1))
    data = frame(masked, payload).encode()
    head = len(data) - size
    out, events = feed(
        MessageSplitter(masked=masked), *cut_at(data, [head + 126 + turn, head + 200 + 3 * turn, size // 2 + turn])
    )
    parts = payloads(out, masked=masked)
    assert len(parts) > 1
    assert {part[:1] for part in parts} == {b"\x01"}
    assert b"".join(part[1:] for part in parts) == payload[1:]
    assert events == []


@SIDES
def test_what_is_there_of_a_long_message_does_not_wait(masked):
    payload = b"\x01" + b"x" * 1000
    data = frame(masked, payload).encode()
    head = len(data) - len(payload)
    splitter = MessageSplitter(masked=masked)
    assert feed(splitter, data[: head + 125])[0] == b""
    assert payloads(feed(splitter, data[head + 125 : head + 126])[0], masked=masked) == [payload[:126]]
    assert splitter.carry == b""
    assert payloads(feed(splitter, data[head + 126 : head + 127])[0], masked=masked) == [b"\x01x"]
    assert payloads(feed(splitter, data[head + 127 :])[0], masked=masked) == [b"\x01" + b"x" * 874]


@SIDES
def test_after_the_rest_of_a_cut_message_the_next_ones_follow_in_the_same_take(masked):
    long, short = frame(masked, b"\x01" + b"x" * 500).encode(), frame(masked, b"\x02end", key=OTHER).encode()
    ping = frame(masked, b"now", PING).encode()
    splitter = MessageSplitter(masked=masked)
    first, _ = feed(splitter, long[:300])
    rest, events = feed(splitter, long[300:] + ping + short)
    parts = payloads(first + rest, masked=masked)
    assert b"".join(part[1:] for part in parts[:-1]) == b"x" * 500
    assert parts[-1] == b"\x02end"
    assert rest.endswith(short)
    assert events == [Ping(b"now")]


def test_a_cut_text_message_leaves_as_binary_ones_a_character_may_be_cut_too():
    data = Frame(TEXT, b"\x01" + "é".encode() * 200).encode()
    out, _ = feed(MessageSplitter(masked=False), data[:202], data[202:])
    assert {one.opcode for one in read_frames(out, masked=False)} == {BINARY}
    assert b"".join(part[1:] for part in payloads(out, masked=False)) == "é".encode() * 200


@SIDES
def test_fragments_leave_as_messages_of_their_own_with_the_channel_repeated(masked):
    data = text(
        [
            frame(masked, b"\x00abc", TEXT, fin=False, key=KEY),
            frame(masked, b"def", CONT, fin=False, key=OTHER),
            frame(masked, b"g", CONT, key=b"\0\0\0\0"),
        ]
    )
    out, _ = feed(MessageSplitter(masked=masked), data)
    assert payloads(out, masked=masked) == [b"\x00abc", b"\x00def", b"\x00g"]
    assert {one.opcode for one in read_frames(out, masked=masked)} == {BINARY}


@SIDES
def test_fragments_cut_at_every_byte(masked):
    data = text(
        [
            frame(masked, b"\x00" + b"a" * 140, fin=False),
            frame(masked, b"now", PING),
            frame(masked, b"b" * 9, CONT, fin=False, key=OTHER),
            frame(masked, b"", CONT, fin=False),
            frame(masked, b"c" * 130, CONT),
            frame(masked, b"\x02next"),
        ]
    )
    for offset in range(1, len(data)):
        out, events = feed(MessageSplitter(masked=masked), *cut_at(data, [offset]))
        parts = payloads(out, masked=masked)
        assert b"".join(part[1:] for part in parts if part[0] == 0) == b"a" * 140 + b"b" * 9 + b"c" * 130
        assert parts[-1] == b"\x02next"
        assert events == [Ping(b"now")]


@SIDES
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        # Empty fragments say nothing, wherever they stand.
        ([(b"", BINARY, False), (b"\x01ab", CONT, True)], [b"\x01ab"]),
        ([(b"", BINARY, False), (b"", CONT, False), (b"\x01ab", CONT, True)], [b"\x01ab"]),
        ([(b"\x01ab", BINARY, False), (b"", CONT, True)], [b"\x01ab"]),
        ([(b"\x01ab", BINARY, False), (b"", CONT, False), (b"c", CONT, True)], [b"\x01ab", b"\x01c"]),
        ([(b"\x01", BINARY, False), (b"c", CONT, True)], [b"\x01", b"\x01c"]),
        # ... but a message of nothing but them is an empty message, as it would be in one frame.
        ([(b"", BINARY, False), (b"", CONT, True)], [b""]),
        ([(b"", BINARY, False), (b"", CONT, False), (b"", CONT, True), (b"\x01a", BINARY, True)], [b"", b"\x01a"]),
        # The next message's channel is its own.
        ([(b"\x01a", BINARY, False), (b"b", CONT, True), (b"\x02c", BINARY, True)], [b"\x01a", b"\x01b", b"\x02c"]),
        (
            [(b"\x01a", BINARY, False), (b"", CONT, True), (b"", BINARY, False), (b"\x02c", CONT, True)],
            [b"\x01a", b"\x02c"],
        ),
    ],
)
def test_empty_fragments(masked, script, expected):
    data = text(frame(masked, payload, opcode, fin=fin) for payload, opcode, fin in script)
    assert payloads(feed(MessageSplitter(masked=masked), data)[0], masked=masked) == expected
    for offset in range(1, len(data)):
        assert payloads(feed(MessageSplitter(masked=masked), *cut_at(data, [offset]))[0], masked=masked) == expected


@SIDES
@pytest.mark.parametrize(
    "script",
    [
        [(b"\x01a", BINARY, False), (b"\x01b", BINARY, True)],
        [(b"\x01a", BINARY, False), (b"\x01b", TEXT, False)],
        [(b"", BINARY, False), (b"\x01b", BINARY, True)],
        [(b"b", CONT, True)],
        [(b"", CONT, True)],
        [(b"\x01a", BINARY, True), (b"b", CONT, False)],
        [(b"\x01a", BINARY, False), (b"b", CONT, True), (b"c", CONT, True)],
    ],
)
def test_a_message_that_is_not_continued_as_it_must_be(masked, script):
    good = text(frame(masked, payload, opcode, fin=fin) for payload, opcode, fin in script[:-1])
    bad = frame(masked, script[-1][0], script[-1][1], fin=script[-1][2]).encode()
    expected = feed(MessageSplitter(masked=masked), good)[0]
    splitter = MessageSplitter(masked=masked)
    out, events = feed(splitter, good + bad + good)
    assert out == expected
    assert [(type(event), event.code) for event in events] == [(Violation, 1002)]
    assert splitter.ended


STATUS = b'{"metadata":{},"status":"Success"}'


@pytest.mark.parametrize(
    "script",
    [
        [(b"\x03" + STATUS, BINARY, True)],
        [(b"\x03" + STATUS, TEXT, True)],
        [(b"\x03" + STATUS[:9], BINARY, False), (STATUS[9:], CONT, True)],
        [(b"\x03", BINARY, False), (STATUS, CONT, True)],
        [(b"", BINARY, False), (b"\x03" + STATUS[:3], CONT, False), (STATUS[3:], CONT, True)],
        [(b"\x03" + STATUS, BINARY, False), (b"", CONT, True)],
        [(b"\x03" + STATUS[:9], TEXT, False), (b"", CONT, False), (STATUS[9:], CONT, True)],
    ],
)
def test_a_status_is_held_until_it_is_whole_told_and_passed_on_in_one(script):
    before, after = server(1, b"before"), server(1, b"after")
    data = before + text(frame(False, payload, opcode, fin=fin) for payload, opcode, fin in script) + after
    for offset in range(1, len(data)):
        out, events = feed(MessageSplitter(masked=False), *cut_at(data, [offset]))
        assert payloads(out, masked=False) == [b"\x01before", b"\x03" + STATUS, b"\x01after"]
        assert events == [Status(STATUS)]


@pytest.mark.parametrize("channel", [4, 255], ids=["resize", "the end of a channel"])
def test_a_resize_and_the_end_of_a_channel_are_never_cut(channel):
    payload = bytes([channel]) + b'{"Width":80,"Height":24}' + b" " * 200
    whole = frame(True, payload).encode()
    pieces = text(
        [
            frame(True, payload[:1], fin=False),
            frame(True, payload[1:100], CONT, fin=False, key=OTHER),
            frame(True, payload[100:], CONT),
        ]
    )
    for data in (whole, pieces):
        for offset in range(1, len(data)):
            out, events = feed(
                MessageSplitter(masked=True), *cut_at(client(0, b"x") + data + client(0, b"y"), [offset + 8])
            )
            assert payloads(out, masked=True) == [b"\x00x", payload, b"\x00y"]
            assert events == []


def test_the_end_of_stdin_passes_unchanged():
    assert feed(MessageSplitter(masked=True), client(255, b"\x00")) == (client(255, b"\x00"), [])


def test_channel_3_from_a_client_is_data_and_tells_nothing():
    out, events = feed(MessageSplitter(masked=True), client(3, STATUS))
    assert payloads(out, masked=True) == [b"\x03" + STATUS]
    assert events == []


@pytest.mark.parametrize(
    ("masked", "channel", "limit"), [(False, 3, STATUS_LIMIT), (True, 4, RESIZE_LIMIT), (True, 255, RESIZE_LIMIT)]
)
def test_how_much_of_them_is_held(masked, channel, limit):
    whole = bytes([channel]) + b" " * (limit - 1)
    put_together = whole[:ASSEMBLY_LIMIT]
    half = ASSEMBLY_LIMIT // 2
    at_limit = [
        (whole, [frame(masked, whole)]),
        (put_together, [frame(masked, whole[:half], fin=False), frame(masked, put_together[half:], CONT)]),
    ]
    for payload, frames in at_limit:
        out, _ = feed(MessageSplitter(masked=masked), text(frames))
        assert payloads(out, masked=masked) == [payload]
    over = [
        [frame(masked, whole + b" ")],
        [frame(masked, put_together + b" ", fin=False)],
        [frame(masked, put_together[:half], fin=False), frame(masked, put_together[half:] + b" ", CONT)],
        [frame(masked, put_together, fin=False), frame(masked, b" ", CONT)],
    ]
    for frames in over:
        out, events = feed(MessageSplitter(masked=masked), text(frames))
        assert out == b""
        assert [event.code for event in events] == [1009]


def test_the_refusal_of_a_long_resize_does_not_wait_for_its_bytes():
    data = client(4, b" " * RESIZE_LIMIT)
    _, events = feed(MessageSplitter(masked=True), data[:20])
    assert [event.code for event in events] == [1009]


@SIDES
def test_pings_are_told_and_taken_out_pongs_are_taken_out(masked):
    data = text(
        [
            frame(masked, b"first", PING),
            frame(masked, b"\x01a"),
            frame(masked, b"pong", PONG, key=OTHER),
            frame(masked, b"", PING),
            frame(masked, b"\x01b"),
            frame(masked, b"p" * 125, PING, key=OTHER),
        ]
    )
    for offset in range(1, len(data)):
        out, events = feed(MessageSplitter(masked=masked), *cut_at(data, [offset]))
        assert payloads(out, masked=masked) == [b"\x01a", b"\x01b"]
        assert events == [Ping(b"first"), Ping(b""), Ping(b"p" * 125)]


@SIDES
@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", Closed(None, "")),
        (b"\x03\xe8", Closed(1000, "")),
        (b"\x03\xe8bye", Closed(1000, "bye")),
        (b"\x0b\xb8" + "é".encode(), Closed(3000, "é")),
        (b"\x03\xf3" + b"x" * 123, Closed(1011, "x" * 123)),
    ],
)
def test_after_a_close_nothing_counts(masked, payload, expected):
    before, after = frame(masked, b"\x01a").encode(), frame(masked, b"\x01b").encode()
    close = frame(masked, payload, 8).encode()
    splitter = MessageSplitter(masked=masked)
    assert feed(splitter, before + close + after + close + b"\xff\xff\xff") == (before, [expected])
    assert splitter.ended
    assert splitter.carry == b""
    with pytest.raises(AssertionError):
        take(splitter, after)


@SIDES
def test_a_close_between_fragments(masked):
    data = frame(masked, b"\x01ab", fin=False).encode() + closing(1001, key=KEY if masked else None)
    out, events = feed(MessageSplitter(masked=masked), data)
    assert payloads(out, masked=masked) == [b"\x01ab"]
    assert events == [Closed(1001, "")]


VIOLATIONS = {
    "reserved bit 1": (1002, lambda b: bytes([0xC2, b | 2]) + KEY * (b >> 7) + b"\x01a"),
    "reserved bit 2": (1002, lambda b: bytes([0xA2, b | 2]) + KEY * (b >> 7) + b"\x01a"),
    "reserved bit 3": (1002, lambda b: bytes([0x92, b | 2]) + KEY * (b >> 7) + b"\x01a"),
    "opcode 3": (1002, lambda b: bytes([0x83, b | 2]) + KEY * (b >> 7) + b"\x01a"),
    "opcode 7": (1002, lambda b: bytes([0x87, b | 2]) + KEY * (b >> 7) + b"\x01a"),
    "opcode 11": (1002, lambda b: bytes([0x8B, b | 2]) + KEY * (b >> 7) + b"\x01a"),
    "opcode 15": (1002, lambda b: bytes([0x8F, b | 2]) + KEY * (b >> 7) + b"\x01a"),
    "wrong masking": (1002, lambda b: bytes([0x82, (b ^ 0x80) | 2]) + KEY * (1 - (b >> 7)) + b"\x01a"),
    "fragmented ping": (1002, lambda b: bytes([0x09, b]) + KEY * (b >> 7)),
    "fragmented close": (1002, lambda b: bytes([0x08, b]) + KEY * (b >> 7)),
    "ping of 126": (1002, lambda b: bytes([0x89, b | 126, 0, 126]) + KEY * (b >> 7) + bytes(126)),
    "close of 126": (1002, lambda b: bytes([0x88, b | 126, 0, 126]) + KEY * (b >> 7) + b"\x03\xe8" + bytes(124)),
    "16 bits for 125": (1002, lambda b: bytes([0x82, b | 126, 0, 125]) + KEY * (b >> 7) + bytes(125)),
    "64 bits for 65,535": (
        1002,
        lambda b: bytes([0x82, b | 127]) + (65535).to_bytes(8, "big") + KEY * (b >> 7) + b"\x01",
    ),
    "top bit of 64": (1002, lambda b: bytes([0x82, b | 127]) + (1 << 63).to_bytes(8, "big") + KEY * (b >> 7) + b"\x01"),
    "a message too long": (
        1009,
        lambda b: bytes([0x82, b | 127]) + (MESSAGE_LIMIT + 1).to_bytes(8, "big") + KEY * (b >> 7) + b"\x01",
    ),
    "close with half a code": (1002, lambda b: Frame(8, b"\x03", key=KEY if b else None).encode()),
    "close with 999": (1002, lambda b: closing(999, key=KEY if b else None)),
    "close with 1005": (1002, lambda b: closing(1005, key=KEY if b else None)),
    "close with 1006": (1002, lambda b: closing(1006, key=KEY if b else None)),
    "close with 1015": (1002, lambda b: closing(1015, key=KEY if b else None)),
    "close with 2999": (1002, lambda b: closing(2999, key=KEY if b else None)),
    "close reason no UTF-8": (1007, lambda b: Frame(8, b"\x03\xe8\xff", key=KEY if b else None).encode()),
}


@SIDES
@pytest.mark.parametrize("name", VIOLATIONS)
@pytest.mark.parametrize("before", [0, 1, 20], ids=["at once", "after one", "after a run"])
def test_nothing_of_what_breaks_the_protocol_is_passed_on(masked, name, before):
    code, make = VIOLATIONS[name]
    bad = make(0x80 if masked else 0)
    good = frame(masked, b"\x01good").encode() * before
    data = good + bad + frame(masked, b"\x01late").encode()
    for offset in {1, len(good), len(good) + 1, len(good) + 2, len(good) + 3, len(good + bad) - 1, len(data) - 1}:
        splitter = MessageSplitter(masked=masked)
        out, events = b"", []
        for part in cut_at(data, [offset]):
            if splitter.ended:
                break
            passed, seen = feed(splitter, part)
            out, events = out + passed, events + seen
        assert out == good
        assert [(type(event), event.code) for event in events] == [(Violation, code)]
        assert splitter.ended
        assert splitter.carry == b""
        assert splitter.flush_truncated() == []
        with pytest.raises(AssertionError):
            take(splitter, good or b"x")


@SIDES
def test_a_violation_within_a_fragmented_message(masked):
    data = text([frame(masked, b"\x01ab", fin=False), frame(masked, b"now", PING)]) + b"\xf0\x80"
    out, events = feed(MessageSplitter(masked=masked), data)
    assert payloads(out, masked=masked) == [b"\x01ab"]
    assert [type(event) for event in events] == [Ping, Violation]


@SIDES
def test_a_fragmented_message_too_long(masked):
    splitter = MessageSplitter(masked=masked)
    chunk = b"x" * (1 << 20)
    feed(splitter, frame(masked, b"\x01" + chunk[1:], fin=False).encode())
    for _ in range(MESSAGE_LIMIT // len(chunk) - 1):
        assert feed(splitter, frame(masked, chunk, CONT, fin=False).encode())[1] == []
    more, end = frame(masked, b"y", CONT, fin=False).encode(), frame(masked, b"", CONT).encode()
    assert feed(splitter, end[:0] + more)[0] == b""
    assert [event.code for event in splitter.events] == [1009]


@SIDES
def test_a_message_of_the_limit_passes(masked):
    head = Frame(BINARY, b"").encode()[:1] + bytes([(0x80 if masked else 0) | 127]) + MESSAGE_LIMIT.to_bytes(8, "big")
    splitter = MessageSplitter(masked=masked)
    assert feed(splitter, head + (KEY if masked else b"") + b"x" * 200)[1] == []
    left, chunk = MESSAGE_LIMIT - 200, b"x" * (4 << 20)
    while left:
        part = chunk[:left]
        assert take(splitter, part)[1] == []
        left -= len(part)
    good = frame(masked, b"\x01next").encode()
    assert feed(splitter, good) == (good, [])


@SIDES
def test_messages_one_after_the_other_do_not_add_up(masked):
    splitter = MessageSplitter(masked=masked)
    data = text([frame(masked, b"\x01" + b"x" * (1 << 20), fin=False), frame(masked, b"y", CONT)])
    for _ in range(MESSAGE_LIMIT // (1 << 20) + 2):
        assert take(splitter, data)[1] == []


@pytest.mark.parametrize("size", [0, 1, 2, 60, 125, 126, 127, 400, 70_000])
def test_last_words_at_every_cut_of_a_message(size):
    payload = (b"\x01" + bytes(i % 251 for i in range(size)))[:size]
    data = server(2, b"before") + Frame(BINARY, payload).encode()
    start = len(data) - size
    for offset in sorted({*range(1, min(len(data), 500)), len(data) - 1, len(data)}):
        splitter = MessageSplitter(masked=False)
        out, _ = feed(splitter, data[:offset])
        out += join(splitter.flush_truncated())
        parts = [part for part in payloads(out, masked=False) if part[:1] == b"\x01"]
        assert b"".join(part[1:] for part in parts) == payload[1 : max(1, offset - start)], offset
        assert splitter.carry == b""


def test_last_words_at_every_cut_of_fragments():
    frames = [
        Frame(BINARY, b"", fin=False),
        Frame(CONT, b"\x01abcd", fin=False),
        Frame(CONT, b"efgh", fin=False),
        Frame(CONT, b"", fin=False),
        Frame(CONT, b"ij"),
    ]
    # Every byte of payload that came is told, whichever byte was the last.
    came, told = b"", []
    for one in frames:
        encoded = one.encode()
        head = len(encoded) - len(one.payload)
        told += [came + one.payload[: max(0, end - head)] for end in range(1, len(encoded) + 1)]
        came += one.payload
    data = text(frames)
    for offset in range(1, len(data) + 1):
        splitter = MessageSplitter(masked=False)
        out, _ = feed(splitter, data[:offset])
        parts = payloads(out + join(splitter.flush_truncated()), masked=False)
        assert b"".join(part[1:] for part in parts) == told[offset - 1][1:], offset


@pytest.mark.parametrize("fragmented", [False, True])
def test_half_a_status_is_never_told(fragmented):
    data = server(3, STATUS)
    if fragmented:
        data = text([Frame(BINARY, b"\x03" + STATUS[:8], fin=False), Frame(CONT, STATUS[8:])])
    for offset in range(1, len(data)):
        splitter = MessageSplitter(masked=False)
        assert feed(splitter, data[:offset]) == (b"", [])
        assert splitter.flush_truncated() == []


@pytest.mark.parametrize("opcode", [PING, PONG, 8])
def test_half_a_control_frame_is_nothing(opcode):
    data = Frame(opcode, b"\x03\xe8payload").encode()
    for offset in range(1, len(data)):
        splitter = MessageSplitter(masked=False)
        assert feed(splitter, server(1, b"x") + data[:offset]) == (server(1, b"x"), [])
        assert splitter.flush_truncated() == []


def test_after_a_whole_end_there_are_no_flush_truncated():
    splitter = MessageSplitter(masked=False)
    feed(splitter, server(1, b"all") + server(3, STATUS) + closing(1000))
    assert splitter.flush_truncated() == []
    assert MessageSplitter(masked=False).flush_truncated() == []


@SIDES
def test_blocks_of_other_sessions_between_make_no_difference(masked):
    data = text([frame(masked, b"\x01" + b"x" * 900, fin=False), frame(masked, b"y" * 900, CONT, key=OTHER)])
    shared = Block(256)
    ours, theirs = MessageSplitter(masked=masked), MessageSplitter(masked=masked)
    out = {id(ours): b"", id(theirs): b""}
    for start in range(0, len(data), 97):
        for splitter in (ours, theirs):
            out[id(splitter)] += take(splitter, data[start : start + 97], block=shared)[0]
    assert out[id(ours)] == out[id(theirs)]
    assert b"".join(part[1:] for part in payloads(out[id(ours)], masked=masked)) == b"x" * 900 + b"y" * 900


@SIDES
def test_pieces_stay_within_the_room_before_the_data_and_the_data(masked):
    data = frame(masked, b"\x01" + b"x" * 200_000).encode()
    splitter = MessageSplitter(masked=masked)
    block = Block(100_000)
    assert len(block.buf) == HEADROOM + 100_000
    out = b""
    for part in cut_at(data, [70_000, 70_001, 70_300, 140_000]):
        out += take(splitter, part, block=block)[0]
    assert sum(len(part) - 1 for part in payloads(out, masked=masked)) == 200_000
