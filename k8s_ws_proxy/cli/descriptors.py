"""Standard input and output without blocking the event loop, and without changing them for others.

``O_NONBLOCK`` belongs to the open file, which the shell and other programs share with us: setting it would break them,
and it would stay set after a SIGKILL. So pipes and terminals are opened a second time, sockets are used with
``MSG_DONTWAIT``, and files and devices, which never keep anybody waiting, are used as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import stat
from typing import Final, Self

_AT_ONCE: Final = 64 * 1024  # bytes
_PIPE_BUF: Final = select.PIPE_BUF  # bytes that a pipe takes whole once it is writable (pipe(7))


class Descriptor:
    """One of ours: read from or written to as far as it goes, and waited for. Close it after use."""

    def __init__(self, fd: int, flags: int) -> None:
        self._fd = fd
        self._socket: socket.socket | None = None
        self._owned = False
        self._may_block = False
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
        elif stat.S_ISFIFO(mode) or os.isatty(fd):
            try:
                self._fd = os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
                self._owned = True
            except OSError:  # another user's terminal, no /proc, no reader on the other end
                self._may_block = os.get_blocking(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._socket is not None:
            self._socket.close()
        elif self._owned:
            os.close(self._fd)

    def _read(self) -> bytes:
        if self._socket is not None:
            return self._socket.recv(_AT_ONCE, socket.MSG_DONTWAIT)
        return os.read(self._fd, _AT_ONCE)

    def _write(self, data: memoryview) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        return os.write(self._fd, data[:_PIPE_BUF] if self._may_block else data)

    async def _ready(self, *, to_write: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        fd = self._fd if self._socket is None else self._socket.fileno()
        add, remove = (loop.add_writer, loop.remove_writer) if to_write else (loop.add_reader, loop.remove_reader)

        def on_ready() -> None:
            if not ready.done():
                ready.set_result(None)

        add(fd, on_ready)
        try:
            await ready
        finally:
            remove(fd)


class Input(Descriptor):
    """Standard input."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, os.O_RDONLY)

    async def read(self) -> bytes:
        """What there is, at least one byte; empty at the end. Raises OSError."""
        if self._may_block:
            await self._ready(to_write=False)
        else:
            await asyncio.sleep(0)  # a file is always ready, and mustn't keep the rest from running
        while True:
            try:
                return self._read()
            except BlockingIOError:
                await self._ready(to_write=False)
            except OSError as error:
                if error.errno == errno.EIO:  # a terminal that was hung up
                    return b""
                raise


class Output(Descriptor):
    """Standard output or standard error."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, os.O_WRONLY)

    async def write(self, data: bytes | memoryview) -> None:
        """All of ``data``, however long that takes. Raises OSError; BrokenPipeError where nobody reads any more."""
        left = memoryview(data)
        while left:
            if self._may_block:
                await self._ready(to_write=True)
            try:
                left = left[self._write(left) :]
            except BlockingIOError:
                await self._ready(to_write=True)


def keep_standard_descriptors() -> None:
    """Put ``/dev/null`` where 0, 1 or 2 were closed, or a socket of ours would take the number and the output."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest free number, and that is fd
