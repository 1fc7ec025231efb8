"""The Autobahn test suite's cases for a server, sections 1 to 7, as far as they say something about a relay.

The echo is ``cat`` behind the proxy: what goes in on channel 0 comes out on channel 1. A relay doesn't decode text
(docs/reference/requests.md), so section 6 is here only for what it says about fragments; message boundaries may
change, so bytes are compared and not messages. Ids are the suite's own numbers.
"""

from __future__ import annotations

import dataclasses
import os

import pytest
from support.caller import end_stdin, opened, script

from k8s_ws_proxy.wire.framing import frames
from k8s_ws_proxy.wire.framing.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO = b"\0Hello, world!"
BYTES = bytes((0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF))
STDIN = b"\0"


@dataclasses.dataclass(frozen=True)
class F:
    """One frame of a script."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    reserved: int = 0

    def wire(self):
        raw = bytearray(frames.frame(self.opcode, self.payload, os.urandom(4)))
        if not self.fin:
            raw[0] &= 0x7F
        raw[0] |= self.reserved << 4
        return bytes(raw)


def text(payload=HELLO, **more):
    return F(TEXT, payload, **more)


def more(payload=b"", **rest):
    return F(CONTINUATION, payload, **rest)


def chopped(script_, size):
    wire = b"".join(frame.wire() for frame in script_)
    return [wire[i : i + size] for i in range(0, len(wire), size)]


@pytest.fixture
def session(shared_daemon):
    return opened(shared_daemon, script("cat"))


async def send(ws, script_, chop=0):
    for part in chopped(script_, chop) if chop else [frame.wire() for frame in script_]:
        await ws.send_raw(part)


async def echoed(ws):
    """End stdin; everything that came back, pongs apart."""
    pongs = []
    output = b""
    await end_stdin(ws)
    while (frame := await ws.frame()) is not None:
        if frame.opcode == PONG:
            pongs.append(frame.payload)
        elif frame.opcode == BINARY and frame.payload[:1] == b"\1":
            output += frame.payload[1:]
        elif frame.opcode == CLOSE:
            assert frames.parse_close(frame.payload)[0] == 1000
    return output, pongs


SIZES = [0, 125, 126, 127, 128, 65535, 65536]
CASES_1 = [
    *(
        (f"1.{kind}.{number}", opcode, size, 0)
        for kind, opcode in ((1, TEXT), (2, BINARY))
        for number, size in enumerate(SIZES, 1)
    ),
    ("1.1.8", TEXT, 65536, 997),
    ("1.2.8", BINARY, 65536, 997),
]


@pytest.mark.parametrize(("opcode", "size", "chop"), [pytest.param(*case, id=name) for name, *case in CASES_1])
async def test_1_framing(session, opcode, size, chop):
    payload = b"*" * (size - 1)
    async with session as ws:
        await send(ws, [F(opcode, STDIN + payload if size else b"")], chop)
        assert await echoed(ws) == (payload, [])


PINGS = [b"payload-%d" % number for number in range(10)]


@pytest.mark.parametrize(
    ("script_", "chop", "pongs"),
    [
        pytest.param([F(PING)], 0, [b""], id="2.1"),
        pytest.param([F(PING, HELLO)], 0, [HELLO], id="2.2"),
        pytest.param([F(PING, BYTES)], 0, [BYTES], id="2.3"),
        pytest.param([F(PING, b"\xfe" * 125)], 0, [b"\xfe" * 125], id="2.4"),
        pytest.param([F(PING, b"\xfe" * 125)], 1, [b"\xfe" * 125], id="2.6"),
        pytest.param([F(PONG)], 0, [], id="2.7"),
        pytest.param([F(PONG, b"unsolicited")], 0, [], id="2.8"),
        pytest.param([F(PONG, b"unsolicited"), F(PING, b"asked")], 0, [b"asked"], id="2.9"),
        pytest.param([F(PING, payload) for payload in PINGS], 0, PINGS, id="2.10"),
        pytest.param([F(PING, payload) for payload in PINGS], 1, PINGS, id="2.11"),
    ],
)
async def test_2_pings_and_pongs(session, script_, chop, pongs):
    async with session as ws:
        await send(ws, script_, chop)
        assert await echoed(ws) == (b"", pongs)


FIVE_FRAGMENTS = [
    text(fin=False),
    more(b"2", fin=False),
    F(PING, b"a"),
    more(b"3", fin=False),
    more(b"4", fin=False),
    F(PING, b"b"),
    more(b"5"),
]
GOOD = [
    pytest.param([text(fin=False), more(b" And on.")], 0, b"Hello, world! And on.", [], id="5.3"),
    pytest.param([text(fin=False), more(b" And on.")], 3, b"Hello, world! And on.", [], id="5.4"),
    pytest.param([text(fin=False), more(b" And on.")], 1, b"Hello, world! And on.", [], id="5.5"),
    pytest.param([text(fin=False), F(PING, b"p"), more(b" On.")], 0, b"Hello, world! On.", [b"p"], id="5.6"),
    pytest.param([text(fin=False), F(PING, b"p"), more(b" On.")], 3, b"Hello, world! On.", [b"p"], id="5.7"),
    pytest.param([text(fin=False), F(PING, b"p"), more(b" On.")], 1, b"Hello, world! On.", [b"p"], id="5.8"),
    pytest.param(FIVE_FRAGMENTS, 0, b"Hello, world!2345", [b"a", b"b"], id="5.19"),
    pytest.param(FIVE_FRAGMENTS, 1, b"Hello, world!2345", [b"a", b"b"], id="5.20"),
    pytest.param([text(b"")], 0, b"", [], id="6.1.1"),
    pytest.param([text(b"", fin=False), more(fin=False), more()], 0, b"", [], id="6.1.2"),
    pytest.param([text(b"", fin=False), more(HELLO, fin=False), more()], 0, HELLO[1:], [], id="6.1.3"),
    pytest.param([text("\0größer".encode())], 0, "größer".encode(), [], id="6.2.1"),
    pytest.param(
        [text("\0grö".encode()[:4], fin=False), more("\0größer".encode()[4:])], 1, "größer".encode(), [], id="6.2.4"
    ),
]


@pytest.mark.parametrize(("script_", "chop", "output", "pongs"), GOOD)
async def test_5_and_6_fragments(session, script_, chop, output, pongs):
    async with session as ws:
        await send(ws, script_, chop)
        assert await echoed(ws) == (output, pongs)


BAD = [
    pytest.param([F(PING, b"\xfe" * 126)], 0, b"", id="2.5"),
    pytest.param([text(reserved=1)], 0, b"", id="3.1"),
    pytest.param([text(), text(reserved=2), F(PING)], 0, HELLO[1:], id="3.2"),
    pytest.param([text(), text(reserved=3), F(PING)], 8, HELLO[1:], id="3.3"),
    pytest.param([text(), text(reserved=4), F(PING)], 1, HELLO[1:], id="3.4"),
    pytest.param([F(BINARY, BYTES, reserved=5)], 0, b"", id="3.5"),
    pytest.param([F(PING, HELLO, reserved=6)], 0, b"", id="3.6"),
    pytest.param([F(CLOSE, reserved=7)], 0, b"", id="3.7"),
    *(pytest.param([F(opcode)], 0, b"", id=f"4.1.{opcode - 2}") for opcode in (3, 4)),
    *(pytest.param([text(), F(opcode, b"x"), F(PING)], 0, HELLO[1:], id=f"4.1.{opcode - 2}") for opcode in (5, 6, 7)),
    *(pytest.param([F(opcode)], 0, b"", id=f"4.2.{opcode - 10}") for opcode in (11, 12)),
    *(
        pytest.param([text(), F(opcode, b"x"), F(PING)], 0, HELLO[1:], id=f"4.2.{opcode - 10}")
        for opcode in (13, 14, 15)
    ),
    pytest.param([F(PING, b"a", fin=False), more(b"b")], 0, b"", id="5.1"),
    pytest.param([F(PONG, b"a", fin=False), more(b"b")], 0, b"", id="5.2"),
    pytest.param([more(b"unexpected"), text()], 0, b"", id="5.9"),
    pytest.param([more(b"unexpected"), text()], 3, b"", id="5.10"),
    pytest.param([more(b"unexpected"), text()], 1, b"", id="5.11"),
    pytest.param([more(b"unexpected", fin=False), text()], 0, b"", id="5.12"),
    pytest.param([more(b"unexpected", fin=False), text()], 3, b"", id="5.13"),
    pytest.param([more(b"unexpected", fin=False), text()], 1, b"", id="5.14"),
    pytest.param([text(fin=False), more(b"2"), more(b"3", fin=False), text()], 0, HELLO[1:] + b"2", id="5.15"),
    pytest.param([more(b"1", fin=False), text(), more(b"2", fin=False)], 0, b"", id="5.16"),
    pytest.param([more(b"1"), text(), more(b"2")], 0, b"", id="5.17"),
    pytest.param([text(fin=False), text(b"2")], 0, HELLO[1:], id="5.18"),
]


@pytest.mark.parametrize(("script_", "chop", "before"), BAD)
async def test_3_4_5_violations_are_1002_and_nothing_of_them_is_passed_on(shared_lines, session, script_, chop, before):
    """What stood before is passed on; that it comes back before the close is not the relay's to promise."""
    async with session as ws:
        assert (await ws.frame()).payload == b"\1"
        await send(ws, script_, chop)
        output = b""
        while (frame := await ws.frame()).opcode != CLOSE:
            output += frame.payload[1:] if frame.payload[:1] == b"\1" else b""
        assert frames.parse_close(frame.payload)[0] == 1002
        assert before.startswith(output)
    line = await shared_lines.event("session ended")
    assert line["reason"] == "client_broke_protocol"


def close(code, reason=b""):
    return F(CLOSE, code.to_bytes(2, "big") + reason)


@pytest.mark.parametrize(
    ("script_", "answer"),
    [
        pytest.param([text(), close(1000)], 1000, id="7.1.1"),
        pytest.param([close(1000), close(1000)], 1000, id="7.1.2"),
        pytest.param([close(1000), F(PING)], 1000, id="7.1.3"),
        pytest.param([close(1000), text()], 1000, id="7.1.4"),
        pytest.param([text(fin=False), close(1000), more()], 1000, id="7.1.5"),
        pytest.param([F(BINARY, b"\0" + b"*" * 262144), text(), close(1000), F(PING)], 1000, id="7.1.6"),
        pytest.param([F(CLOSE)], None, id="7.3.1"),
        pytest.param([F(CLOSE, b"\3")], 1002, id="7.3.2"),
        pytest.param([close(1000, b"Hello World!")], 1000, id="7.3.4"),
        pytest.param([close(1000, b"*" * 123)], 1000, id="7.3.5"),
        pytest.param([close(1000, b"*" * 124)], 1002, id="7.3.6"),
        pytest.param([close(1000, b"\xce\xba\xed\xa0\x80")], 1007, id="7.5.1"),
        *(
            pytest.param([close(code)], code, id=f"7.7 {code}")
            for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
        ),
        *(
            pytest.param([close(code)], 1002, id=f"7.9 {code}")
            for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)
        ),
    ],
)
async def test_7_closing(session, script_, answer):
    async with session as ws:
        await send(ws, script_)
        while (frame := await ws.frame()).opcode != CLOSE:
            assert frame.opcode == BINARY
        assert frames.parse_close(frame.payload)[0] == answer
        assert await ws.frame() is None, "nothing comes after a close"
