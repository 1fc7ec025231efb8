"""Is this peer still there? Asked once a ping period (docs/reference/settings.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

# Bytes. A peer that was sent more than this since it was last heard may be too busy with it to answer a ping (a
# paused terminal, a program that doesn't read its stdin), and there is no telling from here. One that was sent less
# has no such excuse.
BUSY: Final = 64 * 1024


class Verdict(Enum):
    """What to do about a peer at a tick."""

    WAIT = "wait"
    PING = "ping"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Health:
    """What the shell knows about a leg at a tick.

    ``unsent``: output for the peer waits in the proxy or in the kernel. ``unread``: back-pressure has kept the proxy
    from reading what the peer says, now or at some time since the last tick. ``unanswered``: the kernel has had bytes
    or window probes under way for a whole period, repeated them, and the other side's kernel acknowledged nothing.
    """

    unsent: bool = False
    unread: bool = False
    unanswered: bool = False


class Liveness:
    """One leg's. Any byte counts as life; a silent peer is dead on the second tick after its last byte, at most."""

    __slots__ = ("_heard", "_pinged", "_sent")

    def __init__(self) -> None:
        self._heard = True
        self._pinged = False
        self._sent = 0

    def heard(self) -> None:
        """Bytes came from the peer."""
        self._heard = True
        self._pinged = False
        self._sent = 0

    def sent(self, count: int) -> None:
        """``count`` bytes went to the peer, pings aside."""
        self._sent += count

    def tick(self, health: Health) -> Verdict:
        """What to do now, one ping period after the last tick."""
        heard, self._heard = self._heard, False
        if health.unanswered and not heard:
            return Verdict.DEAD
        if health.unsent:
            # A ping would stand behind that output, and its pong's delay would say nothing.
            self._pinged = False
            return Verdict.WAIT
        if self._pinged and self._sent <= BUSY and not health.unread:
            return Verdict.DEAD
        # One that may be too busy, or whose pong may lie in what hasn't been read, is pinged all the same: so its
        # kernel always has something to acknowledge, and a wire that was cut is seen by that.
        self._pinged = True
        return Verdict.PING
