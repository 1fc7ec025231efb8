"""The way down: refuse the new, let the running run on, then tell them and end them (docs/observed.md, "Rollouts")."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.wire.framing.channels import STDERR, STDOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from k8s_ws_proxy.sessions.orphans import Orphans
    from k8s_ws_proxy.sessions.registry import Registry

# Seconds for each step: as a rule, from a second signal on, and from a third.
_Times = tuple[float, float, float]
_LAST_WORDS: Final[_Times] = (2.0, 0.5, 0.0)  # for the clients to take the status and the close
_HANG_UP: Final[_Times] = (5.0, 1.0, 0.0)  # for hanging up what they have left in their containers
_REASON: Final = "the proxy on this node is shutting down"


class DrainDeadline:
    """How many signals have come after the first: each leaves less time, also to the step that is under way."""

    def __init__(self) -> None:
        self._level = 0
        self._step: tuple[asyncio.Timeout, _Times] | None = None

    def more(self) -> None:
        """Another signal."""
        self._level = min(self._level + 1, 2)
        if self._step is not None:
            timeout, times = self._step
            until = timeout.when()
            assert until is not None
            if not timeout.expired():
                timeout.reschedule(min(until, asyncio.get_running_loop().time() + times[self._level]))

    @contextlib.asynccontextmanager
    async def step(self, times: _Times, late: float = 0.0) -> AsyncIterator[None]:
        """Leave the block when its time is up, of which ``late`` seconds are gone already."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, times[self._level] - late)) as timeout:
                self._step = timeout, times
                try:
                    yield
                finally:
                    self._step = None


async def drain(registry: Registry, timeout: float, deadline: DrainDeadline, orphans: Orphans | None = None) -> None:
    """End all sessions: on their own within ``timeout`` seconds, or told to. What they leave is hung up."""
    registry.draining = True
    waiting = len(registry.open_slots())
    logger().info("shutting down", sessions=waiting, drain_seconds=timeout)
    async with deadline.step((timeout, 0.0, 0.0)):
        await registry.emptied()
    loop = asyncio.get_running_loop()
    due = loop.time() + _LAST_WORDS[0]
    registry.turn_away()
    if slots := registry.open_slots():
        bridges = [(slot.bridge, slot.log.record) for slot in slots if slot.bridge is not None]
        logger().info("ending sessions", sessions=len(bridges))
        for bridge, record in bridges:
            channel = STDOUT if record.tty else STDERR
            bridge.drain(f"\r\nk8s-ws-proxy: {_REASON}.\r\n".encode(), channel, _REASON)
        async with deadline.step(_LAST_WORDS):
            await registry.emptied()
        for slot in registry.open_slots():
            if slot.bridge is not None:
                slot.bridge.abort()
    if orphans is not None:
        # Where the last words took longer, on a node that has no time for us, this has to be shorter: the sum counts.
        async with deadline.step(_HANG_UP, late=max(0.0, loop.time() - due)):
            await orphans.settle()
    logger().info("shut down")
