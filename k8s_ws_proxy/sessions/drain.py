"""The way down: refuse the new, let the running run on, then tell them and end them (field-notes, "rollouts")."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.wire.channels import STDERR, STDOUT

if TYPE_CHECKING:
    from k8s_ws_proxy.sessions.orphans import Orphans
    from k8s_ws_proxy.sessions.registry import Registry

_LAST_WORDS: Final = 2.0  # seconds for the clients to take the status and the close
_HANG_UP: Final = 5.0  # seconds for hanging up what they have left in their containers
_REASON: Final = "the proxy on this node is shutting down"


async def drain(registry: Registry, timeout: float, hurry: asyncio.Event, orphans: Orphans | None = None) -> None:
    """End all sessions: on their own within ``timeout`` seconds, or told to; ``hurry`` ends the waiting.

    What they leave in their containers is hung up.
    """
    registry.draining = True
    waiting = len(registry.open_slots())
    logger().info("shutting down", sessions=waiting, drain_seconds=timeout)
    if not await _empty_or_hurried(registry, timeout, hurry):
        slots = [slot for slot in registry.open_slots() if slot.session is not None]
        logger().info("ending sessions", sessions=len(slots))
        for slot in slots:
            assert slot.session is not None
            channel = STDOUT if slot.books.tty else STDERR
            slot.session.drain(f"\r\nk8s-ws-proxy: {_REASON}.\r\n".encode(), channel, _REASON)
        if not await registry.wait_empty(_LAST_WORDS):
            for slot in registry.open_slots():
                if slot.session is not None:
                    slot.session.abort()
    if orphans is not None:
        await orphans.settle(_HANG_UP)
    logger().info("shut down")


async def _empty_or_hurried(registry: Registry, timeout: float, hurry: asyncio.Event) -> bool:
    """Whether all sessions ended by themselves."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            while registry.open_slots() and not hurry.is_set():
                await registry.emptied_or(hurry)
    return not registry.open_slots()
