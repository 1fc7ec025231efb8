"""How much one session may read in a turn of the loop: the whole block, or less while somebody is typing.

A turn of bulk is time that everybody else waits. With nobody typing, large blocks cost the least CPU for each byte;
while somebody is, a keystroke and its echo should each wait behind a small one only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.cutter import Block

if TYPE_CHECKING:
    from collections.abc import Callable

# Bytes. A full block of input, with the header that a cut message gets, makes 15 full TLS records. Two blocks, one in
# each direction, are the most that a session holds, a few control frames apart.
BLOCK_SIZE: Final = 15 * 16384 - 64
TYPING_SIZE: Final = 32 * 1024  # bytes: two TLS records, the least that can be read well
_TYPING: Final = 1.0  # seconds after a keystroke in which the next one is expected


class Pace:
    """One for all sessions, with the block that they read into. ``clock`` is monotonic, in seconds."""

    __slots__ = ("_clock", "_until", "block")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.block = Block(BLOCK_SIZE)
        self._clock = clock
        self._until = 0.0

    def typed(self) -> None:
        """A keystroke was passed on."""
        self._until = self._clock() + _TYPING

    def allowance(self) -> int:
        """Bytes that may be read in this turn."""
        return TYPING_SIZE if self._clock() < self._until else BLOCK_SIZE
