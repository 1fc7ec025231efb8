"""What a program wrote to a terminal, without what does more to a viewer's than draw.

A terminal obeys whoever writes to it: it types what it is into the shell's input where it is asked, sets the clipboard,
the title, its own keys, prints, and stores files (xterm's ctlseqs, ECMA-48 §5, §8.3). So what is passed on is a list,
and everything that isn't on it is left out.
"""

from __future__ import annotations

import re
from typing import Final

_PLAIN: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]+|[\x08-\x0f]+")
_LONGEST: Final = 256  # characters of a control sequence; one that is longer is left out
_CSI: Final = re.compile(r"(?P<prefix>[<=>?]?)(?P<numbers>[0-9;:]*)(?P<between>[ -/]*)(?P<final>[@-~])")
_MALFORMED: Final = re.compile(r"[^0-9;:<=>?@-~ -/]")
_FINALS: Final = frozenset("@ABCDEFGHIJKLMPSTXZ`abdefgmrsu")  # cursor, erase, scroll, tabs, colours, margins
_MODES: Final = frozenset("4")  # insert; not the keyboard's, nor local echo
_PRIVATE_MODES: Final = frozenset(("5", "6", "7", "12", "25", "45", "47", "69", "1047", "1048", "1049", "2026"))
_ESCAPES: Final = frozenset("78DEHM")
_CHARSETS: Final = frozenset("()*+-./#")  # with one more character
_STRINGS: Final = frozenset("P]X^_")  # DCS, OSC, SOS, PM, APC: until ST
_EIGHT_BITS: Final = {0x84: "D", 0x85: "E", 0x88: "H", 0x8D: "M", 0x90: "P", 0x98: "X", 0x9B: "[", 0x9D: "]"}
_EIGHT_BITS_MORE: Final = {0x9E: "^", 0x9F: "_"}
_CANCELS: Final = "\x18\x1a"
_RESET: Final = "\x1b[!p\x1b[H\x1b[2J"  # of RIS what draws: the rest would empty the scrollback, too
AFTERWARDS: Final = "\x1b[!p\x1b[?1049l\x1b[?5l\x1b[?69l\x1b[?2026l\x1b[?25h\x1b[0 q\x1b(B\x0f\x1b[0m"
"""What puts a terminal into order again, whatever was passed on before."""


class Harmless:
    """Takes text in pieces, cut anywhere, and gives what may be shown of it."""

    def __init__(self) -> None:
        self._held = ""  # the beginning of a sequence, without its ESC
        self._in_sequence = False
        self._in_string = False

    def pass_on(self, text: str) -> str:
        """Of ``text``, and of what was held of the text before it, what draws."""
        shown: list[str] = []
        position = 0
        while position < len(text):
            if not self._in_sequence and not self._in_string and (plain := _PLAIN.match(text, position)):
                shown.append(plain[0])
                position = plain.end()
                continue
            shown.append(self._take(text[position]))
            position += 1
        return "".join(shown)

    def _take(self, character: str) -> str:
        if character in _CANCELS:
            self._in_sequence = self._in_string = False
            return ""
        if character == "\x1b" or "\x80" <= character <= "\x9f":
            return self._begin(character)
        if self._in_string:
            self._in_string = character != "\x07"
            return ""
        if not self._in_sequence:
            return ""  # a control that isn't on the list
        if character < " " or character == "\x7f":
            return character if "\x08" <= character <= "\x0d" else ""  # ECMA-48 has them obeyed in between
        self._held += character
        return self._sequence()

    def _begin(self, character: str) -> str:
        """ESC, or a control of eight bits, which is ESC and another character (ECMA-48 §5.3)."""
        self._held, self._in_sequence, self._in_string = "", True, False
        if character == "\x1b":
            return ""
        number = ord(character)
        self._held = _EIGHT_BITS.get(number) or _EIGHT_BITS_MORE.get(number, "\\")
        return self._sequence()

    def _sequence(self) -> str:
        """What is shown of the sequence, if it is whole."""
        first = self._held[0]
        if first in _STRINGS:
            self._in_sequence, self._in_string = False, True
            return ""
        if first == "[":
            return self._control()
        if first in _CHARSETS:
            if len(self._held) < 2:
                return ""
            return self._done(f"\x1b{self._held}" if first != "#" or self._held[1] in "34568" else "")
        if " " <= first <= "/":  # others with more characters to come
            return self._done("") if len(self._held) > 1 and self._held[-1] > "/" else self._bounded()
        if first == "c":
            return self._done(_RESET)
        return self._done(f"\x1b{first}" if first in _ESCAPES else "")

    def _control(self) -> str:
        body = self._held[1:]
        if not body or not "@" <= body[-1] <= "~":
            return self._bounded()
        found = _CSI.fullmatch(body)
        return self._done("" if found is None else _drawing(**found.groupdict()))

    def _bounded(self) -> str:
        if len(self._held) > _LONGEST:
            self._held = self._held[:2] + "\x00"  # whatever comes, it is no sequence that is known
        return ""

    def _done(self, shown: str) -> str:
        self._in_sequence, self._held = False, ""
        return shown


def _drawing(prefix: str, numbers: str, between: str, final: str) -> str:
    """A control sequence, as far as it draws."""
    if final in "hl":
        known = _PRIVATE_MODES if prefix == "?" else _MODES if not prefix else frozenset()
        modes = [each for each in numbers.split(";") if each.lstrip("0") in known] if not between else []
        return f"\x1b[{prefix}{';'.join(modes)}{final}" if modes else ""
    whole = f"\x1b[{prefix}{numbers}{between}{final}"
    if between:
        return whole if (between, final, prefix) in {(" ", "q", ""), ("!", "p", "")} else ""
    if prefix:
        return whole if prefix == "?" and final in "JK" and "3" not in numbers.split(";") else ""
    if final == "J" and "3" in (each.lstrip("0") for each in numbers.split(";")):
        return ""  # it would empty the scrollback
    if final == "T" and ";" in numbers:
        return ""  # xterm has the mouse tracked by that
    return whole if final in _FINALS else ""
