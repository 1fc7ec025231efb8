"""RFC 6455 framing: what a frame's header says, and how one is written.

Sizes are in bytes; a close code is that of RFC 6455 §7.4.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
INVALID_DATA: Final = 1007
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011

MAX_CONTROL: Final = 125
MAX_CLOSE_REASON: Final = 123  # a control frame's 125 less the code

_FIN: Final = 0x80
_RESERVED: Final = 0x70
_MASK: Final = 0x80
_KNOWN: Final = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})


class FrameViolation(Exception):
    """The peer broke RFC 6455. ``code`` is the close code it gets."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Header(NamedTuple):
    """A frame's header: ``size`` bytes of it, then ``length`` bytes of payload. ``key`` is empty if unmasked."""

    opcode: int
    fin: bool
    length: int
    size: int
    key: bytes


def parse_header(buf: bytes | bytearray, pos: int, end: int, *, masked: bool) -> Header | None:
    """The header at ``buf[pos:end]``, or None while it isn't complete.

    Raises FrameViolation (RFC 6455 §5.1, §5.2, §5.5) as early as the bytes show it.
    """
    if end - pos < 2:
        return None
    first, second = buf[pos], buf[pos + 1]
    opcode = first & 0x0F
    length = second & 0x7F
    if first & _RESERVED:
        raise FrameViolation(PROTOCOL_ERROR, "a reserved bit is set, and no extension was negotiated")
    if opcode not in _KNOWN:
        raise FrameViolation(PROTOCOL_ERROR, f"opcode {opcode:#x} is reserved")
    if bool(second & _MASK) != masked:
        raise FrameViolation(PROTOCOL_ERROR, "a client's frame is unmasked" if masked else "a server's frame is masked")
    if opcode >= CLOSE and (length > MAX_CONTROL or not first & _FIN):
        raise FrameViolation(PROTOCOL_ERROR, "a control frame is fragmented or longer than 125 bytes")
    size = 2 + (2 if length == 126 else 8 if length == 127 else 0)
    if end - pos < size:
        return None
    if length == 126:
        length = int.from_bytes(buf[pos + 2 : pos + 4], "big")
        if length < 126:
            raise FrameViolation(PROTOCOL_ERROR, "a length isn't in its shortest form")
    elif length == 127:
        length = int.from_bytes(buf[pos + 2 : pos + 10], "big")
        if length < 1 << 16 or length >= 1 << 63:
            raise FrameViolation(PROTOCOL_ERROR, "a length isn't in its shortest form, or has its highest bit set")
    key = b""
    if masked:
        if end - pos < size + 4:
            return None
        key = bytes(buf[pos + size : pos + size + 4])
        size += 4
    return Header(opcode, bool(first & _FIN), length, size, key)


def any_longer_than(length: int, data: bytes, *, masked: bool, looks: int) -> bool:
    """Whether one of the first ``looks`` frames in ``data``, which are whole ones, has more bytes than ``length``."""
    pos = 0
    for _ in range(looks):
        head = parse_header(data, pos, len(data), masked=masked)
        if head is None:
            return False
        if head.length > length:
            return True
        pos += head.size + head.length
    return False


def header(opcode: int, length: int, key: bytes = b"", *, fin: bool = True) -> bytes:
    """The header of a frame, its length in the shortest form; without ``fin``, fragments follow (RFC 6455 §5.4)."""
    mask_bit = _MASK if key else 0
    first = _FIN | opcode if fin else opcode
    if length < 126:
        return struct.pack("!BB", first, mask_bit | length) + key
    if length < 1 << 16:
        return struct.pack("!BBH", first, mask_bit | 126, length) + key
    return struct.pack("!BBQ", first, mask_bit | 127, length) + key


def mask(data: bytes, key: bytes) -> bytes:
    """``data`` masked, or unmasked, with ``key``; as it is where the key is empty (RFC 6455 §5.3).

    For small payloads: control frames and resizes. Nothing that is relayed passes through here.
    """
    if not key or not data:
        return data
    stream = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")


def frame(opcode: int, payload: bytes, key: bytes = b"") -> bytes:
    """A whole frame, masked where a key is given."""
    return header(opcode, len(payload), key) + mask(payload, key)


def close_payload(code: int | None, reason: str = "") -> bytes:
    """The payload of a close frame; the reason is cut to 123 bytes of UTF-8, never within a character."""
    if code is None:
        return b""
    text = reason.encode("utf-8", "replace")[:MAX_CLOSE_REASON].decode("utf-8", "ignore")
    return code.to_bytes(2, "big") + text.encode()


def parse_close(payload: bytes) -> tuple[int | None, str]:
    """Code and reason of a close frame's payload; None where it is empty.

    Raises FrameViolation (RFC 6455 §5.5.1, §7.4, §8.1).
    """
    if not payload:
        return None, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not _may_be_sent(code):
        raise FrameViolation(PROTOCOL_ERROR, "a close frame's code can't be used on the wire")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameViolation(INVALID_DATA, "a close frame's reason isn't UTF-8") from None


def _may_be_sent(code: int) -> bool:
    reserved: Sequence[int] = (1004, 1005, 1006)
    return (1000 <= code <= 1014 and code not in reserved) or 3000 <= code <= 4999
