"""Who reads recordings: so many at once, by threads of their own, so that a disk that hangs holds up nobody else."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from k8s_ws_proxy.errors import Reason, Refusal
from k8s_ws_proxy.recordings.growing import whole_lines
from k8s_ws_proxy.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_Found = TypeVar("_Found")

MOST: Final = 64
"""Readers at once."""
MOST_OF_ONE: Final = 16
"""... of one caller, so that one who reads slowly leaves room for others."""
PATIENCE: Final = 10.0
"""Seconds for one question to the disk."""
_THREADS: Final = 4


class Readers:
    """Everybody who reads has a place, until the disk has done all that was asked of it for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._workers: list[Worker] = []
        self._here: Counter[Hashable] = Counter()
        self._turn = 0

    def enter(self, who: Hashable) -> Reading:
        """A place for ``who``. Raises Refusal(``too_many_readers``)."""
        if self._here.total() >= MOST:
            raise Refusal(
                Reason.TOO_MANY_READERS, "As many read recordings as this proxy lets at once: try again in a while."
            )
        if self._here[who] >= MOST_OF_ONE:
            raise Refusal(
                Reason.TOO_MANY_READERS,
                f"You read {MOST_OF_ONE} recordings at once, and that is as many as one may: end one, or try again.",
            )
        if not self._workers:  # no threads where nobody reads
            self._workers = [Worker(f"recordings reader {number}", self._loop) for number in range(_THREADS)]
        self._here[who] += 1
        self._turn += 1
        return Reading(self._workers[self._turn % _THREADS], partial(self._leave, who))

    def _leave(self, who: Hashable) -> None:
        self._here[who] -= 1
        if not self._here[who]:
            del self._here[who]


class Reading:
    """One reader's place. What it asks for is done by one thread, one thing after the other.

    ``fd`` is the file that it has open, if any: it is closed by that thread, when nothing is read from it any more.
    """

    def __init__(self, worker: Worker, left: Callable[[], None]) -> None:
        self._worker = worker
        self._left = left
        self.fd: int | None = None

    async def ask(self, work: Callable[[], _Found]) -> _Found:
        """What ``work`` finds out. Raises OSError, also where that takes too long."""
        async with asyncio.timeout(PATIENCE):
            return await self._worker.result(work)

    async def open(self, work: Callable[[], int | None]) -> bool:
        """Open what ``work`` opens; whether there is something. Raises as ask() does."""

        def opened() -> bool:
            self.fd = work()  # here, since whoever waits may have left
            return self.fd is not None

        return await self.ask(opened)

    async def read(self, offset: int, most: int) -> bytes:
        """Up to ``most`` bytes from there. Raises as ask() does."""
        assert self.fd is not None
        return await self.ask(partial(os.pread, self.fd, most, offset))

    async def stat(self) -> os.stat_result:
        """The open file's. Raises as ask() does."""
        assert self.fd is not None
        return await self.ask(partial(os.fstat, self.fd))

    async def whole_lines(self, since: int = 0) -> int:
        """Where the last whole line of the open file ends; ``since`` if no other has come. Raises as ask() does."""
        assert self.fd is not None
        return await self.ask(partial(whole_lines, self.fd, since))

    def leave(self) -> None:
        """Give up the place, once the disk has done what it was asked."""
        self._worker.do(self._close, lambda _: self._left(), lambda _: self._left())

    def _close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
