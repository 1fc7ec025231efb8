"""RFC 6455 framing once more, slowly and strictly, to hold the package's own against; and scripts of frames."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.framing.splitter import HEADROOM, Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from k8s_ws_proxy.wire.framing.splitter import Event, MessageSplitter, Piece

KEY: Final = b"\x11\x22\x33\x44"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@dataclass(frozen=True)
class Frame:
    """A frame as it should be understood: ``payload`` is unmasked, ``key`` is None from a server."""

    opcode: int
    payload: bytes
    fin: bool = True
    key: bytes | None = None

    def encode(self) -> bytes:
        """The frame on the wire, its length in the shortest form."""
        mask_bit = 0x80 if self.key is not None else 0
        size = len(self.payload)
        if size < 126:
            length = bytes([mask_bit | size])
        elif size < 65536:
            length = bytes([mask_bit | 126]) + size.to_bytes(2, "big")
        else:
            length = bytes([mask_bit | 127]) + size.to_bytes(8, "big")
        first = bytes([(0x80 if self.fin else 0) | self.opcode])
        return first + length + (self.key or b"") + _xor(self.payload, self.key)


def _xor(data: bytes, key: bytes | None) -> bytes:
    if key is None:
        return data
    stream = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(len(data), "little")


def read_frame(data: bytes, pos: int, *, masked: bool) -> tuple[Frame, int] | None:
    """The frame at ``pos`` and the offset after it; None if it isn't all there. Asserts that it is well-formed."""
    if len(data) - pos < 2:
        return None
    first, second = data[pos], data[pos + 1]
    assert first & 0x70 == 0, "a reserved bit"
    assert first & 0x0F in (CONT, TEXT, BINARY, CLOSE, PING, PONG), "a reserved opcode"
    assert bool(second & 0x80) == masked, "masking"
    size, at = second & 0x7F, pos + 2
    if size >= 126:
        width = 2 if size == 126 else 8
        if len(data) < at + width:
            return None
        size = int.from_bytes(data[at : at + width], "big")
        at += width
        assert size >= (126 if width == 2 else 65536), "not the shortest form"
    if first & 0x08:
        assert first & 0x80, "a fragmented control frame"
        assert size <= 125, "a long control frame"
    key = None
    if masked:
        key, at = data[at : at + 4], at + 4
    if len(data) < at + size:
        return None
    return Frame(first & 0x0F, _xor(data[at : at + size], key), bool(first & 0x80), key), at + size


def read_frames(data: bytes, *, masked: bool) -> list[Frame]:
    """All of ``data`` as frames. Asserts that it is nothing but whole, well-formed ones."""
    frames, pos = [], 0
    while pos < len(data):
        found = read_frame(data, pos, masked=masked)
        assert found is not None, f"{len(data) - pos} bytes are no whole frame"
        frame, pos = found
        frames.append(frame)
    return frames


def text(frames: Iterable[Frame]) -> bytes:
    """The frames on the wire."""
    return b"".join(frame.encode() for frame in frames)


def client(channel: int, payload: bytes, *, key: bytes = KEY) -> bytes:
    """A whole message as a client sends it."""
    return Frame(BINARY, bytes([channel]) + payload, key=key).encode()


def server(channel: int, payload: bytes) -> bytes:
    """A whole message as a server sends it."""
    return Frame(BINARY, bytes([channel]) + payload).encode()


def closing(code: int | None = None, reason: str = "", *, key: bytes | None = None) -> bytes:
    """A close frame."""
    return Frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason.encode(), key=key).encode()


def cut_at(data: bytes, offsets: Iterable[int]) -> Iterator[bytes]:
    """``data`` in parts, cut at ``offsets``; none of the parts is empty."""
    edges = [0, *sorted({offset for offset in offsets if 0 < offset < len(data)}), len(data)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            yield data[start:end]


def take(splitter: MessageSplitter, part: bytes, *, block: Block | None = None) -> tuple[bytes, list[Event]]:
    """What a shell does with ``part``, in as many turns as it takes."""
    out, events = take_once(splitter, part, block=block)
    while splitter.halted:
        more, seen = take_once(splitter, b"", block=block)
        out, events = out + more, events + seen
    return out, events


def take_once(splitter: MessageSplitter, part: bytes, *, block: Block | None = None) -> tuple[bytes, list[Event]]:
    """One turn: lays the carry before it, takes, and copies before the block is used again."""
    carry = splitter.carry
    block = block or Block(len(carry) + len(part) + 64)
    end = HEADROOM + len(carry) + len(part)
    block.buf[:] = b"\xee" * len(block.buf)  # nothing may be expected of what was there before
    block.buf[HEADROOM:end] = carry + part
    pieces = splitter.take(block, HEADROOM, end)
    out = join(pieces)
    assert block.buf[end:] == b"\xee" * (len(block.buf) - end), "written beyond the data"
    return out, splitter.events


def join(pieces: Iterable[Piece]) -> bytes:
    """The bytes of some pieces."""
    return b"".join(bytes(piece) for piece in pieces)
