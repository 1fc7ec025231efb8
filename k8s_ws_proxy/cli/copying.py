"""A recording that is copied as fast as it comes, into a file without a name, and read from there at any pace.

Whoever sends it waits only so long for a part to be taken, and who plays it takes one when the one before was shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

_PART: Final = 256 * 1024  # bytes that are read at once


@contextlib.asynccontextmanager
async def copied(cast: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """What ``cast`` gives, in other parts, until the block is left. No more of it is in memory than two parts.

    What goes wrong with it is told after all that came before. Raises ProxyError where it can't be kept.
    """
    worker = Worker("copy of a recording", asyncio.get_running_loop())
    try:
        with _told():
            copy = _Copy(worker, await worker.result(_file))
        try:
            async with asyncio.TaskGroup() as group, contextlib.aclosing(copy.parts()) as parts:
                task = group.create_task(copy.fill(cast), name="copy a recording")
                try:
                    yield parts
                finally:
                    task.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            copy.close()
    finally:
        worker.stop()


class _Copy:
    """The file ``fd``, which only ``worker`` touches: it may be on a disk that is slow.

    Whenever all that is in it was read it is begun anew, so that it grows no further than its reader is behind.
    """

    def __init__(self, worker: Worker, fd: int) -> None:
        self._worker = worker
        self._fd = fd
        self._read = 0
        self._written = 0
        self._over = False
        self._error: Exception | None = None
        self._news = asyncio.Event()

    async def fill(self, cast: AsyncIterator[bytes]) -> None:
        """Write all of it."""
        try:
            async for data in cast:
                if self._read == self._written:
                    self._read = self._written = 0
                with _told():
                    await self._worker.result(partial(_write, self._fd, data, self._written))
                self._written += len(data)
                self._news.set()
        except Exception as error:  # noqa: BLE001 - whoever reads gets it, in its place
            self._error = error
        finally:
            self._over = True
            self._news.set()

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """What was written, and what will be. Raises what went wrong with it."""
        while True:
            if size := min(self._written - self._read, _PART):
                with _told():
                    data = await self._worker.result(partial(os.pread, self._fd, size, self._read))
                self._read += size
                yield data
            elif self._error is not None:
                raise self._error
            elif self._over:
                return
            else:
                self._news.clear()
                await self._news.wait()

    def close(self) -> None:
        """Close it after what was begun, which nobody waits for."""
        self._worker.do(partial(os.close, self._fd), lambda _: None, lambda _: None)


def _file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(fd: int, data: bytes, at: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(fd, left, at)
        left, at = left[written:], at + written


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ProxyError(
            f"what is played can't be kept meanwhile: {error.strerror or error}. Name another directory with TMPDIR"
        ) from error
