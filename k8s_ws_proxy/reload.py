"""Files that are read again when they change: a reading that fails keeps the last good one, and ends nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Generic, TypeVar

from k8s_ws_proxy.observe import tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

T = TypeVar("T")
Fingerprint = tuple[object, ...]


def fingerprint(paths: Iterable[Path]) -> Fingerprint:
    """Changes whenever one of the files does: identity, size, mode and time of each. Never raises."""
    return tuple((str(path), *_stat(path)) for path in paths)


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        return (-(error.errno or 1),)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)


class Reloader(Generic[T]):
    """Looks at files every ``period`` seconds, or when asked.

    ``look`` and ``read`` block on files and run in a thread; ``accept`` is called with what ``read`` returned. After a
    reading that failed every look reads again, changed or not: what was wrong need not have been in the files.
    ``refuse`` is called with the ``error`` once for each change of the files or of what is wrong, not for each look.
    """

    def __init__(
        self,
        *,
        period: float,
        look: Callable[[], Fingerprint],
        read: Callable[[], T],
        error: type[Exception],
        accept: Callable[[T], None],
        refuse: Callable[[Exception], None],
        known: Fingerprint,
    ) -> None:
        self._period = period
        self._look_at = look
        self._read = read
        self._error = error
        self._accept = accept
        self._refuse = refuse
        self._known = known
        self._failed: tuple[Fingerprint, str] | None = None  # what the last reading found, and why it failed
        self._looking: asyncio.Task[None] | None = None

    async def look(self) -> None:
        """Look now, and take what changed; callers at the same time share one look."""
        if self._looking is None:
            self._looking = tasks.start(self._look(), name="look at files")
            self._looking.add_done_callback(self._done)
        await asyncio.shield(self._looking)

    async def keep_fresh(self) -> None:
        """Look again for ever."""
        while True:
            await asyncio.sleep(self._period)
            with contextlib.suppress(Exception):  # the task has logged it; the next look may be luckier
                await self.look()

    async def _look(self) -> None:
        # The look comes before the reading: what changes in between is seen the next time.
        found = await asyncio.to_thread(self._look_at)
        if found == self._known and self._failed is None:
            return
        try:
            reading = await asyncio.to_thread(self._read)
        except self._error as error:
            failed, self._failed = self._failed, (found, str(error))
            if failed != self._failed:
                self._refuse(error)
        else:
            self._known, self._failed = found, None
            self._accept(reading)

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._looking = None
