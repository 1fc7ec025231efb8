"""What tests may look at: requests seen, streams open, processes running, and a way to wait for any of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came: `target` is path and query, undecoded; `offered` are the subprotocols, in order."""

    method: str
    target: str
    offered: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Observed:
    """Counters of one cluster. Whoever changes one calls `changed`."""

    seen: list[Seen] = field(default_factory=list)
    open_streams: int = 0
    running: int = 0
    _waiters: dict[asyncio.Future[None], Callable[[], bool]] = field(default_factory=dict)

    def changed(self) -> None:
        """Wake those whose condition has come true."""
        for waiter, condition in list(self._waiters.items()):
            if not waiter.done() and condition():
                waiter.set_result(None)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when `condition` is true, which is looked at after each change."""
        if condition():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = condition
        try:
            await waiter
        finally:
            del self._waiters[waiter]
