"""Non-blocking reads and writes on pipes and ptys, awaited, holding back whoever is too fast."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# What the kernel may still hold of a pty: 4 KiB in the line discipline and 8 KiB in the buffer before it.
_PTY_DEPTH = 65536


class _End:
    """An end of a pipe or the master of a pty. One at a time may wait until it is ready, by ``watch`` of the loop."""

    def __init__(
        self, fd: int, watch: Callable[[int, Callable[[], None]], None], unwatch: Callable[[int], object]
    ) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._watch = watch
        self._unwatch = unwatch
        self._waiter: asyncio.Future[None] | None = None

    def close(self) -> None:
        """Close the descriptor; whoever waits for it goes on."""
        if self._fd >= 0:
            self._wake()
            os.close(self._fd)
            self._fd = -1

    async def _ready(self) -> None:
        self._watch(self._fd, self._wake)
        try:
            await self._woken()
        finally:
            if self._fd >= 0:
                self._unwatch(self._fd)

    async def _woken(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._unwatch(self._fd)
            self._waiter.set_result(None)


class Source(_End):
    """The end of a pipe or the master of a pty that a process writes to. One reader at a time."""

    def __init__(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(fd, loop.add_reader, loop.remove_reader)
        self._left: int | None = None  # bytes that may still be read, once the writer is known to have ended

    async def read(self, size: int) -> bytes:
        """At most `size` bytes, or `b""` when no more will come."""
        while self._left is None or self._left > 0:
            try:
                data = os.read(self._fd, size if self._left is None else min(size, self._left))
            except BlockingIOError:
                if self._left is not None:
                    return b""
                await self._ready()
            except OSError as exc:
                if exc.errno != errno.EIO:
                    raise
                # Nobody holds a pty's other side at this moment. While the process lives that isn't the end: there may
                # still be output, of one that opens its terminal again at the least.
                if self._left is not None:
                    return b""
                await self._woken()
            else:
                if self._left is not None:
                    self._left -= len(data)
                return data
        return b""

    def writer_ended(self) -> None:
        """The process has ended: what it wrote is in the kernel by now, and nothing after that is waited for.

        Its children may still hold the other end, and may even write to it; hence the bound, which is what
        was in the pipe at this moment, or all that a pty can hold. A read that would block means that
        everything has come: for a pty the kernel flushes its buffers before it says so.
        """
        if self._fd < 0:
            return
        if os.isatty(self._fd):
            self._left = _PTY_DEPTH
        else:
            (self._left,) = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, b"\0" * 4))
        self._wake()

    def close(self) -> None:
        """Close the descriptor; a read under way ends as if nothing more came."""
        if self._fd >= 0:
            self._left = 0
        super().close()


class Sink(_End):
    """The end of a pipe or the master of a pty that a process reads from. One writer at a time.

    ``close`` is the reader's end of file, if this is a pipe. A write under way is given up.
    """

    def __init__(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(fd, loop.add_writer, loop.remove_writer)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over all of `data`, as fast as the process takes it. What nobody will read is discarded."""
        rest = memoryview(data)
        while rest and self._fd >= 0:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                await self._ready()
            except OSError as exc:
                if exc.errno in {errno.EPIPE, errno.EIO}:
                    self.close()
                    return
                raise


def close_all(*fds: int) -> None:
    """Close each of `fds`, whatever becomes of the others."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
