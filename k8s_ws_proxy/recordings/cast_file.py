"""The file of one recording, as the threads have it. All of this blocks."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from k8s_ws_proxy.recordings.directory import create, write_whole
from k8s_ws_proxy.recordings.paths import path_of
from k8s_ws_proxy.wire.recording.asciicast import Cast, Heading, comment
from k8s_ws_proxy.wire.recording.receipt import File, entry, sealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from k8s_ws_proxy.recordings.directory import Directory
    from k8s_ws_proxy.wire.recording.receipt import End

_PORTION: Final = 1024 * 1024  # bytes that are written at once: what is escaped takes up to six times what came


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
    """Of a session that is going on. ``begun`` is what its receipt will say of how it began; ``secret`` seals it.

    One thread makes it and writes; another has the disk keep it, and finishes it when nothing more is written.
    """

    def __init__(
        self, directory: Directory, session: str, heading: Heading, begun: Mapping[str, Any], secret: bytes
    ) -> None:
        self._secret = secret
        self.session = session
        self._directory = directory
        self._path = directory.cast(session)
        self._begun = begun
        self._cast = Cast(heading)
        self._fd: int | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self._torn = False  # there is more of it than is to be, since it couldn't be cut
        self._unkept = False  # something is in the kernel only
        self._problem = ""

    def create(self, least_free: int) -> None:
        """Make it. Raises OSError, also where less than ``least_free`` bytes are free."""
        self._directory.check(least_free)
        self._directory.enter(self.session, self._entry())
        try:
            self._fd = create(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                self._directory.forget(self.session)
            raise

    def write(self, events: Iterable[Data | Resized], watchers: Sequence[Mapping[str, str]] | None = None) -> int:
        """Append them, and say how many bytes that were. Raises OSError; then the file ends with a whole line.

        ``watchers`` are all who have watched so far, where there are new ones: beside the file, as ``entered``.
        """
        before, cast = self._size, self._cast
        lines, size = [], 0
        for event in events:
            if isinstance(event, Data):
                line = cast.data(event.at, event.channel, event.data)
            else:
                line = cast.resized(event.at, event.columns, event.rows)
            lines.append(line)
            size += len(line)
            if size >= _PORTION:
                self._append(b"".join(lines))
                lines, size = [], 0
        self._append(b"".join(lines))
        if watchers is not None:
            self._enter(watchers=watchers)
        return self._size - before

    def sync(self) -> None:
        """Have the disk keep it. Raises OSError, also where somebody took it away meanwhile."""
        if self._fd is None:
            return
        try:
            if self._unkept:
                self._unkept = False
                os.fdatasync(self._fd)
            if not self._is_there(self._fd):
                raise Gone("the recording was taken away while it was written")
        except OSError as error:  # of which the kernel tells once only
            self._problem = self._problem or f"recording failed: {told(error)}"
            raise

    def _is_there(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._path.stat(follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def entered(self, title: str, pod: str, container: str | None) -> int:
        """What was meant is known now; nothing of the recording is written for it, 0 bytes. Raises OSError."""
        self._cast.heading = replace(self._cast.heading, title=title)
        self._enter(pod=pod, container=container)
        return 0

    def _enter(self, **found: Any) -> None:
        if (begun := {**self._begun, **found}) != self._begun:
            self._begun = begun
            self._directory.enter(self.session, self._entry())

    def finish(self, at: float, end: End, problem: str, secret: bytes) -> File:
        """Write its end and its receipt. Raises OSError if there is no receipt; it may be tried again then.

        Whoever has told of it calls forget().
        There is none as long as more stands in the file than was recorded, and that can't be cut.
        """
        if self._fd is not None:
            self._write_end(at, end, problem)
            if self._torn and self._is_there(self._fd):  # else its receipt is of a file that is gone
                self._cut(self._fd)
            os.close(self._fd)
            self._fd = None
        file = File(path_of(self.session), self._size, self._hash.hexdigest(), self._cast.replaced, self._problem)
        self._directory.open()
        write_whole(self._directory.receipt(self.session), sealed(self._begun, end, file, secret))
        self._directory.done(self.session)
        return file

    def forget(self) -> None:
        """It is finished, and that was told. Raises OSError."""
        self._directory.forget(self.session)

    def _write_end(self, at: float, end: End, problem: str) -> None:
        self._problem = problem = problem or self._problem
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
            self._problem = problem or f"recording failed: its end can't be written: {told(error)}"

    def discard(self) -> None:
        """There was no session. Raises OSError."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._path.unlink(missing_ok=True)
            self._directory.forget(self.session)

    def _entry(self) -> bytes:
        return entry({**self._begun, "timestamp": self._cast.heading.timestamp}, self._secret)

    def _append(self, data: bytes) -> None:
        if not data or self._fd is None:
            return
        try:
            if self._torn:
                self._cut(self._fd)
            self._write(self._fd, data)
        except OSError:
            if not self._size:  # the header isn't there either
                self._cast = Cast(self._cast.heading)
            raise
        self._hash.update(data)
        self._size += len(data)

    def _write(self, fd: int, data: bytes) -> None:
        view = memoryview(data)
        self._torn = self._unkept = True
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError:
            with contextlib.suppress(OSError):  # else before anything is appended again
                self._cut(fd)
            raise
        self._torn = False

    def _cut(self, fd: int) -> None:
        os.ftruncate(fd, self._size)
        self._torn = False


def told(error: Exception) -> str:
    """What to say of it."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
