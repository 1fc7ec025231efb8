"""How much of a request's head has come: HTTP's parser bounds each line of it, and nothing bounds their sum."""

from __future__ import annotations

from typing import Final

_ENDS: Final = (b"\n\r\n", b"\n\n")  # an empty line (RFC 9112 §2.1, and §2.2 for those who leave out the CR)
_KEPT: Final = 2  # bytes of an end that may have come already


class Head:
    """``size`` is the head's bytes so far, ``whole`` whether its last one has come.

    It needn't agree with the parser on anything but that: where this sees an end the parser has seen one, or a mistake.
    """

    __slots__ = ("_last", "size", "whole")

    def __init__(self) -> None:
        self.size = 0
        self.whole = False
        self._last = b""

    def feed(self, data: bytes) -> None:
        """More of the connection's bytes; what comes after the head isn't counted."""
        if self.whole:
            return
        # A parser skips empty lines before the first one (RFC 9112 §2.2): they don't end anything, but they count.
        begun = data if self._last else data.lstrip(b"\r\n")
        self.size += len(data) - len(begun)
        seen = self._last + begun
        ends = [at + len(end) for end in _ENDS if (at := seen.find(end)) >= 0]
        self.whole = bool(ends)
        self.size += (min(ends) if ends else len(seen)) - len(self._last)
        self._last = seen[-_KEPT:]
