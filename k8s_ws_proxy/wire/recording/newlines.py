r"""Ends of lines of a session without a terminal, for one that shows it.

A terminal's driver writes ``\r\n`` where a program writes ``\n`` (termios(3), ONLCR). A session on pipes has nobody who
does, and a recording doesn't say which it was. So as long as no ``\r\n`` has come, a ``\n`` by itself is taken for one.
"""

from __future__ import annotations

import re
from typing import Final

_ALONE: Final = re.compile(r"(?<!\r)\n")


class Newlines:
    """Takes output in pieces, and gives it as a terminal wants it."""

    def __init__(self) -> None:
        self._on_terminal = False
        self._ended_so = False  # the last piece ended with \r

    def pass_on(self, text: str) -> str:
        """The text, with ends of lines that are whole."""
        if self._on_terminal:
            return text
        if "\r\n" in text or (self._ended_so and text.startswith("\n")):
            self._on_terminal = True
            return text
        self._ended_so = text.endswith("\r") if text else self._ended_so
        return _ALONE.sub("\r\n", text)
