"""How much one session may read in a turn: the whole block, or less while somebody types or memory is short.

A turn of bulk is time that everybody else waits. With nobody typing, large blocks cost the least CPU for each byte;
while somebody is, a keystroke and its echo should each wait behind a small one only. And what was read may have to
wait for a reader that has stopped: with many of those, each further one gets to keep little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.framing.splitter import Block
from k8s_ws_proxy.wire.framing.tls_records import RECORD

if TYPE_CHECKING:
    from collections.abc import Callable

# Bytes of the wire. A full block of input, with the header that a cut message gets, makes 15 full TLS records; the rest
# of one that had begun may come besides. Two blocks, one in each direction, are the most that a session holds, a few
# control frames apart.
BLOCK_SIZE: Final = 15 * 16384 - 64
SMALL_SIZE: Final = 16 * 1024
# Bytes that wait in all sessions before every turn is SMALL_SIZE: the two bound what all sessions hold together.
HELD_LIMIT: Final = 16 * 1024 * 1024
_TYPING: Final = 1.0  # seconds after a keystroke in which the next one is expected


class ReadBudget:
    """One for all sessions, with the block that they read into. ``clock`` is monotonic, in seconds."""

    __slots__ = ("_clock", "_until", "block", "held")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.block = Block(BLOCK_SIZE + RECORD)
        self._clock = clock
        self._until = 0.0
        self.held = 0  # bytes that wait to be written, in all legs of all sessions

    def now(self) -> float:
        """Seconds, monotonic."""
        return self._clock()

    def note_keystroke(self) -> None:
        """A keystroke was passed on."""
        self._until = self._clock() + _TYPING

    def hold(self, count: int) -> bool:
        """``count`` more bytes are kept for somebody, fewer if it is negative: whether all of them are too many now."""
        self.held += count
        return self.held > HELD_LIMIT

    def allowance(self) -> int:
        """Bytes of the wire that may be read in this turn."""
        return SMALL_SIZE if self.held > HELD_LIMIT or self._clock() < self._until else BLOCK_SIZE
