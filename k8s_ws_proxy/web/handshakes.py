"""TLS handshakes under way: how many at once, and who has to go when they don't get on."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.web.turns import OneAtATime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

# Each costs a millisecond or two, so many in one turn of the loop would be felt by whoever types; and OpenSSL makes
# room for a client's certificates as soon as they are announced, 100 KiB at most.
AT_ONCE: Final = 32
PATIENCE: Final = 0.5  # seconds that one may take while others wait for its place


class Handshakes:
    """``AT_ONCE`` places. While somebody waits for one, those that have taken longer than ``PATIENCE`` are ended.

    Who came last is served first: a caller who means well has just come, whoever else is waiting.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._under_way: dict[object, tuple[float, Callable[[], object]]] = {}  # since when, in that order
        self._granted = 0  # places of those who have waited, and don't know yet that their turn has come
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self.steps = OneAtATime()  # of whichever handshake

    @contextlib.asynccontextmanager
    async def place(self, end: Callable[[], object]) -> AsyncIterator[None]:
        """Within the block a handshake is under way; ``end`` is called if it has to be ended."""
        if self._full:
            await self._turn()
        key = object()
        self._under_way[key] = self._loop.time(), end
        self._watch()  # where all places had been given anew, nobody was there whose time could be looked at
        try:
            yield
        finally:
            self._under_way.pop(key, None)
            self._next()

    @property
    def _full(self) -> bool:
        return len(self._under_way) + self._granted >= AT_ONCE

    async def _turn(self) -> None:
        turn = self._loop.create_future()
        self._waiting.append(turn)
        self._watch()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):  # it was passed over already
                    self._waiting.remove(turn)
            else:
                self._granted -= 1
                self._next()
            raise
        self._granted -= 1

    def _next(self) -> None:
        while self._waiting and not self._full:
            turn = self._waiting.pop()
            if not turn.done():
                self._granted += 1
                turn.set_result(None)

    def _watch(self) -> None:
        if self._timer is None and self._waiting and self._under_way:
            began = next(iter(self._under_way.values()))[0]
            self._timer = self._loop.call_at(began + PATIENCE, self._end_overdue)

    def _end_overdue(self) -> None:
        self._timer = None
        late = self._loop.time() - PATIENCE
        overdue = [key for key, (began, _) in self._under_way.items() if began <= late] if self._waiting else []
        for key in overdue[: len(self._waiting)]:
            _, end = self._under_way.pop(key)
            end()
            self._next()
        self._watch()
