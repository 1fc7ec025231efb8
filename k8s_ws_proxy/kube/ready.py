"""Connections to the apiserver that are there before somebody wants one: TCP and TLS are on nobody's way then.

A connection is nobody's: whom a request is of, and whom it is made for, are headers of that request. A client
certificate is TLS's, and so the connection's; but it is the configuration's, the same for all, and a connection is
only used for the configuration that it was made by.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.kube.connect import connect, keep_session
from k8s_ws_proxy.observe import metrics, tasks
from k8s_ws_proxy.relay.stream import Stream, StreamLost
from k8s_ws_proxy.wire.framing.tls_records import RECORD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from k8s_ws_proxy.kube.access import Access
    from k8s_ws_proxy.kube.config import Endpoint

LAPSES: Final = 10.0
"""Seconds for which an opening, or the word that one will come, keeps a connection ready."""
# Seconds. An apiserver closes a connection that asks nothing after 32 (k8s.io/apiserver, ReadHeaderTimeout); a balancer
# before it may do so earlier.
OLDEST: Final = 10.0
_SOON: Final = 0.005  # seconds after an opening: who has taken a connection has its answer by then
_LOOK: Final = 1.0  # seconds between two looks at what is there
# Who asks nothing is told two session tickets, each by itself, and a KeyUpdate perhaps.
_MOST_WORDS: Final = 8
_READ: Final = 4096  # bytes of the wire
_USED: Final = metrics.DIALS.labels("ready")
_NONE_READY: Final = metrics.DIALS.labels("new")
_BLOCK: Final = memoryview(bytearray(_READ + RECORD))  # all connections': nothing in it is kept


class Demand:
    """How many are worth keeping ready, ``most`` at most. ``now`` is monotonic, in seconds.

    One opening says nothing of a next one, so it keeps none: each beside another one within LAPSES keeps one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._openings: deque[float] = deque(maxlen=most + 1)
        self._expected: deque[float] = deque(maxlen=most)

    def opened(self, now: float) -> None:
        """One was wanted."""
        self._openings.append(now)
        if self._expected:
            self._expected.popleft()

    def expected(self, now: float) -> None:
        """One will be wanted soon: somebody was let in who is about to open a session."""
        self._expected.append(now)

    def worth(self, now: float) -> int:
        """So many."""
        for times in (self._openings, self._expected):
            while times and now - times[0] >= LAPSES:
                times.popleft()
        return min(self._most, max(0, len(self._openings) - 1) + len(self._expected))


@dataclass(slots=True)
class _Idle:
    """One that waits. ``words``: how often it has said something that was nothing."""

    stream: Stream
    endpoint: Endpoint
    since: float
    words: int = 0


class Ready:
    """Keeps at most ``most`` connections, while sessions are opened; the oldest is used first.

    ``turn`` is awaited before each is made, ``room`` says whether there are descriptors for it, ``within`` is how long
    that may take, in seconds.
    """

    def __init__(
        self,
        access: Access,
        most: int,
        *,
        turn: Callable[[], Awaitable[None]],
        room: Callable[[], bool],
        within: float,
    ) -> None:
        self._access = access
        self._turn = turn
        self._room = room
        self._within = within
        self._loop = asyncio.get_running_loop()
        self._demand = Demand(most)
        self._idle: deque[_Idle] = deque()  # in the order of their making
        self._filling: asyncio.Task[None] | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._closed = False
        access.on_change = self.drop

    def take(self, endpoint: Endpoint) -> Stream | None:
        """A connection that ``endpoint`` made, is open as far as can be seen and has said nothing; None without one.

        It is the caller's from here on.
        """
        now = self._loop.time()
        self._demand.opened(now)
        self._look_soon()
        while self._idle:
            one = self._idle.popleft()
            if one.endpoint == endpoint and now - one.since < OLDEST and self._silent(one):
                one.stream.on_readable(None)
                self._count()
                _USED.inc()
                return one.stream
            one.stream.close()
        self._count()
        _NONE_READY.inc()
        return None

    def expect(self) -> None:
        """Somebody who was let in is about to open a session."""
        self._demand.expected(self._loop.time())
        self._look_soon()

    def drop(self) -> None:
        """Close all that wait: they were made by what isn't so any more."""
        while self._idle:
            self._idle.popleft().stream.close()
        self._count()

    def close(self) -> None:
        """Close all, and make no more."""
        self._closed = True
        for handle in (self._soon, self._next_look, self._filling):
            if handle is not None:
                handle.cancel()
        self.drop()

    def _look_soon(self) -> None:
        if self._soon is None and not self._closed:
            self._soon = self._loop.call_later(_SOON, self._look)

    def _look(self) -> None:
        """Let go of what is old or not worth its place, and make what is wanted."""
        for handle in (self._soon, self._next_look):
            if handle is not None:
                handle.cancel()
        self._soon = self._next_look = None
        now = self._loop.time()
        worth = self._demand.worth(now) if self._room() else 0
        while self._idle and (len(self._idle) > worth or now - self._idle[0].since >= OLDEST):
            self._idle.popleft().stream.close()
        self._count()
        if len(self._idle) < worth and self._filling is None:
            self._filling = tasks.start(self._fill(), name="connect in advance")
            self._filling.add_done_callback(self._filled)
        if self._idle or worth:
            self._next_look = self._loop.call_later(_LOOK, self._look)

    async def _fill(self) -> None:
        """One after the other, while they are worth it. Where one can't be had that is for who dials to find out."""
        while len(self._idle) < self._demand.worth(self._loop.time()) and self._room():
            endpoint = self._access.known
            if endpoint is None or not self._access.reachable:
                return
            await self._turn()
            try:
                async with asyncio.timeout(self._within):
                    stream = await connect(endpoint)
            except (OSError, TimeoutError):
                return
            if self._access.known != endpoint:
                stream.close()
                continue
            one = _Idle(stream, endpoint, self._loop.time())
            self._idle.append(one)
            stream.on_readable(lambda one=one: self._said(one))  # type: ignore[misc]
            self._count()

    def _filled(self, _task: asyncio.Task[None]) -> None:
        self._filling = None

    def _said(self, one: _Idle) -> None:
        """It isn't silent any more: it has been closed, or has something to say that nobody asked for."""
        if one in self._idle and not self._silent(one):
            self._idle.remove(one)
            one.stream.close()
            self._count()

    def _silent(self, one: _Idle) -> bool:
        """Whether it is open, and has said nothing but what is TLS's own, of which it may say a little."""
        try:
            said = one.stream.read_into(_BLOCK, _READ)
        except StreamLost:
            return False
        keep_session(one.stream.tls)
        one.words += 1
        # An end may stand behind what was read just now.
        return said is None and one.words <= _MOST_WORDS and not one.stream.peer_gone()

    def _count(self) -> None:
        metrics.READY.set(len(self._idle))
