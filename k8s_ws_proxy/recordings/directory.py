"""The directory of recordings, as the daemons on it share it.

::

    2026/11/30/<id>.cast               a recording, and beside it
    2026/11/30/<id>.json               its receipt, once the session has ended
    .daemons/<daemon>/lock             locked by that daemon while it lives
    .daemons/<daemon>/open/<id>        what was known when the session began: it isn't finished, or nobody was told yet
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
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from k8s_ws_proxy.recordings.paths import is_session, path_of, receipt_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DAEMONS: Final = ".daemons"
OPEN: Final = "open"
WAITING: Final = "waiting"
KEPT: Final = "kept"
_STATES: Final = (OPEN, WAITING, KEPT)
_LOCK: Final = "lock"
_FRESH: Final = ".new"  # a file that isn't whole yet
_TRIES: Final = 3
FILE_MODE: Final = 0o640
_FOLDER_MODE: Final = 0o750


class Directory:
    """One daemon's part in ``root``. ``uploads``: what is finished waits for an upload."""

    def __init__(self, root: Path, *, uploads: bool = False) -> None:
        self.root = root
        self.uploads = uploads
        self.own = root / DAEMONS / secrets.token_hex(8)
        self._lock: int | None = None
        self._opening = threading.Lock()

    def open(self) -> None:
        """Take a place in it, and make what is missing; again, where that was taken away. Raises OSError."""
        with self._opening:
            if self._lock is not None and not self.own.joinpath(_LOCK).exists():
                self._close()
            if self._lock is None:
                self._lock = self._take_place()

    def _take_place(self) -> int:
        self._daemons.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        with _locked(self._daemons / _LOCK):  # nobody takes for a dead one's what has no lock yet
            for state in _STATES:
                self.own.joinpath(state).mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            lock = _open_lock(self.own / _LOCK)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise
            return lock

    def check(self, least_free: int) -> None:
        """Raises OSError where nothing can be written, or less than ``least_free`` bytes are free."""
        self.open()
        os.utime(self.own / _LOCK)  # nobody who removes what is old removes it
        if self.free() < least_free:
            raise OSError(f"less than {least_free} bytes are free in {self.root}")

    def close(self) -> None:
        """Give up the place; whoever comes next takes over what is in it."""
        with self._opening:
            self._close()

    def _close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def _daemons(self) -> Path:
        return self.root / DAEMONS

    def take_over(self) -> tuple[list[str], list[str]]:
        """Make one's own what daemons that are gone have left: the sessions of which nothing is finished.

        And why something else couldn't be taken, which holds up nothing. Raises OSError.
        """
        found: list[str] = []
        problems: list[str] = []
        with _locked(self._daemons / _LOCK):
            for other in _folders(self._daemons):
                if other != self.own:
                    try:
                        self._take(other, found)
                    except BlockingIOError:  # it lives
                        continue
                    except OSError as error:
                        problems.append(f"{other.name}: {error.strerror or error}")
        return found, problems

    def _take(self, other: Path, found: list[str]) -> None:
        lock = _open_lock(other / _LOCK)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for folder in _folders(other):
                for entry in sorted(folder.iterdir()) if folder.name in _STATES else ():
                    if is_session(entry.name):  # else it isn't ours, and stays
                        entry.rename(self.own / folder.name / entry.name)
                        if folder.name == OPEN:
                            found.append(entry.name)
                with contextlib.suppress(OSError):
                    folder.rmdir()
            for half_written in other.glob(f"*{_FRESH}"):
                half_written.unlink()
            if all(entry.name == _LOCK for entry in other.iterdir()):
                other.joinpath(_LOCK).unlink()
                other.rmdir()
        finally:
            os.close(lock)

    def spoken_for(self) -> set[str]:
        """The sessions, of all daemons, whose recording isn't finished or waits for its upload. Raises OSError.

        Where this daemon has no store, what a daemon before it has left waiting waits for nothing any more.
        """
        found: set[str] = set()
        with _locked(self._daemons / _LOCK):  # nobody takes them over meanwhile
            for daemon in _folders(self._daemons):
                waits = self.uploads or daemon != self.own
                for state in (OPEN, WAITING) if waits else (OPEN,):  # the way that they go
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

    def enter(self, session: str, known: bytes) -> None:
        """It is open, and that is known of it: as a whole, whenever this process is killed. Raises OSError."""
        fresh = self.own / f"{session}{_FRESH}"
        try:
            with _open_fresh(fresh) as file:
                file.write(known)
            fresh.rename(self.entry(OPEN, session))
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise

    def done(self, session: str) -> None:
        """It has its receipt: it waits for its upload now, or for nothing. Raises OSError.

        Its entry stays until that was told, and it is forgotten: whoever takes it over tells it.
        """
        if self.uploads:
            self.entry(WAITING, session).touch(mode=0o600)

    def forget(self, session: str) -> None:
        """It isn't open any more, or never was. Raises OSError."""
        self.entry(OPEN, session).unlink(missing_ok=True)

    def removed(self, session: str) -> None:
        """Its recording was: without a store nothing here says of it that it waits, or is kept. Raises OSError."""
        if not self.uploads:
            for state in (WAITING, KEPT):
                self.entry(state, session).unlink(missing_ok=True)

    def free(self) -> int:
        """Bytes that are free where it is. Raises OSError."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize


def create(path: Path) -> int:
    """A descriptor of a new file to append to, its folder made where it isn't there. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(_TRIES):
        make_folder(path.parent)
        with contextlib.suppress(FileNotFoundError):  # somebody has removed the empty folder in this moment
            return os.open(path, flags, FILE_MODE)
    return os.open(path, flags, FILE_MODE)


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there as a whole or not at all, also after a crash. Raises OSError."""
    fresh = path.with_name(f"{path.name}{_FRESH}")
    make_folder(path.parent)
    file = _open_fresh(fresh)
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    fresh.rename(path)


def _open_fresh(path: Path) -> BinaryIO:
    """A file to write, emptied where it is there. Raises OSError, also for a link or a FIFO: none is waited for."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    return open(os.open(path, flags, FILE_MODE), "wb")  # noqa: PTH123 - it is open already


def make_folder(folder: Path) -> None:
    """One for a day, with those above it. Raises OSError."""
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)


def _folders(folder: Path) -> list[Path]:
    """Those in it, by name. No link is followed: whoever may write there leads nobody elsewhere."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False))


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
