"""Connections of callers who aren't known yet: a bound on what all of them together hold (DESIGN, ``MAX_SESSIONS``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason, rule
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable

LEAST: Final = 256  # places, however many sessions there are
MOST: Final = 1024
HEADS: Final = 4 * 1024 * 1024  # bytes of requests' heads; kubectl's has one KiB
_TELL: Final = 1.0  # seconds that are told in one line


class Lobby:
    """Who waits here has a place from its accept on, TLS handshake included, until its credential is accepted.

    When there are more than there are places, or they hold more than ``HEADS`` bytes, whoever came first is turned
    out: a caller who means well is through in a moment, so it is hardly ever one. ``spare`` says how many sessions may
    still be opened: what those don't hold is there for up to ``MOST`` places.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, spare: Callable[[], int]) -> None:
        self._loop = loop
        self._spare = spare
        self._waiting: dict[Hashable, Callable[[], object]] = {}  # in the order of their coming
        self._heads: dict[Hashable, int] = {}  # in the order of their first bytes
        self._held = 0
        self._turned_out = 0
        self._telling: asyncio.TimerHandle | None = None

    def enter(self, who: Hashable, turn_out: Callable[[], object]) -> None:
        """``who`` has connected; ``turn_out`` closes it."""
        self._waiting[who] = turn_out
        while len(self._waiting) > LEAST and len(self._waiting) > min(LEAST + max(self._spare(), 0), MOST):
            self._turn_out(next(iter(self._waiting)))

    def holds(self, who: Hashable, size: int) -> None:
        """So many bytes of its request's head have come."""
        if who not in self._waiting:
            return
        self._held += size - self._heads.get(who, 0)
        self._heads[who] = size
        while self._held > HEADS:
            self._turn_out(next(iter(self._heads)))

    def leave(self, who: Hashable) -> None:
        """It is closed, or its caller is known; twice does no harm."""
        self._waiting.pop(who, None)
        self._held -= self._heads.pop(who, 0)

    def close(self) -> None:
        """Tell what hasn't been told yet."""
        if self._telling is not None:
            self._telling.cancel()
            self._tell()

    def _turn_out(self, who: Hashable) -> None:
        turn_out = self._waiting[who]
        self.leave(who)
        turn_out()
        metrics.REFUSALS.labels(Reason.TOO_MANY_CONNECTIONS.value).inc()
        self._turned_out += 1
        if self._telling is None:
            self._telling = self._loop.call_later(_TELL, self._tell)

    def _tell(self) -> None:
        """One line for all of them: else whoever can connect could fill the log."""
        count, self._turned_out, self._telling = self._turned_out, 0, None
        reason = Reason.TOO_MANY_CONNECTIONS
        logger().warning("connections refused", reason=reason.value, status=rule(reason).status, connections=count)
