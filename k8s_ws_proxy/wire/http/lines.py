"""A log's bytes -> WebSocket messages of one line each (docs/reference/requests.md, "Logs").

A line's newline is part of its message, and nothing is decoded: NULs, carriage returns and broken UTF-8 pass as they
are. A line over MAX_LINE leaves in messages of MAX_LINE bytes and one of what is left. Where messages begin and end
doesn't depend on how the log came.

A message is one frame. A frame's header says how long it is, so an unfinished line is held, MAX_LINE of it at most.
Where there is no memory for that, part() lets go of what there is: its message then goes on in fragments (RFC 6455
§5.4), which every WebSocket library puts together.

The work for a block is done by a handful of calls, whose loops are not Python's. ``BytesIO.readlines`` is the quickest
that knows where lines end: it looks for one byte with the processor's widest words, where ``bytes.split`` looks at one
byte after the other.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

from k8s_ws_proxy.wire.framing import frames

MAX_LINE: Final = 1 << 20  # bytes of one message, newline included: what careful clients take by default
_KEPT: Final = 4096  # headers that are made once


class _Heads(dict[int, bytes]):
    """The header of a frame with a line of ``length`` bytes, its newline included."""

    def __missing__(self, length: int) -> bytes:
        head = frames.header(frames.BINARY, length)
        if length < _KEPT:
            self[length] = head
        return head


_HEADS: Final = _Heads()


class Lines:
    """The state of one log."""

    __slots__ = ("_begun", "_held")

    def __init__(self) -> None:
        self._held = bytearray()  # of a line whose end hasn't come
        self._begun = 0  # bytes of its message that have left in fragments

    def take(self, data: bytes) -> bytes:
        """The frames of all lines that ``data`` ends, and of what is too long to be held."""
        lines = BytesIO(data).readlines()
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        pieces: list[bytes] = []
        if lines and (self._held or self._begun):
            pieces = self._hold(lines.pop(0)) + self._let_go()
        if lines:
            pieces += _whole(lines, len(data))
        if rest:
            pieces += self._hold(rest)
        return b"".join(pieces)

    def last(self) -> bytes:
        """The rest of a line without a newline, at the end of the log; after it, the line that follows is a new one."""
        return b"".join(self._let_go())

    @property
    def held(self) -> int:
        """Bytes of an unfinished line."""
        return len(self._held)

    def part(self) -> bytes:
        """What there is of an unfinished line, as a fragment of its message."""
        return b"".join(self._frame(len(self._held), fin=False)) if self._held else b""

    def _hold(self, part: bytes) -> list[bytes]:
        """Keep ``part`` of a line; the frames of what is over the bound."""
        self._held += part
        pieces: list[bytes] = []
        while (room := MAX_LINE - self._begun) <= len(self._held):
            pieces += self._frame(room, fin=True)
        return pieces

    def _let_go(self) -> list[bytes]:
        return self._frame(len(self._held), fin=True) if self._held or self._begun else []

    def _frame(self, size: int, *, fin: bool) -> list[bytes]:
        """Header and payload of a frame with the first ``size`` bytes of what is held."""
        head = frames.header(frames.CONTINUATION if self._begun else frames.BINARY, size, fin=fin)
        payload = bytes(self._held[:size])
        del self._held[:size]
        self._begun = 0 if fin else self._begun + size
        return [head, payload]


def _whole(lines: list[bytes], size: int) -> list[bytes]:
    """The frames of whole lines, ``size`` bytes at most."""
    if size > MAX_LINE and max(map(len, lines)) > MAX_LINE:
        return [piece for line in lines for piece in _cut(line)]
    pieces = [b""] * (2 * len(lines))
    pieces[0::2] = map(_HEADS.__getitem__, map(len, lines))
    pieces[1::2] = lines
    return pieces


def _cut(line: bytes) -> list[bytes]:
    """The frames of one line, however long."""
    return [frames.frame(frames.BINARY, line[at : at + MAX_LINE]) for at in range(0, len(line), MAX_LINE)]
