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
    from collections.abc import Callable, Sequence
    from pathlib import Path

_SEGMENT: Final = 1024 * 1024  # bytes, before another file is begun
_NUMBER: Final = re.compile(r"[0-9]{10}", re.ASCII)
_RUN: Final = re.compile(r"[0-9a-f-]{1,64}", re.ASCII)
_LOCK: Final = "lock"
_SENT: Final = "sent"


class Spool:
    """One run's. ``size`` is bytes that wait, ``waiting`` lines; what was torn when its daemon was killed isn't one.

    ``lost`` is told how many lines are gone with a file that somebody has removed, or made shorter.
    """

    def __init__(self, directory: Path, lost: Callable[[int], None]) -> None:
        self.directory = directory
        self._lost = lost
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
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sent = os.open(self.directory / _SENT, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._find()
        except BaseException:
            os.close(lock)
            self.close()
            raise
        self._lock = lock

    def _find(self) -> None:
        assert self._sent is not None
        self._segments = sorted(int(path.name) for path in self.directory.iterdir() if _NUMBER.fullmatch(path.name))
        number, offset = 0, 0
        with contextlib.suppress(ValueError):
            number, offset = map(int, os.pread(self._sent, 64, 0).split())
        if self._segments and number > self._segments[-1]:
            number = 0  # nobody has been there: all is sent again, rather than removed
        while self._segments and self._segments[0] < number:
            self._path(self._segments.pop(0)).unlink()
        self._last = max([number, *self._segments])
        here = self._segments[:1] == [number] and 0 <= offset <= self._path(number).stat().st_size
        self._offset = offset if here else 0
        self.waiting, self.size = self._counted(self._segments, self._offset)

    def _counted(self, segments: Sequence[int], offset: int = 0) -> tuple[int, int]:
        """Lines in these files, and bytes of them; in the first one from ``offset`` on."""
        waiting = size = 0
        for each in segments:
            with contextlib.suppress(FileNotFoundError):  # it is seen when it is its turn
                data = self._path(each).read_bytes()[offset:]
                waiting += data.count(b"\n")
                size += data.rfind(b"\n") + 1
            offset = 0
        return waiting, size

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
            if not self._segments:
                self._lose(0, 0)
            elif (fd := self._first_file()) is not None:
                try:
                    self._line = _line_at(fd, self._offset)
                except OSError:
                    self._close_first()  # it may be another file by the next time
                    raise
                if not self._line:
                    self._next_segment()
        return self._line.removesuffix(b"\n") if self._line else None

    def _first_file(self) -> int | None:
        """The first file's descriptor; None where that is gone, and the next one is the first."""
        if self._reading is None:
            try:
                self._reading = os.open(self._path(self._segments[0]), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                self._lose(*self._counted(self._segments[1:]))
                self._next_segment()
        return self._reading

    def _lose(self, waiting: int, size: int) -> None:
        """No more than so many lines and bytes are left."""
        lost, self.waiting, self.size = self.waiting - waiting, waiting, size
        if lost > 0:
            self._lost(lost)

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

    def _close_first(self) -> None:
        if self._reading is not None:
            os.close(self._reading)
            self._reading = None

    def _next_segment(self) -> None:
        self._close_first()
        number = self._segments.pop(0)
        if not self._segments and self._writing is not None:
            os.close(self._writing)
            self._writing = None
        self._offset = 0
        self._path(number).unlink(missing_ok=True)

    def remove(self) -> None:
        """All is sent, and its daemon is gone."""
        try:
            with contextlib.suppress(FileNotFoundError):  # somebody was faster
                shutil.rmtree(self.directory)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of it; what is left is sent by another daemon."""
        for fd in (self._writing, self._reading, self._sent, self._lock):
            if fd is not None:
                os.close(fd)
        self._writing = self._reading = self._sent = self._lock = None

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:010d}"


def size_of_others(directory: Path, own: str) -> int:
    """Bytes of lines in ``directory`` of runs other than ``own``."""
    files = (path for path in directory.glob("*/*") if _NUMBER.fullmatch(path.name) and path.parent.name != own)
    total = 0
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # its daemon has just sent it
            total += path.stat().st_size
    return total


def other_runs(directory: Path, own: str) -> list[str]:
    """The names of what runs other than ``own`` have in ``directory``, the oldest first."""
    return sorted(path.name for path in directory.iterdir() if _RUN.fullmatch(path.name) and path.name != own)


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
