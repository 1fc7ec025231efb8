"""Pings answered, and pongs unasked while an answer would have to wait."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

_PERIOD: Final = 10.0  # seconds between pongs that nobody asked for, while our output is stuck


class Keepalive:
    """Of one WebSocket, with tasks in ``group``; ``stop`` ends them."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse[Any], group: asyncio.TaskGroup) -> None:
        self._ws = ws
        self._group = group
        self.is_stuck = False
        self._pong: asyncio.Task[None] | None = None
        self._task = group.create_task(self._beat(), name="keep alive")

    def answer(self, payload: bytes) -> None:
        """Answer a ping.

        In the background: while input fills the socket a pong has to wait, and output mustn't wait for it, or neither
        side would ever move. One answer at a time will do (RFC 6455 §5.5.3).
        """
        if self._pong is None or self._pong.done():
            self._pong = self._group.create_task(self._answer(payload), name="answer a ping")

    @contextlib.contextmanager
    def stuck(self) -> Iterator[None]:
        """Around what may take its time, and keeps pings from being read."""
        self.is_stuck = True
        try:
            yield
        finally:
            self.is_stuck = False

    def stop(self) -> None:
        """No more of either."""
        self._task.cancel()
        if self._pong is not None:
            self._pong.cancel()

    async def _answer(self, payload: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            await self._ws.pong(payload)

    async def _beat(self) -> None:
        """While our output is stuck (Ctrl-S, a pager) the proxy's pings wait behind it: say unasked that we live.

        RFC 6455 §5.5.3 allows a pong that nobody asked for, as a heartbeat in one direction.
        """
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(_PERIOD)
                if self.is_stuck:
                    await self._ws.pong()
