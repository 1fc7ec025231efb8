"""The last of what a terminal was sent, kept as it was, and what it comes to for somebody who joins late.

Nothing is parsed while it is kept: whole messages are appended, and the older half is let go when the newer one is
full. On joining it is taken apart and played again. Where something has been let go, that can't bring back: colours,
scroll regions and character sets that were set before it and still hold; what a program drew by moving the cursor;
where a line longer than a tail is wrapped; a mode that was switched in a sequence which two messages share, or in the
first part of a block larger than a tail. The program is asked to draw anew then (``relay.fanout``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.framing.channels import STDOUT
from k8s_ws_proxy.wire.framing.frames import CLOSE
from k8s_ws_proxy.wire.rules.questions import without_questions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k8s_ws_proxy.wire.framing.splitter import Piece

MOST: Final = 64 * 1024  # bytes of a tail, framing included; one block of more is kept as a whole
_HALF: Final = MOST // 2
_FLOOD: Final = 8 * 1024  # bytes at once
_LINES: Final = 200  # no terminal shows more
_LEAD: Final = 8 * 1024  # bytes of the lines before a tail
_FIRST_BYTE: Final = b"\x82"  # of a message; some text has it, too
_MESSAGES: Final = 3000  # that are taken apart for those lines: a millisecond
_OVERWRITTEN: Final = 3  # versions of a line that are kept, since a shorter one leaves some of the last
_SOON: Final = 1024  # bytes within which a good place to begin is looked for

_ESC: Final = b"\x1b"
_ALTERNATE: Final = (47, 1047, 1049)
# Private modes (DECSET, DECRST) that change what is seen, or what a peer's keys and mouse send; as a terminal begins.
_MODES: Final = {1: False, 7: True, 25: True, **dict.fromkeys((*_ALTERNATE, 2004), False)} | dict.fromkeys(
    (1000, 1002, 1003, 1004, 1006, 1015), False
)
_SWITCH: Final = re.compile(rb"\x1b\[\?([\d;]{1,32})([hl])")
_MOVES: Final = re.compile(rb"\x1b(?!\[[\d;:]*[mK])")  # anything but colours, and the rest of a line made blank
_BEGINS: Final = re.compile(rb"[\x1b\r\n]")


class Tail:
    """One terminal's."""

    __slots__ = ("_before", "_cut", "_lead", "_modes", "_now", "held")

    def __init__(self) -> None:
        self._before: bytes | bytearray = b""
        self._now = bytearray()
        self._lead = b""  # of the lines that were let go, those which may still be on the screen
        self._modes: dict[int, bool] = {}
        self._cut = False
        self.held = 0  # bytes

    def append(self, data: Piece) -> bool:
        """``data``, whole messages, was sent: whether something was let go for it, or will be for the next."""
        size = len(data)
        if size >= MOST:
            self.forget()
            self._before = bytes(data)
            self.held = size
            return True
        self._now += data
        self.held += size
        if len(self._now) < _HALF:
            return False
        # Lines in a flood leave nothing of those before them; a look at each would be felt.
        flood = size >= _FLOOD and self._now.find(b"\n", len(self._now) - size) >= 0
        self._let_go(self._before, b"" if flood else self._now)
        self._before, self._now = self._now, bytearray()
        self.held = len(self._before) + len(self._lead)
        return True

    def forget(self) -> None:
        """Keep nothing of it."""
        self._let_go(self._before, b"")
        self._let_go(self._now, b"")
        self._before, self._now, self._lead, self.held = b"", bytearray(), b"", 0

    def replay(self) -> tuple[bytes, bool]:
        """What a new terminal is to be sent, and whether that is all there was."""
        shown = output(bytes(self._before) + bytes(self._now))
        gone, shown = shown[:-MOST], shown[-MOST:]
        if not self._cut and not gone:
            return without_questions(shown), True
        modes = switched(self._modes, gone) if _ESC in gone else self._modes
        shown = self._lead + shown if self._lead and not gone else _from_its_beginning(shown)
        return restoring(modes) + without_questions(shown), False

    def _let_go(self, messages: bytes | bytearray, after: bytes | bytearray) -> None:
        if messages:
            self._cut = True
            # One byte is looked for many times as fast as a sequence, and a coloured flood has few question marks.
            if _ESC in messages and b"?" in (end := messages[-MOST:]):
                self._modes = switched(self._modes, end)
            self._lead = still_shown(self._lead, messages, after)


def output(messages: bytes) -> bytes:
    """What ``messages``, whole ones of a server's, say on stdout."""
    said: list[bytes] = []
    pos = 0
    while pos < len(messages):
        opcode, length, size = messages[pos] & 0x0F, messages[pos + 1], 2
        if length >= 126:
            size = 4 if length == 126 else 10
            length = int.from_bytes(messages[pos + 2 : pos + size], "big")
        body = pos + size
        pos = body + length
        if opcode < CLOSE and length > 1 and messages[body] == STDOUT:
            said.append(messages[body + 1 : pos])
    return b"".join(said)


def switched(modes: Mapping[int, bool], data: bytes | bytearray) -> dict[int, bool]:
    """The modes that differ from a terminal's own, after ``data``."""
    now = dict(modes)
    for names, switch in _SWITCH.findall(data):
        for name in names.split(b";"):
            if name and (mode := int(name)) in _MODES:
                now[mode] = switch == b"h"
    return {mode: on for mode, on in now.items() if on is not _MODES[mode]}


def restoring(modes: Mapping[int, bool]) -> bytes:
    """What brings a terminal into ``modes``, with nothing on its screen."""
    said = [b"\x1b[?%d%c" % (mode, b"h" if on else b"l") for mode, on in modes.items()]
    said.sort(key=lambda each: not each.startswith((b"\x1b[?47", b"\x1b[?104")))  # another screen first
    return b"".join(said) + b"\x1b[m\x1b[H\x1b[2J"


def still_shown(lead: bytes, messages: bytes | bytearray, after: bytes | bytearray) -> bytes:
    """Of the lines in ``lead`` and then ``messages``, those that what came ``after`` may have left on the screen.

    A progress bar fills a tail with versions of one line. Where more than that was drawn there are none, nor where it
    came in tiny messages: a flood of those would pay for it.
    """
    if not after or after.count(b"\n") >= _LINES or messages.count(_FIRST_BYTE) > _MESSAGES:
        return b""
    if _ESC in messages and _MOVES.search(messages):
        return b""
    if b"\r" not in messages and b"\n" not in messages:
        return b""  # part of a line without an end
    lines = (lead + output(bytes(messages))).split(b"\n")[-_LINES:]
    text = b"\n".join(_last_versions(line) for line in lines)
    if len(text) > _LEAD:
        text = text[-_LEAD:].partition(b"\n")[2]
    return text


def _last_versions(line: bytes) -> bytes:
    end = line[len(line.rstrip(b"\r")) :]
    return b"\r".join(line[: len(line) - len(end)].split(b"\r")[-_OVERWRITTEN:]) + end


def _from_its_beginning(text: bytes) -> bytes:
    """Without the rest of a character or sequence whose beginning is gone, as far as that can be told."""
    found = _BEGINS.search(text, 0, _SOON)
    return text[found.start() :] if found else text
