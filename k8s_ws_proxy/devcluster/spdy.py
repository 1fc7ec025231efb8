"""SPDY/3.1 as far as a port-forward needs it (SPDY draft 3.1, §2): bytes in, frames out, and back, without I/O.

There is no flow control in it: Kubernetes' own implementation, spdystream, has none.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
CANCEL = 5
"""The status of a RST_STREAM that is nobody's mistake (§2.6.3)."""
_VERSION = 3
_FIN = 0x01
_HEAD = 8
_MAX_FRAME = 1 << 24
_MAX_HEADERS = 64 * 1024

# §2.6.10.1: what both sides' compressors begin with. First words, each with its length, then a text.
_WORDS = """
options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
authorization cache-control connection content-base content-encoding content-language content-length content-location
content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match
if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range
referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get
status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin
"""
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _counted(text: bytes) -> bytes:
    return struct.pack("!I", len(text)) + text


DICTIONARY = b"".join(_counted(word.replace("_", " ").encode()) for word in _WORDS.split()) + _TEXT.encode()


class SpdyError(Exception):
    """What came isn't SPDY/3."""


@dataclass(frozen=True, slots=True)
class SynStream:
    """The client opens a stream; header names are in lower case."""

    stream: int
    headers: dict[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes on a stream; with `fin` they are the sender's last."""

    stream: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """A stream is over, for both sides."""

    stream: int


@dataclass(frozen=True, slots=True)
class Ping:
    """To be sent back as it came, if its number is odd: then it is the client's."""

    number: int


Frame = SynStream | Data | Reset | Ping


class Spdy:
    """The server's side of one connection. The compressors' state is the connection's: frames are written in the
    order they were encoded in.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def receive(self, data: bytes | bytearray) -> Iterator[Frame]:
        """The frames that are complete with `data`, but for those that ask for nothing.

        Raises SpdyError.
        """
        self._buffer += data
        while len(self._buffer) >= _HEAD:
            first, second = struct.unpack_from("!II", self._buffer)
            flags, size = second >> 24, second & 0xFFFFFF
            if len(self._buffer) < _HEAD + size:
                return
            body = bytes(self._buffer[_HEAD : _HEAD + size])
            del self._buffer[: _HEAD + size]
            if not first >> 31:
                yield Data(first, body, bool(flags & _FIN))
            elif (frame := self._control(first, flags, body)) is not None:
                yield frame

    def _control(self, first: int, flags: int, body: bytes) -> Frame | None:
        if first >> 16 & 0x7FFF != _VERSION:
            raise SpdyError(f"version {first >> 16 & 0x7FFF}")
        try:
            match first & 0xFFFF:
                case 1:
                    return SynStream(_number(body) & 0x7FFFFFFF, self._headers(body[10:]), bool(flags & _FIN))
                case 2 | 8:  # the client opens all streams, and says nothing more about them; but the state moves on
                    self._headers(body[4:])
                case 3:
                    return Reset(_number(body) & 0x7FFFFFFF)
                case 6:
                    return Ping(_number(body))
        except struct.error as exc:
            raise SpdyError("a control frame is too short") from exc
        return None

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, _MAX_HEADERS)
        except zlib.error as exc:
            raise SpdyError(f"headers can't be decompressed: {exc}") from exc
        headers, pos = {}, 4
        for _ in range(_number(plain)):
            name, pos = _text(plain, pos)
            value, pos = _text(plain, pos)
            headers[name] = value.partition("\0")[0]
        return headers

    def reply(self, stream: int) -> bytes:
        """A SYN_REPLY without headers: the stream is taken."""
        block = self._deflate.compress(struct.pack("!I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _encode_control(SYN_REPLY, struct.pack("!I", stream) + block)


def reset(stream: int, status: int = CANCEL) -> bytes:
    """A RST_STREAM."""
    return _encode_control(RST_STREAM, struct.pack("!II", stream, status))


def ping(number: int) -> bytes:
    """A PING."""
    return _encode_control(PING, struct.pack("!I", number))


def data(stream: int, payload: bytes, *, fin: bool = False) -> bytes:
    """A data frame."""
    assert len(payload) < _MAX_FRAME
    return struct.pack("!II", stream, (_FIN if fin else 0) << 24 | len(payload)) + payload


def _encode_control(kind: int, body: bytes) -> bytes:
    return struct.pack("!HHI", 0x8000 | _VERSION, kind, len(body)) + body


def _number(body: bytes, pos: int = 0) -> int:
    number: int = struct.unpack_from("!I", body, pos)[0]
    return number


def _text(plain: bytes, pos: int) -> tuple[str, int]:
    start = pos + 4
    end = start + _number(plain, pos)
    if end > len(plain):
        raise SpdyError("a header is longer than its block")
    return plain[start:end].decode("latin-1"), end
