"""What asks a terminal to answer: its kind, where its cursor is, a mode, a colour, its size, whether it has the focus.

The terminal of whoever opened the session answers, on stdin. Who joins it is shown the same: where that terminal
answered as well, the second answer would find nobody who waits for it any more, and be taken for something typed.
"""

from __future__ import annotations

import re
from typing import Final

_QUESTIONS: Final = re.compile(
    rb"\x05|\x1b\[(?:[>=]?[\d;]*c|\??[\d;]*n|[>?]?[\d;]*\$p|>[\d;]*q|\?u|\?1004h|[01]?x|[\d;]*\$[uw]"
    rb"|(?:1[1-9]|2[01])(?:;\d*)*t)"
    rb"|\x1b\]\d+;(?:[^\x07\x1b]*[;=])?\?(?:\x07|\x1b\\)|\x1bP[+$]q[^\x1b]*\x1b\\"
)
# What may yet become one of these. A terminal shows nothing of it until it is whole.
_BEGUN: Final = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*|\](?:\d+(?:;[^\x07\x1b]*\x1b?)?)?|P(?:[+$](?:q[^\x1b]*\x1b?)?)?)?\Z"
)
_LONGEST: Final = 4 * 1024  # bytes of a question, and of what is held for one
_PASSES: Final = 4


def without_questions(data: bytes) -> bytes:
    """``data`` without those that are whole in it."""
    for _ in range(_PASSES):  # what stood around one may have become another
        data, found = _QUESTIONS.subn(b"", data)
        if not found:
            break
    return data


class Unasked:
    """Takes them out of a terminal's output as it comes, wherever that is cut."""

    def __init__(self) -> None:
        self._held = b""

    def take(self, data: bytes) -> bytes:
        """What may be shown now: all of it but the beginning of a sequence, which is held until its rest has come."""
        data = without_questions(self._held + data)
        begun = _BEGUN.search(data)
        shown = begun.start() if begun and len(data) - begun.start() <= _LONGEST else len(data)
        self._held = data[shown:]
        return data[:shown]
