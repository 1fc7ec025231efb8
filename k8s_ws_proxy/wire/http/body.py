"""An HTTP/1.1 answer whose body is as long as it likes: the head by h11, the body by blocks (RFC 9112 §6, §7).

An apiserver that follows a log sends a chunk for each line. h11 takes about ten microseconds for each; Body takes
a quarter of one, and ``passage``, for who wants the chunks as they are, steps over those that are alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from typing import TYPE_CHECKING, Final

import h11

from k8s_ws_proxy.errors import UpstreamProtocolError
from k8s_ws_proxy.wire.http.handshake import Exchange, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_LINE: Final = 4 * 1024  # bytes of a chunk's size with its extensions, or of a trailer
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
CRLF: Final = b"\r\n"
CR, LF = CRLF
_SMALL: Final = 2048  # bytes of a chunk, if less, after which others like it are looked for
_WORTH_A_RUN: Final = 4096  # bytes
_RUN: Final = 64 * 1024  # bytes that are looked at together
_SINGLY: Final = 256  # chunks
_KEPT: Final = 4096  # sizes that are understood once
_LONGEST_KEPT: Final = 8  # bytes of such a size's text


class BodyViolation(Exception):
    """The peer broke the chunked coding. The text says how."""


class Part(Enum):
    """What of a chunked body comes next."""

    SIZE = "size"
    DATA = "data"
    DATA_END = "data end"
    TRAILER = "trailer"


class Body:
    """One body: wire bytes in, content out. ``length`` None and not ``chunked``: it lasts as long as the connection.

    ``complete`` is true once all of it has come; what comes after that is none of it, and is dropped.
    """

    __slots__ = ("_carry", "_chunked", "_left", "_part", "_singly", "complete")

    def __init__(self, *, length: int | None = None, chunked: bool = False) -> None:
        self._chunked = chunked
        self._left = length  # bytes of the body, or of the chunk under way; None is no bound
        self._part = Part.SIZE
        self._carry = b""  # of a line that isn't complete
        self._singly = 0  # chunks to walk over one by one, before a run of them is looked for again
        self.complete = length == 0 and not chunked

    @property
    def chunked(self) -> bool:
        """It is in chunks."""
        return self._chunked

    @property
    def ends_with_connection(self) -> bool:
        """The connection's end is the body's, and nothing else is (RFC 9112 §6.3, the last case)."""
        return self._left is None and not self._chunked

    def take(self, data: bytes) -> bytes:
        """The content in ``data``. Raises BodyViolation."""
        if self.complete:
            return b""
        if self._chunked:
            pieces: list[bytes | memoryview] = []
            self.walk(data, pieces)
            return b"".join(pieces)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
            self.complete = not self._left
        return data

    def walk(self, data: bytes, pieces: list[bytes | memoryview]) -> None:
        """Add the content of the chunks to ``pieces``."""
        view, pos, end = memoryview(data), 0, len(data)
        while pos < end and not self.complete:
            match self._part:
                case Part.SIZE if not self._carry:
                    after = self._whole_chunks(data, view, pos, pieces)
                    pos = after if after > pos else self._line(data, pos)
                case Part.DATA:
                    assert self._left is not None
                    stop = min(end, pos + self._left)
                    pieces.append(view[pos:stop])
                    self._left -= stop - pos
                    pos = stop
                    if not self._left:
                        self._part = Part.DATA_END
                case _:
                    pos = self._line(data, pos)

    def _whole_chunks(self, data: bytes, view: memoryview, pos: int, pieces: list[bytes | memoryview]) -> int:
        """Walk over the chunks at ``pos`` that are there as a whole; the offset after them."""
        end = len(data)
        while (eol := data.find(CRLF, pos)) >= 0:
            stop = eol + 2 + (size := SIZES[data[pos:eol]])
            if size < 0 or stop + 2 > end or data[stop] != CR or data[stop + 1] != LF:
                break
            pieces.append(view[eol + 2 : stop])
            pos = stop + 2
            if self._singly:
                self._singly -= 1
            elif size < _SMALL and end - pos > _WORTH_A_RUN:
                run = _run(data[pos : pos + _RUN], pieces)
                if run < _WORTH_A_RUN // 2:  # chunks aren't lines, or a long one came
                    self._singly = _SINGLY
                pos += run
        return pos

    def _line(self, data: bytes, pos: int) -> int:
        """A chunk's size or end, or a trailer, perhaps cut, perhaps wrong; the offset after what was taken of it."""
        after = data.find(b"\n", pos) + 1
        line = self._carry + data[pos : after or len(data)]
        if len(line) > _MAX_LINE:
            raise BodyViolation("a chunk's size or a trailer is too long")
        if not after:
            self._carry = line
            return len(data)
        self._carry = b""
        match self._part:
            case Part.SIZE if found := _CHUNK.fullmatch(line):
                self._left = int(found[1], 16)
                self._part = Part.DATA if self._left else Part.TRAILER
            case Part.DATA_END if line == CRLF:
                self._part = Part.SIZE
            case Part.TRAILER if line.endswith(CRLF):
                self.complete = line == CRLF
            case _:
                raise BodyViolation(f"{line[:20]!r} stands where a chunk's {self._part.value} must be")
        return after


class _Sizes(dict[bytes, int]):
    """What a chunk's size line says, by its text without the line's end; -1 for what isn't one or is the last."""

    def __missing__(self, text: bytes) -> int:
        found = _CHUNK.fullmatch(text + CRLF)
        size = (found and int(found[1], 16)) or -1
        if size > 0 and len(self) < _KEPT and len(text) <= _LONGEST_KEPT:
            self[text] = size
        return size


SIZES: Final = _Sizes()


class _SizeLines(dict[int, bytes]):
    """The size line of a chunk of so many bytes, as an apiserver writes it (Go, net/http/internal)."""

    def __missing__(self, size: int) -> bytes:
        line = b"%x\r\n" % size
        if size < _SMALL:
            self[size] = line
        return line


_SIZE_LINES: Final = _SizeLines()


def _run(data: bytes, pieces: list[bytes | memoryview]) -> int:
    """Walk over a run of chunks that are a line each, as a log's are, in a handful of calls; the bytes of it.

    Such a chunk is three lines: its size, the log's, and an empty one.
    """
    lines = BytesIO(data).readlines()
    count = len(lines) // 3
    sizes, contents, ends = lines[0 : 3 * count : 3], lines[1 : 3 * count : 3], lines[2 : 3 * count : 3]
    there = list(map(_SIZE_LINES.__getitem__, map(len, contents)))
    if sizes != there:
        count = next(number for number, (one, other) in enumerate(zip(sizes, there, strict=True)) if one != other)
        del contents[count:], ends[count:]
    if ends.count(CRLF) != count:
        count = next(number for number, end in enumerate(ends) if end != CRLF)
        del contents[count:]
    pieces += contents
    return len(data) - sum(map(len, lines[3 * count :]))


@dataclass(frozen=True, slots=True)
class Download:
    """An answer with 2xx has begun. ``early`` are bytes of its body that came with the head."""

    status: int
    content_type: str
    body: Body
    early: bytes


class DownloadExchange:
    """One GET, and its answer up to where the body begins. Another answer than 2xx is read to its end."""

    def __init__(self, path: str, headers: Sequence[tuple[str, str]]) -> None:
        self._exchange = Exchange(path, headers, head_only=True)
        self.request = self._exchange.request

    def receive(self, data: bytes) -> Download | None:
        """Feed bytes (none at the end of the connection); None while there is nothing to say.

        Raises UpstreamRefused for another status than 2xx, UpstreamProtocolError for what isn't HTTP.
        """
        answer = self._exchange.receive(data)
        if answer is None:
            return None
        if isinstance(answer, tuple):
            raise refusal(*answer, retry_after=self._exchange.retry_after())
        if isinstance(answer, h11.InformationalResponse):
            raise UpstreamProtocolError("The apiserver switched protocols, and wasn't asked to.")
        # h11 has made sure that each of the two is there once at most, and is what it can be.
        headers = dict(answer.headers)
        coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
        if answer.status_code == 204:
            body = Body(length=0)  # RFC 9112 §6.3: whatever the headers say
        elif coding is not None:
            body = Body(chunked=True)
        else:
            body = Body(length=None if length is None else int(length))
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        return Download(answer.status_code, content_type, body, self._exchange.early())
