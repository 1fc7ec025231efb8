"""What a container wrote: the bytes in a file, and beside it when each line began to be there.

The kubelet's view, not the runtime's file: no prefix on each line, so that a long log is read as fast as a file is.
"""

from __future__ import annotations

import asyncio
import bisect
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from k8s_ws_proxy.devcluster.log import LogOptions

_BLOCK = 65536
_PARTIAL = 16384
"""Bytes of a line that are kept back for its end; a longer one is written in parts (containerd, redirectLogs)."""


class LogFile:
    """One run's output. Lines of stdout and stderr are put one behind the other as they become whole."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd  # of the writer; each reader has its own
        self._size = 0
        self._at_line_start = True
        self._partial: dict[int, bytes] = {}
        self._begins: list[int] = []  # offsets of lines, and below when they were written: one for each write
        self._times: list[int] = []
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self.ended = False

    @classmethod
    async def create(cls, path: Path) -> LogFile:
        """A new, empty one. Raises OSError."""

        def make() -> int:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

        return cls(path, await asyncio.to_thread(make))

    async def write(self, stream: int, data: bytes) -> None:
        """Take what came from the stream of that number."""
        held = self._partial.pop(stream, b"") + data
        cut = held.rfind(b"\n") + 1
        if len(held) - cut >= _PARTIAL:
            cut = len(held)
        self._partial[stream] = held[cut:]
        if cut:
            await self._append(held[:cut])

    async def end(self) -> None:
        """Nothing more will come; a line without a newline stays without one."""
        for rest in self._partial.values():
            if rest:
                await self._append(rest)
        self._partial.clear()
        os.close(self._fd)
        self.ended = True
        self._wake()

    async def read(self, options: LogOptions) -> AsyncGenerator[bytes]:
        """The part that is wanted; with `follow` it ends when the run has ended and all of it was read."""
        with await asyncio.to_thread(self._path.open, "rb", buffering=0) as file:
            pos = await asyncio.to_thread(self._start, file.fileno(), options)
            out = _Output(self, options, pos)
            while not out.full:
                if pos < self._size:
                    block = await asyncio.to_thread(os.pread, file.fileno(), min(_BLOCK, self._size - pos), pos)
                    pos += len(block)
                    yield out.take(block)
                elif self.ended or not options.follow:
                    return
                else:
                    await self._changed.wait()

    def time_at(self, offset: int) -> int:
        """When the line that begins at `offset` was written, in nanoseconds of Unix time."""
        return self._times[bisect.bisect_right(self._begins, offset) - 1]

    async def _append(self, data: bytes) -> None:
        async with self._lock:
            first = 0 if self._at_line_start else data.find(b"\n") + 1
            if self._at_line_start or 0 < first < len(data):
                self._begins.append(self._size + first)
                self._times.append(time.time_ns())
            await asyncio.to_thread(self._store, data)
            self._size += len(data)
            self._at_line_start = data.endswith(b"\n")
        self._wake()

    def _store(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _start(self, fd: int, options: LogOptions) -> int:
        """The later of both: where the last lines begin, and where what is new enough does. Blocks."""
        since = 0
        if options.since is not None:
            number = bisect.bisect_left(self._times, options.since)
            since = self._begins[number] if number < len(self._begins) else self._size
        return max(since, 0 if options.tail_lines is None else self._tail(fd, options.tail_lines))

    def _tail(self, fd: int, lines: int) -> int:
        end = pos = self._size
        if not lines:
            return end
        # The newline at the very end is the last line's own.
        wanted = lines + 1 if self._at_line_start else lines
        while pos > 0:
            begin = max(0, pos - _BLOCK)
            block = os.pread(fd, pos - begin, begin)
            if (there := block.count(b"\n")) >= wanted:
                at = len(block)
                for _ in range(wanted):
                    at = block.rfind(b"\n", 0, at)
                return begin + at + 1
            wanted -= there
            pos = begin
        return 0


class _Output:
    """What the client gets: with times where it wants them, and not more than it wants."""

    def __init__(self, file: LogFile, options: LogOptions, start: int) -> None:
        self._file = file
        self._offset = start
        self._stamps = options.timestamps
        self._left = options.limit_bytes
        self._at_line_start = True
        self.full = False

    def take(self, block: bytes) -> bytes:
        """What of the next `block` the client gets."""
        out = self._stamped(block) if self._stamps else block
        self._offset += len(block)
        if self._left is not None:
            out = out[: self._left]
            self._left -= len(out)
            self.full = not self._left
        return out

    def _stamped(self, block: bytes) -> bytes:
        pieces, pos = [], 0
        while pos < len(block):
            if self._at_line_start:
                pieces.append(stamp(self._file.time_at(self._offset + pos)))
            after = block.find(b"\n", pos) + 1
            self._at_line_start = after > 0
            pieces.append(block[pos : after or len(block)])
            pos = after or len(block)
        return b"".join(pieces)


def stamp(nanoseconds: int) -> bytes:
    """RFC3339NanoFixed, as the kubelet writes it, and the space after it."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z ".encode()
