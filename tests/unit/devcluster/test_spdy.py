"""The embedded cluster's SPDY: frames cut anywhere, and nothing but frames."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing import cut_at

from k8s_ws_proxy.devcluster import spdy
from k8s_ws_proxy.devcluster.spdy import DICTIONARY, Data, Ping, Reset, Spdy, SpdyError, SynStream


class Client:
    """What a client sends, with the state of its compressor."""

    def __init__(self):
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def headers(self, headers):
        block = struct.pack("!I", len(headers))
        for name, value in headers.items():
            for text in (name, value):
                block += struct.pack("!I", len(text)) + text.encode()
        return self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def syn_stream(self, stream, headers, *, fin=False):
        return control(1, struct.pack("!IIBB", stream, 0, 0, 0) + self.headers(headers), flags=1 if fin else 0)


def control(kind, body, *, version=3, flags=0):
    return struct.pack("!HHI", 0x8000 | version, kind, flags << 24 | len(body)) + body


def receive(session, *parts):
    return [frame for part in parts for frame in session.receive(part)]


def test_the_dictionary_is_that_of_the_draft():
    """Its Adler-32 stands in every compressed block's head: another one, and nobody understands anybody."""
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


def script():
    client = Client()
    headers = {"streamtype": "error", "port": "8080", "requestid": "0"}
    wire = b"".join(
        [
            client.syn_stream(1, headers, fin=True),
            client.syn_stream(3, headers | {"streamtype": "data"}),
            control(spdy.SETTINGS, struct.pack("!III", 1, 4, 100)),
            spdy.data(3, b"GET / HTTP/1.0\r\n\r\n"),
            spdy.ping(1),
            control(spdy.HEADERS, struct.pack("!I", 3) + client.headers({"more": "x"})),
            control(spdy.WINDOW_UPDATE, struct.pack("!II", 3, 1)),
            client.syn_stream(5, headers | {"requestid": "1"}),
            spdy.data(3, b"", fin=True),
            spdy.reset(3),
            control(spdy.GOAWAY, struct.pack("!II", 0, 0)),
        ]
    )
    frames = [
        SynStream(1, headers, fin=True),
        SynStream(3, headers | {"streamtype": "data"}),
        Data(3, b"GET / HTTP/1.0\r\n\r\n"),
        Ping(1),
        SynStream(5, headers | {"requestid": "1"}),
        Data(3, b"", fin=True),
        Reset(3),
    ]
    return wire, frames


@given(st.lists(st.integers(0, 600), max_size=10))
def test_frames_cut_anywhere(offsets):
    wire, frames = script()
    assert receive(Spdy(), *cut_at(wire, offsets)) == frames


def test_a_reply_can_be_read_by_the_other_side_and_so_can_the_next():
    session, inflate = Spdy(), zlib.decompressobj(zdict=DICTIONARY)
    for stream in (1, 3, 5):
        reply = session.reply(stream)
        assert struct.unpack_from("!HHI", reply) == (0x8003, spdy.SYN_REPLY, len(reply) - 8)
        assert struct.unpack_from("!I", reply, 8) == (stream,)
        assert inflate.decompress(reply[12:]) == struct.pack("!I", 0)


@pytest.mark.parametrize(
    "wire",
    [
        control(6, struct.pack("!I", 1), version=2),
        control(6, b"\0"),
        control(3, b""),
        control(1, b"\0" * 10 + b"not zlib"),
        control(1, b"\0" * 10),
        control(8, b"\0" * 4 + zlib.compress(b"no dictionary")),
    ],
)
def test_what_is_not_spdy(wire):
    with pytest.raises(SpdyError):
        receive(Spdy(), wire)


@given(st.binary(max_size=200), st.integers(0, 600), st.integers(0, 255))
def test_any_bytes_give_frames_or_a_spdy_error(junk, offset, byte):
    wire, _ = script()
    broken = wire[:offset] + bytes((byte,)) + wire[offset + 1 :]
    for data in (junk, broken, b"\x80\x03" + junk):
        try:
            frames = receive(Spdy(), data)
        except SpdyError:
            continue
        assert all(isinstance(frame, SynStream | Data | Reset | Ping) for frame in frames)
