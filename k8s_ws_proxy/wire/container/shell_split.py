r"""A command line as words, split as a POSIX shell splits it; nothing is expanded, nothing is an operator.

XCU 2.2 (quoting) and 2.3 (token recognition) of POSIX.1-2017, as far as words go. The standard library's ``shlex``
keeps the backslash of ``"\$"`` and the newline after a backslash, where a shell keeps neither.
"""

from __future__ import annotations

import re
from typing import Final

BLANKS: Final = " \t\n"

# One step of the line: white space between words, or a part of a word.
_STEP: Final = re.compile(
    r"""
    (?P<blank> [ \t\n]+ )
  | (?P<continued> \\\n )                            # a backslash and a newline are as good as nothing
  | \\ (?P<escaped> . )
  | ' (?P<single> [^']* ) '                          # everything between is itself
  | " (?P<double> (?: [^"\\] | \\. )* ) "
  | (?P<plain> [^ \t\n'"\\]+ )
    """,
    re.VERBOSE | re.DOTALL,
)
# Within double quotes a backslash escapes these only (XCU 2.2.3); a newline goes with it.
_IN_DOUBLE: Final = re.compile(r'\\([$`"\\\n])')


class Unfinished(ValueError):
    """A quotation mark is never closed, or a backslash stands at the end."""


def split(line: str) -> list[str]:
    """The words of ``line``. Raises Unfinished."""
    words: list[str] = []
    word: str | None = None
    pos = 0
    while pos < len(line):
        step = _STEP.match(line, pos)
        if step is None:
            raise Unfinished("a quotation mark is never closed, or a backslash stands at the end")
        pos = step.end()
        kind = step.lastgroup
        if kind == "blank":
            if word is not None:
                words.append(word)
            word = None
        elif kind != "continued":
            assert kind is not None
            text = step[kind]
            if kind == "double":
                text = _IN_DOUBLE.sub(lambda found: found[1].strip("\n"), text)
            word = (word or "") + text
    return words if word is None else [*words, word]
