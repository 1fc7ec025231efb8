"""How long may this session go on? Off unless an operator sets a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

NOTICE: Final = 60.0  # seconds between the warning and the end; half of the limit where that is shorter
# Looks in the time of a notice: bytes are known to have passed since the last look, not when. So a session counts as
# idle a quarter of a minute late at most.
_LOOKS: Final = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds; 0 is no limit. ``idle`` is without a byte either way, ``duration`` since the 101."""

    idle: float = 0.0
    duration: float = 0.0


class Age(Enum):
    """What a look at a session's age found."""

    FINE = "fine"
    IDLE_SOON = "idle_soon"
    DURATION_SOON = "duration_soon"
    IDLE_OVER = "idle_over"
    DURATION_OVER = "duration_over"


class _Limit:
    """One limit on the time since some moment. Nobody is ended without the notice, however seldom one looks."""

    __slots__ = ("_limit", "_told_at", "notice")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.notice = min(NOTICE, limit / 2)
        self._told_at: float | None = None

    def look(self, since: float, now: float, soon: Age, over: Age) -> Age:
        left = since + self._limit - now
        if not self._limit or left > self.notice:
            self._told_at = None
            return Age.FINE
        if self._told_at is None:
            self._told_at = now
            return soon
        return over if left <= 0 and now - self._told_at >= self.notice else Age.FINE

    def wait(self, since: float, now: float) -> float:
        """Seconds until something is due; once it is over, the time of a notice again."""
        if not self._limit:
            return math.inf
        end = since + self._limit
        due = end - self.notice if self._told_at is None else max(end, self._told_at + self.notice)
        return due - now if due > now else self.notice


class Lifetime:
    """One session's. ``now`` is monotonic, in seconds. What it told once is told again only after a new reason.

    Over stays over: a session that has been ended and is still there is told so at every look.
    """

    __slots__ = ("_active_at", "_began", "_duration", "_idle", "limits")

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self._began = self._active_at = now
        self._idle = _Limit(limits.idle)
        self._duration = _Limit(limits.duration)

    def look(self, now: float, *, active: bool) -> Age:
        """What is due; ``active``: bytes have passed, either way, since the last look."""
        if active:
            self._active_at = now
        age = self._duration.look(self._began, now, Age.DURATION_SOON, Age.DURATION_OVER)
        return age if age is not Age.FINE else self._idle.look(self._active_at, now, Age.IDLE_SOON, Age.IDLE_OVER)

    def wait(self, now: float) -> float:
        """Seconds after which to look again, if the last look was ``now``."""
        wait = min(self._duration.wait(self._began, now), self._idle.wait(self._active_at, now))
        return min(wait, self._idle.notice / _LOOKS) if self.limits.idle else wait

    def sentence(self, age: Age) -> str:
        """What ``age`` means, for the person at the terminal."""
        match age:
            case Age.IDLE_SOON:
                return f"nothing has passed for a while: unless something does, this ends in {self._idle.notice:g} s"
            case Age.DURATION_SOON:
                return f"a session may last {self.limits.duration:g} s: this one ends in {self._duration.notice:g} s"
            case Age.IDLE_OVER:
                return f"nothing has passed for {self.limits.idle:g} s"
            case Age.DURATION_OVER:
                return f"the session has lasted {self.limits.duration:g} s, as long as one may"
            case Age.FINE:
                raise AssertionError("there is nothing to say")
