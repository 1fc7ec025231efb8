"""The file of one recording, as the threads have it. All of this blocks."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from k8s_ws_proxy.recordings.directory import FILE_MODE, OPEN, make_folder, write_whole
from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.rfc3339 import rfc3339
from k8s_ws_proxy.wire.recording.asciicast import Cast, Heading, comment
from k8s_ws_proxy.wire.recording.receipt import INTERRUPTED, End, File, sealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from k8s_ws_proxy.recordings.directory import Directory

_CHUNK: Final = 256 * 1024  # bytes that are read at once
_TAIL: Final = 4 * 1024 * 1024  # bytes at the end of a file that are looked at: a line may have 1.5 MiB


class Data(NamedTuple):
    """What came on a channel: stdout, stderr or stdin. ``at`` is seconds since the session began."""

    at: float
    channel: int
    data: bytes


class Resized(NamedTuple):
    """The terminal has another size."""

    at: float
    columns: int
    rows: int


class Gone(OSError):
    """Somebody has taken the file away."""


class CastFile:
    """Of a session that is going on. ``begun`` is what its receipt will say of how it began."""

    def __init__(self, directory: Directory, session: str, heading: Heading, begun: Mapping[str, Any]) -> None:
        self.session = session
        self._directory = directory
        self._begun = begun
        self._cast = Cast(heading)
        self._fd: int | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self._problem = ""

    def create(self, least_free: int) -> None:
        """Make it. Raises OSError, also where less than ``least_free`` bytes are free."""
        self._directory.open()
        if self._directory.free() < least_free:
            raise OSError(f"less than {least_free} bytes are free there")
        path = self._directory.cast(self.session)
        make_folder(path.parent)
        entry = self._directory.entry(OPEN, self.session)
        try:
            entry.write_bytes(self._entry())
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(path, flags, FILE_MODE)
        except OSError:
            entry.unlink(missing_ok=True)
            raise

    def write(self, events: Iterable[Data | Resized]) -> int:
        """Append them, and say how many bytes that were. Raises OSError; then the file ends with a whole line."""
        before, cast = self._size, self._cast
        lines = [
            cast.data(event.at, event.channel, event.data)
            if isinstance(event, Data)
            else cast.resized(event.at, event.columns, event.rows)
            for event in events
        ]
        self._append(b"".join(lines))
        return self._size - before

    def sync(self) -> None:
        """Have the disk keep it. Raises OSError, also where somebody took it away meanwhile."""
        if self._fd is not None:
            os.fdatasync(self._fd)
            if not os.fstat(self._fd).st_nlink:
                raise Gone("the recording was taken away while it was written")

    def entered(self, title: str, pod: str, container: str | None) -> int:
        """What was meant is known now; nothing of the recording is written for it, 0 bytes. Raises OSError."""
        self._cast.heading = replace(self._cast.heading, title=title)
        found = {"pod": pod, "container": container}
        if (begun := {**self._begun, **found}) != self._begun:
            self._begun = begun
            self._directory.entry(OPEN, self.session).write_bytes(self._entry())
        return 0

    def finish(self, at: float, end: End, problem: str, secret: bytes) -> File:
        """Write its end and its receipt. Raises OSError if there is no receipt; it may be tried again then."""
        if self._fd is not None:
            self._problem = self._write_end(at, end, problem)
            self._close()
        file = File(path_of(self.session), self._size, self._hash.hexdigest(), self._cast.replaced, self._problem)
        write_whole(self._directory.receipt(self.session), sealed(self._begun, end, file, secret))
        self._directory.done(self.session)
        return file

    def _write_end(self, at: float, end: End, problem: str) -> str:
        """Why it isn't whole, if it isn't."""
        lines = [self._cast.begin()]
        if not problem:
            lines.append(self._cast.rest(at) if end.exit_code is None else self._cast.exited(at, end.exit_code))
        if replaced := self._cast.replaced:
            lines.append(comment(f"bytes that are no UTF-8 were replaced, by {replaced} U+FFFD in all"))
        if problem:
            lines.append(comment(problem))
        try:
            self._append(b"".join(lines))
            self.sync()
        except OSError as error:
            return problem or f"recording failed: its end can't be written: {error.strerror or error}"
        return problem

    def discard(self) -> None:
        """There was no session. Raises OSError."""
        if self._fd is not None:
            self._close()
            self._directory.cast(self.session).unlink(missing_ok=True)
            self._directory.entry(OPEN, self.session).unlink(missing_ok=True)

    def _entry(self) -> bytes:
        return orjson.dumps({**self._begun, "timestamp": self._cast.heading.timestamp})

    def _append(self, data: bytes) -> None:
        if not data or self._fd is None:
            return
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self._size)  # no torn line
            raise
        self._hash.update(data)
        self._size += len(data)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def finish_interrupted(directory: Directory, session: str, secret: bytes) -> File | None:
    """Finish what a daemon that is gone has left; None where that was done, or there is nothing left of it.

    Raises OSError, or ValueError or LookupError where what was known of the session can't be read.
    """
    entry, path = directory.entry(OPEN, session), directory.cast(session)
    if directory.receipt(session).exists() or not path.exists():
        directory.done(session)
        return None
    begun = orjson.loads(entry.read_bytes())
    timestamp = begun.pop("timestamp")
    title = "/".join(filter(None, (begun["namespace"], begun["pod"], begun["container"])))
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        found = os.fstat(fd)
        _cut_torn_line(fd, found.st_size)
        if not os.fstat(fd).st_size:
            os.write(fd, Cast(Heading(title, timestamp)).begin())
        os.write(fd, comment(INTERRUPTED))
        os.fdatasync(fd)
        size, digest = os.fstat(fd).st_size, hashlib.sha256()
        for offset in range(0, size, _CHUNK):
            digest.update(os.pread(fd, _CHUNK, offset))
    finally:
        os.close(fd)
    end = End(rfc3339(found.st_mtime), INTERRUPTED, None, None, None)
    file = File(path_of(session), size, digest.hexdigest(), problem=INTERRUPTED)
    write_whole(directory.receipt(session), sealed(begun, end, file, secret))
    directory.done(session)
    return file


def _cut_torn_line(fd: int, size: int) -> None:
    """After a crash of the machine the last lines may be torn, or of other bytes: cut them off."""
    start = max(0, size - _TAIL)
    tail = os.pread(fd, _TAIL, start)
    end = tail.rfind(b"\n") + 1
    while end and not _is_line(tail[(begin := tail.rfind(b"\n", 0, end - 1) + 1) : end]):
        end = begin
    if start + end < size:
        os.ftruncate(fd, start + end)
    if start and not end:
        _cut_torn_line(fd, start)


def _is_line(line: bytes) -> bool:
    if line.startswith(b"#"):
        return True
    try:
        return isinstance(orjson.loads(line), (list, dict))
    except orjson.JSONDecodeError:
        return False
