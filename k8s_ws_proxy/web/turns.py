"""When what costs its time may cost it: of a kind at most one in a turn of the loop, so that others have theirs."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.sessions.quotas import HELD_BY_DIALS, held_by, opening

if TYPE_CHECKING:
    from k8s_ws_proxy.web.call import Call

_LONG: Final = 8 * 1024  # bytes of a request's target, or of an order's body


class OneAtATime:
    """Work of one kind, of which at most one piece is done in a turn of the loop."""

    def __init__(self) -> None:
        self._taken = False  # this turn of the loop
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Wait until a piece may be done: not at all where there was none in this turn.

        Who came first is first; who doesn't wait any more is passed over.
        """
        loop = asyncio.get_running_loop()
        if self._taken:
            waiting = loop.create_future()
            self._waiting.append(waiting)
            await waiting
        else:
            self._taken = True
            loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._taken = False
        while self._waiting and not self._taken:
            waiting = self._waiting.popleft()
            if not waiting.done():  # it has been cancelled
                waiting.set_result(None)
                self._taken = True
                loop.call_soon(self._next, loop)


class Turns:
    """When a request may cost its time.

    A command of 128 KiB takes twenty milliseconds to be taken apart, and as many to be written; one that is ordered in
    64 KiB of JSON a hundred, if its arguments are many. Of such ones the event loop gets at most one in a turn. Of
    dials at most one begins in a turn: a TLS handshake is two milliseconds, and of hundreds that come together many are
    given up by then.
    """

    def __init__(self) -> None:
        self._long_ones = OneAtATime()
        self._held = 0  # bytes of memory, by those that wait to be taken apart
        self._dials = OneAtATime()

    async def dial(self, call: Call) -> None:
        """Wait until the request's dial may begin."""
        await self._long_one(call)
        await self._dials.turn()

    async def dial_in_advance(self) -> None:
        """Wait until one may begin for which nobody waits: it has its turn like those of requests."""
        await self._dials.turn()

    async def take_apart(self, call: Call) -> None:
        """Wait until the request may be taken apart. It has no slot yet, so those that wait have a bound of their own.

        Raises Refusal(``too_many_handshakes``).
        """
        await self._take_apart(call.size, held_by(call.size))

    async def take_apart_order(self, body: bytes) -> None:
        """Wait until the order may be taken apart: until then it holds what its body takes. Raises as take_apart()."""
        await self._take_apart(len(body), len(body))

    async def _take_apart(self, size: int, held: int) -> None:
        if size <= _LONG:
            return
        if self._held and self._held + held > HELD_BY_DIALS:
            raise Refusal(Reason.TOO_MANY_HANDSHAKES, opening())
        self._held += held
        try:
            await self._long_ones.turn()
        finally:
            self._held -= held

    async def _long_one(self, call: Call) -> None:
        if call.size > _LONG:
            await self._long_ones.turn()
