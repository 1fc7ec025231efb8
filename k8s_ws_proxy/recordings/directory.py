"""The directory of recordings, as the daemons on it share it.

::

    2026/11/30/<id>.cast               a recording, and beside it
    2026/11/30/<id>.json               its receipt, once the session has ended
    .daemons/<daemon>/lock             locked by that daemon while it lives
    .daemons/<daemon>/open/<id>        what was known when the session began: it isn't finished
    .daemons/<daemon>/waiting/<id>     finished, and waits for its upload
    .daemons/<daemon>/kept/<id>        uploaded at the file's time, and kept here for a while

What is in the directory of a daemon whose lock is free was left by one that is gone, and belongs to whoever takes it
over. All of this blocks: it is for threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.recordings.paths import path_of, receipt_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAEMONS: Final = ".daemons"
OPEN: Final = "open"
WAITING: Final = "waiting"
KEPT: Final = "kept"
_STATES: Final = (OPEN, WAITING, KEPT)
_LOCK: Final = "lock"
FILE_MODE: Final = 0o640
_FOLDER_MODE: Final = 0o750


class Directory:
    """One daemon's part in ``root``. ``uploads``: what is finished waits for an upload."""

    def __init__(self, root: Path, *, uploads: bool = False) -> None:
        self.root = root
        self.uploads = uploads
        self.own = root / DAEMONS / secrets.token_hex(8)
        self._lock: int | None = None

    def open(self) -> None:
        """Take a place in it, and make what is missing; again, where that was taken away. Raises OSError."""
        if self._lock is not None:
            if self.own.joinpath(_LOCK).exists():
                return
            self.close()
        daemons = self.root / DAEMONS
        daemons.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        with _locked(daemons / _LOCK):  # nobody takes for a dead one's what has no lock yet
            for state in _STATES:
                self.own.joinpath(state).mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            self._lock = _open_lock(self.own / _LOCK)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Give up the place; whoever comes next takes over what is in it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def take_over(self) -> list[str]:
        """Make one's own what daemons that are gone have left: the sessions of which nothing is finished.

        Raises OSError.
        """
        found: list[str] = []
        daemons = self.root / DAEMONS
        with _locked(daemons / _LOCK):
            for other in sorted(daemons.iterdir()):
                if other == self.own or not other.is_dir():
                    continue
                lock = _open_lock(other / _LOCK)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    found += self._take(other)
                except BlockingIOError:
                    continue
                finally:
                    os.close(lock)
        return found

    def _take(self, other: Path) -> list[str]:
        found = []
        for state in _STATES:
            with contextlib.suppress(FileNotFoundError):
                for entry in sorted(other.joinpath(state).iterdir()):
                    entry.rename(self.own / state / entry.name)
                    if state == OPEN:
                        found.append(entry.name)
                other.joinpath(state).rmdir()
        other.joinpath(_LOCK).unlink()
        other.rmdir()
        return found

    def spoken_for(self) -> set[str]:
        """The sessions, of all daemons, whose recording isn't finished or waits for its upload. Raises OSError."""
        found: set[str] = set()
        for daemon in (self.root / DAEMONS).iterdir():
            for state in (OPEN, WAITING):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    found.update(os.listdir(daemon / state))  # noqa: PTH208
        return found

    def cast(self, session: str) -> Path:
        """The recording of ``session``. Raises ValueError."""
        return self.root / path_of(session)

    def receipt(self, session: str) -> Path:
        """Its receipt. Raises ValueError."""
        return self.root / receipt_of(path_of(session))

    def entry(self, state: str, session: str) -> Path:
        """What says that a session of this daemon is in that state."""
        return self.own / state / session

    def done(self, session: str) -> None:
        """It is finished: it waits for its upload now, or for nothing. Raises OSError."""
        entry = self.entry(OPEN, session)
        if self.uploads:
            os.truncate(entry, 0)
            entry.rename(self.entry(WAITING, session))
        else:
            entry.unlink(missing_ok=True)

    def free(self) -> int:
        """Bytes that are free where it is. Raises OSError."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there as a whole or not at all, also after a crash. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123 - it is open already
            file.write(data)
            file.flush()
            os.fsync(fd)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    fresh.rename(path)


def make_folder(folder: Path) -> None:
    """One for a day, with those above it. Raises OSError."""
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = _open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
