"""Connections that aren't sessions: a bound on what all of them together hold (docs/design/choices.md).

There are two of these: one for callers who aren't known yet, one for those who were, have been answered, and keep the
connection. So a crowd of the former closes none of the latter.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason
from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable

MIN_PLACES: Final = 256  # places for the unknown, however many sessions there are
MAX_PLACES: Final = 1024
IDLE_PLACES: Final = 64  # places for the known: kubectl has its next question ready at once
MAX_HEAD_BYTES: Final = 4 * 1024 * 1024  # bytes of requests; kubectl's has one KiB
_READS_AT_ONCE: Final = 64  # of heads that have begun: a first read is never put off
_TELL: Final = 1.0  # seconds that are told in one line


class PendingConnections:
    """Each has a place: while unknown from the accept on, TLS handshake included, until the credential.

    When there are more than ``places()``, or they hold more than ``heads`` bytes, the oldest is closed: a caller who
    means well is through in a moment, so it is hardly ever one. Who has an answer under way goes after all who haven't.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, places: Callable[[], int], *, heads: int = MAX_HEAD_BYTES
    ) -> None:
        self._loop = loop
        self._places = places
        self._most_held = heads
        self._waiting: dict[Hashable, Callable[[], object]] = {}  # in the order of their coming
        self._answering: set[Hashable] = set()  # those of them who haven't taken what there is of their answers
        self._heads: dict[Hashable, int] = {}  # in the order of their first bytes
        self._held = 0
        self._evicted = 0
        self._telling: asyncio.TimerHandle | None = None
        self._reads = 0  # in this turn of the loop
        self._put_off: deque[Callable[[], None]] = deque()

    def enter(self, who: Hashable, evict: Callable[[], object]) -> None:
        """``who`` has connected, or been answered; ``evict`` closes it."""
        self.leave(who)
        self._waiting[who] = evict
        while len(self._waiting) > self._places():
            self.evict(self._first_to_go(who))

    def answers(self, who: Hashable, *, under_way: bool) -> None:
        """``who`` has been sent more of an answer, or taken all there is of it yet: it is the newest now.

        While something is ``under_way``, it is closed only where that is so of all others, too.
        """
        if (evict := self._waiting.pop(who, None)) is None:
            return
        self._waiting[who] = evict
        if under_way:
            self._answering.add(who)
        else:
            self._answering.discard(who)

    def _first_to_go(self, newest: Hashable) -> Hashable:
        answered = (who for who in self._waiting if who not in self._answering and who is not newest)
        return next(answered, next(iter(self._waiting)))

    def holds(self, who: Hashable, size: int) -> None:
        """So many bytes of its request have come, the body's among them where it is waited for."""
        if who not in self._waiting:
            return
        self._held += size - self._heads.get(who, 0)
        self._heads[who] = size
        while self._held > self._most_held:
            self.evict(next(iter(self._heads)))

    def may_read(self, later: Callable[[], None]) -> bool:
        """Whether more of a head that has begun may be read in this turn of the loop; else ``later`` is called when.

        The loop calls each ``later`` by itself: what goes wrong in one is nobody else's.
        """
        if not self._reads and not self._put_off:
            self._loop.call_soon(self._next_turn)
        if self._reads < _READS_AT_ONCE and not self._put_off:
            self._reads += 1
            return True
        self._put_off.append(later)
        return False

    def _next_turn(self) -> None:
        self._reads = min(len(self._put_off), _READS_AT_ONCE)
        for _ in range(self._reads):
            self._loop.call_soon(self._put_off.popleft())
        if self._reads:
            self._loop.call_soon(self._next_turn)

    def leave(self, who: Hashable) -> None:
        """It is closed, or its caller is known; twice does no harm."""
        self._waiting.pop(who, None)
        self._answering.discard(who)
        self._held -= self._heads.pop(who, 0)

    def evict(self, who: Hashable) -> None:
        """It has to go, if it is still there."""
        evict = self._waiting.get(who)
        if evict is None:
            return
        self.leave(who)
        evict()
        metrics.REFUSALS.labels(Reason.TOO_MANY_CONNECTIONS.value).inc()
        self._evicted += 1
        if self._telling is None:
            self._telling = self._loop.call_later(_TELL, self._tell)

    def close(self) -> None:
        """Tell what hasn't been told yet."""
        if self._telling is not None:
            self._telling.cancel()
            self._tell()

    def _tell(self) -> None:
        """One line for all of them: else whoever can connect could fill the log."""
        count, self._evicted, self._telling = self._evicted, 0, None
        reason = Reason.TOO_MANY_CONNECTIONS
        logger().warning("connections refused", reason=reason.value, status=reason.rule.status, connections=count)


def places(spare: int) -> int:
    """Places for the unknown while ``spare`` sessions may still be opened: what those don't hold is there for them."""
    return min(MIN_PLACES + max(spare, 0), MAX_PLACES)
