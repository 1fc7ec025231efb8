"""Files below a directory, opened without following a link on the way: whoever may write there can't lead us out of it.

All of this blocks: it is for threads.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO would be waited for


class SomethingElse(FileNotFoundError):
    """What stands there is a link, or a file where a folder should be, or something else than a regular file."""


def open_folder(root: Path, names: Sequence[str] = ()) -> int:
    """A descriptor of the folder ``names`` below ``root``, which itself may be a link.

    Raises FileNotFoundError where there is none, its kind SomethingElse where that is in its place; OSError.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in names:
        below = _open(name, _FOLDER, fd)
        fd = below
    return fd


def open_file(root: Path, path: str) -> int:
    """A descriptor, to read from, of the regular file at ``path`` below ``root``. Raises as open_folder() does."""
    *folders, name = path.split("/")
    fd = _open(name, _FILE, open_folder(root, folders))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SomethingElse(errno.ENOENT, "it isn't a regular file", path)
    return fd


def read_file(root: Path, path: str, most: int) -> bytes:
    """Up to ``most`` bytes of that file. Raises as open_folder() does."""
    fd = open_file(root, path)
    try:
        return os.pread(fd, most, 0)
    finally:
        os.close(fd)


def _open(name: str, flags: int, folder: int) -> int:
    """``name`` in ``folder``, which is closed."""
    try:
        if name in ("", ".", "..") or "/" in name:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENXIO):  # the last one is a socket's
            raise SomethingElse(errno.ENOENT, os.strerror(error.errno), name) from error
        raise
    finally:
        os.close(folder)
