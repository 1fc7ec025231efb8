"""What NATS has not acknowledged, on disk: one run's lines in a directory of its own, in order, in files of a megabyte.

::

    AUDIT_DIR/<run>/lock       held by the daemon whose run it is; then by the one that sends what it has left
                    sent       up to where it was acknowledged: the number of a file, and bytes of it
                    0000000001 lines, the oldest file first; one whose lines are all sent is gone

Everything here blocks, and raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SEGMENT: Final = 1024 * 1024  # bytes, before another file is begun
_NUMBER: Final = re.compile(r"[0-9]{10}", re.ASCII)
_RUN: Final = re.compile(r"[0-9a-f-]{1,64}", re.ASCII)
_LOCK: Final = "lock"
_SENT: Final = "sent"


class Spool:
    """One run's. ``size`` is bytes that wait, ``waiting`` lines; what was torn when its daemon was killed isn't one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock: int | None = None
        self._sent: int | None = None
        self._segments: list[int] = []
        self._writing: int | None = None  # the last one's descriptor
        self._reading: int | None = None  # the first one's
        self._last = 0  # the number of the newest one that there was
        self._offset = 0  # in the first one
        self._line = b""  # the first that isn't sent
        self.size = 0
        self.waiting = 0

    @property
    def is_open(self) -> bool:
        """It may be used."""
        return self._lock is not None

    def open(self) -> None:
        """Take it. Raises BlockingIOError where another daemon has it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sent = os.open(self._directory / _SENT, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._find()
        except BaseException:
            os.close(lock)
            self.close()
            raise
        self._lock = lock

    def _find(self) -> None:
        assert self._sent is not None
        self._segments = sorted(int(path.name) for path in self._directory.iterdir() if _NUMBER.fullmatch(path.name))
        number, offset = 0, 0
        with contextlib.suppress(ValueError):
            number, offset = map(int, os.pread(self._sent, 64, 0).split())
        while self._segments and self._segments[0] < number:
            self._path(self._segments.pop(0)).unlink()
        self._last = max([number, *self._segments])
        self._offset = offset if self._segments[:1] == [number] else 0
        for each in self._segments:
            data = self._path(each).read_bytes()[self._offset if each == number else 0 :]
            self.waiting += data.count(b"\n")
            self.size += data.rfind(b"\n") + 1

    def append(self, line: bytes) -> None:
        """Keep ``line``, which has no end: it is there as a whole, or OSError is raised and nothing of it is."""
        data = line + b"\n"
        if self._writing is None or os.fstat(self._writing).st_size >= _SEGMENT:
            self._begin_segment()
        assert self._writing is not None
        before = os.fstat(self._writing).st_size
        if os.write(self._writing, data) < len(data):
            os.ftruncate(self._writing, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size += len(data)
        self.waiting += 1

    def _begin_segment(self) -> None:
        number = self._last + 1
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fresh = os.open(self._path(number), flags, 0o600)
        if self._writing is not None:
            os.close(self._writing)
        self._writing, self._last = fresh, number
        self._segments.append(number)

    def first(self) -> bytes | None:
        """The first line that isn't sent."""
        while not self._line and self.waiting:
            if self._reading is None:
                self._reading = os.open(self._path(self._segments[0]), os.O_RDONLY | os.O_CLOEXEC)
            self._line = _line_at(self._reading, self._offset)
            if not self._line:
                self._next_segment()
        return self._line.removesuffix(b"\n") or None

    def forget(self) -> None:
        """The first line was acknowledged."""
        assert self._line
        self._offset += len(self._line)
        self.size -= len(self._line)
        self.waiting -= 1
        self._line = b""
        self._remember()
        # What is caught up with goes at once where it has become large; else with the next file.
        if not self.waiting and self._offset >= _SEGMENT:
            self._next_segment()

    def _remember(self) -> None:
        assert self._sent is not None
        with contextlib.suppress(OSError):  # then a repeat, which NATS knows by its id
            os.pwrite(self._sent, b"%020d %020d\n" % (self._segments[0], self._offset), 0)

    def _next_segment(self) -> None:
        if self._reading is not None:
            os.close(self._reading)
            self._reading = None
        number = self._segments.pop(0)
        if not self._segments and self._writing is not None:
            os.close(self._writing)
            self._writing = None
        self._offset = 0
        self._path(number).unlink(missing_ok=True)

    def remove(self) -> None:
        """All is sent, and its daemon is gone."""
        shutil.rmtree(self._directory)
        self.close()

    def close(self) -> None:
        """Let go of it; what is left is sent by another daemon."""
        for fd in (self._writing, self._reading, self._sent, self._lock):
            if fd is not None:
                os.close(fd)
        self._writing = self._reading = self._sent = self._lock = None

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:010d}"


def size_of_others(directory: Path, own: str) -> int:
    """Bytes of lines in ``directory`` of runs other than ``own``."""
    files = (path for path in directory.glob("*/*") if _NUMBER.fullmatch(path.name) and path.parent.name != own)
    total = 0
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # its daemon has just sent it
            total += path.stat().st_size
    return total


def left_behind(directory: Path, own: str) -> Iterator[Spool]:
    """What runs other than ``own`` have left in ``directory``, the oldest first; taken, since no daemon has them."""
    names = sorted(path.name for path in directory.iterdir() if _RUN.fullmatch(path.name) and path.name != own)
    for name in names:
        spool = Spool(directory / name)
        with contextlib.suppress(OSError):  # its daemon is still there, or it can't be read
            spool.open()
            yield spool


def _line_at(fd: int, offset: int) -> bytes:
    """The whole line there, with its end; empty where there is none."""
    block = 64 * 1024
    data = b""
    while b"\n" not in data:
        more = os.pread(fd, block, offset + len(data))
        if not more:
            return b""
        data += more
    return data[: data.index(b"\n") + 1]
