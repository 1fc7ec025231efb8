"""A session as asciicast v3 (docs.asciinema.org, "asciicast v3"): a header, then a line for each event.

What a line holds is JSON in UTF-8. Times in it are seconds since the event before; those given here are seconds since
the session began.
"""

from __future__ import annotations

import codecs
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from k8s_ws_proxy.wire.framing.channels import STDERR, STDIN, STDOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION: Final = 3
COLUMNS: Final = 80
ROWS: Final = 24
"""A terminal's size, until it is told."""
_LARGEST: Final = 9999  # columns or rows that are written down
_CODES: Final[Mapping[int, bytes]] = {STDOUT: b"o", STDERR: b"o", STDIN: b"i"}
_UNKNOWN: Final = "\N{REPLACEMENT CHARACTER}"
_UNKNOWN_BYTES: Final = _UNKNOWN.encode()


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands in the header. ``timestamp`` is Unix seconds; ``command`` is shown as one would type it."""

    title: str
    timestamp: int
    command: Sequence[str] | None = None
    tags: Sequence[str] = field(default=())


class Cast:
    """One recording's encoder: each method gives the bytes to be appended, whole lines.

    The header goes before the first event. Its size is that of the event, if that is a size.
    """

    def __init__(self, heading: Heading) -> None:
        self.heading = heading
        self._begun = False
        self._last = 0  # microseconds: what was rounded isn't added up
        self._decoders = {channel: _Decoder() for channel in _CODES}

    @property
    def replaced(self) -> int:
        """Characters that stand for bytes that are no UTF-8."""
        return sum(decoder.replaced for decoder in self._decoders.values())

    def data(self, at: float, channel: int, data: bytes) -> bytes:
        """What came on stdout or stderr, or was typed, as far as its characters are whole."""
        text = self._decoders[channel].decode(data)
        return self._event(at, _CODES[channel], text) if text else b""

    def resized(self, at: float, columns: int, rows: int) -> bytes:
        """The terminal's size, in characters."""
        columns, rows = min(columns, _LARGEST), min(rows, _LARGEST)
        if not self._begun:
            return self.begin(columns, rows)
        return self._event(at, b"r", f"{columns}x{rows}")

    def exited(self, at: float, status: int) -> bytes:
        """The command's exit status."""
        return self.rest(at) + self._event(at, b"x", str(status))

    def rest(self, at: float) -> bytes:
        """What is left of characters that were never whole."""
        lines = b""
        for channel, decoder in self._decoders.items():
            if text := decoder.decode(b"", final=True):
                lines += self._event(at, _CODES[channel], text)
        return lines

    def begin(self, columns: int = COLUMNS, rows: int = ROWS) -> bytes:
        """The header, where it hasn't been written yet."""
        if self._begun:
            return b""
        self._begun = True
        heading = self.heading
        header: dict[str, object] = {
            "version": VERSION,
            "term": {"cols": columns or COLUMNS, "rows": rows or ROWS},
            "timestamp": heading.timestamp,
            "title": heading.title,
        }
        if heading.command is not None:
            header["command"] = shlex.join(heading.command)
        if heading.tags:
            header["tags"] = list(heading.tags)
        return orjson.dumps(header, option=orjson.OPT_APPEND_NEWLINE)

    def _event(self, at: float, code: bytes, text: str) -> bytes:
        begin = self.begin()
        now = max(self._last, round(at * 1e6))
        since, self._last = now - self._last, now
        return b'%b[%d.%06d, "%b", %b]\n' % (begin, since // 1_000_000, since % 1_000_000, code, orjson.dumps(text))


def comment(text: str) -> bytes:
    """A line for whoever reads the file itself: players pass over it."""
    return b"# " + " ".join(text.split()).encode("utf-8", "replace") + b"\n"


class _Decoder:
    """UTF-8 that comes in pieces. A character that was cut waits for its rest."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self.replaced = 0

    def decode(self, data: bytes, *, final: bool = False) -> str:
        before: bytes = self._utf8.getstate()[0]
        text = self._utf8.decode(data, final)
        if (found := text.count(_UNKNOWN)) > 0:
            # Who writes that character itself means it.
            self.replaced += found - (before + data).count(_UNKNOWN_BYTES)
        return text
