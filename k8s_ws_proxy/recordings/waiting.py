"""Recordings on the disk that wait for their upload, and those that are kept for a while after it.

A recording that waits, or is kept, has an empty file of its session's id in one of two directories of the daemon's own:
it is moved from the one to the other, so a daemon that is killed leaves nothing that the next one can't read. All of
this blocks: not for the event loop. No symbolic link is followed on the way to a recording, whoever made it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from k8s_ws_proxy.recordings.beneath import SomethingElse, open_file, open_folder
from k8s_ws_proxy.recordings.directory import KEPT, WAITING
from k8s_ws_proxy.recordings.paths import path_of, receipt_of
from k8s_ws_proxy.wire.recording import receipt as receipts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LONGEST_RECEIPT: Final = 1024 * 1024  # bytes
_BLOCK: Final = 1024 * 1024  # bytes that are hashed at once


class Unfit(Exception):
    """A recording isn't what its receipt says, or one of the two can't be read: it isn't for the store."""


class Removed(Exception):
    """Neither the recording nor its receipt is there any more: somebody removed them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A session in one of the directories: since when (Unix seconds), and its recording's size in bytes."""

    session: str
    since: float
    size: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a receipt says of its recording, and the receipt itself."""

    path: str
    size: int
    sha256: str
    receipt: bytes

    @property
    def receipt_path(self) -> str:
        """Beside the recording."""
        return receipt_of(self.path)

    @property
    def receipt_sha256(self) -> str:
        """Of the receipt's own bytes, hexadecimal."""
        return hashlib.sha256(self.receipt).hexdigest()


class Waiting:
    """The two directories below ``own``, for recordings below ``root``. Every method may raise OSError."""

    def __init__(self, root: Path, own: Path) -> None:
        self._root = root
        self._waiting = own / WAITING
        self._kept = own / KEPT

    def waiting(self) -> Iterator[Entry]:
        """Those that wait, in no order."""
        return self._entries(self._waiting)

    def kept(self) -> Iterator[Entry]:
        """Those that are kept, in no order."""
        return self._entries(self._kept)

    def _entries(self, directory: Path) -> Iterator[Entry]:
        with os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(ValueError, FileNotFoundError):  # not ours; moved meanwhile
                    size = self._size(path_of(entry.name))
                    yield Entry(entry.name, entry.stat(follow_symlinks=False).st_mtime, size)

    def _size(self, path: str) -> int:
        try:
            return (self._root / path).lstat().st_size
        except OSError:
            return 0

    def take(self, session: str) -> tuple[Sealed, BinaryIO]:
        """Its receipt, and its recording, open at the begin, that has the hash which the receipt tells.

        Raises Removed or Unfit.
        """
        sealed = self.sealed(session)
        file = self._open(sealed.path)
        if file is None:
            raise Unfit("there is a receipt, and no recording")
        try:
            digest, size = hashlib.sha256(), 0
            while data := file.read(_BLOCK):
                digest.update(data)
                size += len(data)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        if (size, digest.hexdigest()) != (sealed.size, sealed.sha256):
            file.close()
            raise Unfit("the recording isn't what its receipt says")
        return sealed, file

    def sealed(self, session: str) -> Sealed:
        """What its receipt says. Raises Removed or Unfit."""
        path = path_of(session)
        file = self._open(receipt_of(path))
        if file is None:
            recording = self._open(path)
            if recording is None:
                raise Removed
            recording.close()
            raise Unfit("there is a recording, and no receipt")
        with file:
            receipt = file.read(_LONGEST_RECEIPT + 1)
        told = receipts.parse(receipt)
        if told is None or (told["sessionId"], told["recordingPath"]) != (session, path):
            raise Unfit("what stands in the receipt's place isn't its receipt")
        if type(size := told.get("size")) is not int:
            raise Unfit("the receipt has no size")
        return Sealed(path, size, told["sha256"], receipt)

    def stored(self, session: str) -> None:
        """It needn't wait any more, and is kept from now on. Nothing happens where another daemon has taken it over."""
        _move(self._waiting / session, self._kept / session)

    def lost(self, session: str) -> None:
        """It has to wait again. As stored()."""
        _move(self._kept / session, self._waiting / session)

    def forget(self, session: str) -> None:
        """It neither waits nor is kept."""
        for directory in (self._waiting, self._kept):
            (directory / session).unlink(missing_ok=True)

    def remove(self, sealed: Sealed, session: str) -> None:
        """Remove the recording, its receipt and the entry, in this order: what is cut short can be gone on with."""
        for path in (sealed.path, sealed.receipt_path):
            try:
                self._unlink(path)
            except SomethingElse:
                raise Unfit("something else stands in a folder's place") from None
            except FileNotFoundError:
                pass  # removed already
        self.forget(session)

    def _open(self, path: str) -> BinaryIO | None:
        try:
            return open(open_file(self._root, path), "rb")  # noqa: PTH123 - it is open already
        except SomethingElse:
            raise Unfit("something else stands in a file's place") from None
        except FileNotFoundError:
            return None

    def _unlink(self, path: str) -> None:
        *folders, name = path.split("/")
        folder = open_folder(self._root, folders)
        try:
            os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)


def _move(entry: Path, to: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.utime(entry)
        entry.rename(to)


def now() -> float:
    """Unix seconds, as an entry's ``since`` is."""
    return time.time()
