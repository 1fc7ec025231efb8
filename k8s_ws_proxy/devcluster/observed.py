"""What tests may look at: requests seen, streams open, processes running, and a way to wait for any of it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came: `target` is path and query, undecoded; `offered` are the subprotocols, in order."""

    method: str
    target: str
    offered: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    what: str = ""
    """`get pods/exec`, `list daemonsets.apps`: verb and resource, where it was for one."""


@dataclass(slots=True)
class Observed:
    """Counters of one cluster. Whoever changes one calls `changed`."""

    seen: list[Seen] = field(default_factory=list)
    open_streams: int = 0
    running: int = 0
    under_way: int = 0
    """Requests being answered, upgraded ones left out."""
    most_under_way: int = 0
    _waiters: dict[asyncio.Future[None], Callable[[], bool]] = field(default_factory=dict)

    def count(self, what: str) -> int:
        """How many requests there were for this: `get pods/proxy`."""
        return sum(seen.what == what for seen in self.seen)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request as under way."""
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.changed()
        try:
            yield
        finally:
            self.under_way -= 1
            self.changed()

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
