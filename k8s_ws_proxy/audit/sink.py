"""A way out for audit lines, and what is told of each."""

from __future__ import annotations

from typing import Protocol


class Sink(Protocol):
    """Takes lines in their order, and brings them out in a thread of its own. It counts what it does in the metrics."""

    @property
    def name(self) -> str:
        """For metrics and log: ``stderr``, ``file`` or ``nats``."""

    def take(self, line: bytes) -> None:
        """Bring ``line``, which has no end yet, out, or count it as lost where there is no room. Never waits."""

    @property
    def trouble(self) -> str:
        """Why a line can't be brought out or kept now, in a few words; empty if it can."""

    @property
    def waiting(self) -> int:
        """Lines that wait."""

    @property
    def oldest(self) -> float:
        """Seconds that the oldest of them has waited; 0 without one."""

    def reopen(self) -> None:
        """Somebody has moved the file. Never waits."""

    def close(self) -> None:
        """Bring out what waits, for a second or two at most, and end."""
