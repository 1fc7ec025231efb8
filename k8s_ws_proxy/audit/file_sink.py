"""A file of audit lines, which logrotate moves away, or the sink itself (docs/operations.md, "The audit trail")."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger
from k8s_ws_proxy.wire.audit.chain import end_of
from k8s_ws_proxy.wire.audit.line import GENESIS, LONGEST

if TYPE_CHECKING:
    from pathlib import Path

MOST: Final = 8 * 1024 * 1024  # bytes of lines that wait
_MODE: Final = 0o640
_BATCH: Final = 256 * 1024  # bytes that are written at once
_PERIOD: Final = 1.0  # seconds between two attempts, and between two that bring it to the disk
_LAST_CHANCE: Final = 1.0  # seconds for what waits when the daemon ends


class AuditFile:
    """The file itself. Everything here blocks, and raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.before = path.with_name(f"{path.name}.1")  # what is moved away
        self._fd: int | None = None
        self.digest = GENESIS  # of the last line that stood in it when it was opened
        self.cut = 0  # bytes after that line, which were the beginning of one and were taken off then

    def open(self) -> None:
        """Open it, or make it, where it isn't open."""
        if self._fd is not None:
            return
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK  # which keeps a FIFO from holding us up
        try:
            fd = os.open(self._path, flags | os.O_CREAT | os.O_EXCL, _MODE)
            os.fchmod(fd, _MODE)  # whatever the umask
        except FileExistsError:
            fd = os.open(self._path, flags, _MODE)
        try:
            self._look(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _look(self, fd: int) -> None:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it isn't a regular file", str(self._path))
        # Another daemon on this file, as in a rolling upgrade, has it locked as we do: what it is writing isn't torn.
        alone = _locked(fd, fcntl.LOCK_EX)
        size = status.st_size
        tail = os.pread(fd, 2 * LONGEST, max(0, size - 2 * LONGEST))
        found, torn = end_of(tail)
        self.digest, self.cut = found or GENESIS, torn if alone else 0
        if self.cut:
            os.ftruncate(fd, size - self.cut)
        elif alone and tail and not tail.endswith(b"\n"):
            os.write(fd, b"\n")
        _locked(fd, fcntl.LOCK_SH)

    def append(self, data: bytes) -> int:
        """Write whole lines; bytes that are there now, which end with a line."""
        self.open()
        assert self._fd is not None
        before = os.fstat(self._fd).st_size
        written = os.write(self._fd, data)
        whole = data.rfind(b"\n", 0, written) + 1
        if whole < written:
            if os.fstat(self._fd).st_size == before + written:
                os.ftruncate(self._fd, before + whole)
            else:
                os.write(self._fd, b"\n")  # somebody else's line has come after it already
        if not whole:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        return whole

    @property
    def size(self) -> int:
        """Its bytes, whoever has written them; 0 where it isn't open."""
        return 0 if self._fd is None else os.fstat(self._fd).st_size

    def move_away(self) -> bool:
        """Name it ``.1``, in the place of the one that is called so; the next line makes another one.

        False where another daemon on it does that or has done it: the second would replace what the first has kept.
        """
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                pass  # the file system knows no locks
            self.settle()
            if self._fd is None:
                return False
            self._path.replace(self.before)
            self.close()
            return True
        finally:
            os.close(directory)

    def settle(self) -> None:
        """Bring it to the disk; and follow."""
        if self._fd is None:
            return
        os.fdatasync(self._fd)
        self.follow()

    def follow(self) -> None:
        """Let go of it where it isn't the one of that name any more."""
        if self._fd is None:
            return
        try:
            there, ours = self._path.stat(), os.fstat(self._fd)
        except FileNotFoundError:
            self.close()
        else:
            if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
                self.close()

    def close(self) -> None:
        """Let go of it. The next line opens what has its name by then."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


class FileSink:
    """Lines into ``path``, by a thread. ``digest`` and ``cut`` are what was found in it at the beginning.

    Before it would have more than ``most`` bytes, which no line has, it is named ``.1`` and begun anew; 0 is no limit.
    It blocks when it is made, since the first line needs to know after which one it comes. A file that can't be opened
    is tried again each second.
    """

    name: Final = "file"

    def __init__(self, path: Path, most: int = 0) -> None:
        self._path = path
        self._most = most
        self._file = AuditFile(path)
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._held = 0
        self._reopen = self._closing = False
        self._failing = ""
        self._unmoved = ""  # why it can't be moved away
        self._moved = False  # it was, and that was said
        self._changed = threading.Condition()
        try:
            self._file.open()
        except OSError as error:
            self._failed(error)
        self.digest, self.cut = self._file.digest, self._file.cut
        self._thread = threading.Thread(target=self._run, name="audit file", daemon=True)
        self._thread.start()

    def take(self, line: bytes) -> None:
        """As Sink's."""
        data = line + b"\n"
        with self._changed:
            full = self._held + len(data) > MOST
            if not full:
                self._waiting.append((data, time.monotonic()))
                self._held += len(data)
                self._changed.notify_all()
        if full:
            metrics.AUDIT_LOST.labels(self.name).inc()

    @property
    def trouble(self) -> str:
        """As Sink's."""
        if self._failing:
            return self._failing
        return "the disk is too slow" if self._held > MOST - LONGEST else ""

    @property
    def waiting(self) -> int:
        """As Sink's."""
        return len(self._waiting)

    @property
    def oldest(self) -> float:
        """As Sink's."""
        with self._changed:
            return time.monotonic() - self._waiting[0][1] if self._waiting else 0.0

    def reopen(self) -> None:
        """As Sink's: lines from here on are written to what has the name then."""
        with self._changed:
            self._reopen = True
            self._changed.notify_all()

    def close(self) -> None:
        """As Sink's."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(_LAST_CHANCE)

    def _run(self) -> None:
        settle_at = 0.0  # where something was written since it was brought to the disk
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closing or self._reopen or (bool(self._waiting) and not self._failing), _PERIOD
                )
                batch = self._batch()
                reopen, self._reopen = self._reopen, False
                closing = self._closing
            try:
                if reopen:
                    self._file.close()
                if reopen or self._failing:  # else no line may come that shows it is still so
                    self._file.open()
                if batch:
                    data = b"".join(batch)
                    self._make_room(len(data))
                    self._written(self._file.append(data), batch)
                    settle_at = settle_at or time.monotonic() + _PERIOD
                if settle_at and (closing or time.monotonic() >= settle_at):
                    settle_at = 0.0
                    self._file.settle()
            except OSError as error:
                self._failed(error)
                if closing:
                    return
            else:
                if self._failing:
                    self._failing = ""
                    logger().info("the audit file is written again", file=str(self._path))
                if closing and not batch:
                    return

    def _batch(self) -> list[bytes]:
        """The lines that are written next. With the lock."""
        batch: list[bytes] = []
        size = 0
        for data, _ in self._waiting:
            if batch and size + len(data) > _BATCH:
                break
            batch.append(data)
            size += len(data)
        return batch

    def _make_room(self, coming: int) -> None:
        """Before ``coming`` bytes are written. A file that can't be moved away grows on: no line is lost for that."""
        if not self._most:
            return
        self._file.follow()  # else a line gets lost where another daemon has moved it twice
        self._file.open()
        size, problem = self._file.size, ""
        if not size or size + coming <= self._most:
            return
        try:
            moved = self._file.move_away()
        except OSError as error:
            moved, problem = False, error.strerror or str(error)
        if problem and problem != self._unmoved:
            logger().error(
                "the audit file can't be moved away, and grows beyond its size", file=str(self._path), error=problem
            )
        elif moved and not self._moved:
            logger().warning(
                "the audit file has come to its size and is begun anew: one before it is kept, older lines go",
                file=str(self._path),
                before=str(self._file.before),
                max_bytes=self._most,
            )
        self._unmoved, self._moved = problem, self._moved or moved

    def _written(self, count: int, batch: list[bytes]) -> None:
        """``count`` bytes of ``batch``, which are whole lines."""
        lines = 0
        with self._changed:
            for data in batch:
                if count < len(data):
                    break
                count -= len(data)
                self._held -= len(data)
                self._waiting.popleft()
                lines += 1
        metrics.AUDIT_WRITTEN.labels(self.name).inc(lines)

    def _failed(self, error: OSError) -> None:
        metrics.AUDIT_FAILURES.labels(self.name).inc()
        with contextlib.suppress(OSError):
            self._file.close()
        problem = error.strerror or str(error)
        if problem != self._failing:
            self._failing = problem
            logger().error(
                "the audit file can't be written; it is tried each second", file=str(self._path), error=problem
            )


def _locked(fd: int, how: int) -> bool:
    """It is locked now; else somebody else has it, or the file system knows no locks."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
