"""How long recordings stay, and how many: the oldest go first. All of this blocks: it is for threads."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.recordings.paths import CAST, RECEIPT, is_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k8s_ws_proxy.recordings.directory import Directory

_DAYS: Final = 3  # levels of folders: year, month, day


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept: ``age`` in seconds since its last change, ``size`` in bytes of all of it. 0 is no limit."""

    age: float = 0.0
    size: int = 0

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return bool(self.age or self.size)


def clear(directory: Directory, keep: Keep, now: float) -> int:
    """Remove what is too old or too much, and say how many recordings that were. ``now`` is Unix seconds.

    One that isn't finished, or waits for its upload, stays, whoever's it is. Raises OSError.
    """
    found = list(_recordings(directory.root))
    spoken_for = directory.spoken_for()  # after it: what begins meanwhile isn't in the list, or stands here
    total = sum(each.size for each in found)
    removed = 0
    for each in found:
        too_old = keep.age and now - each.changed > keep.age
        if each.session in spoken_for or not (too_old or (keep.size and total > keep.size)):
            continue
        for suffix in (RECEIPT, CAST):
            each.path.with_suffix(suffix).unlink(missing_ok=True)
        total -= each.size
        removed += 1
        with contextlib.suppress(OSError):  # it isn't empty
            for folder in list(each.path.parents)[:_DAYS]:
                folder.rmdir()
    return removed


@dataclass(frozen=True, slots=True)
class _Recording:
    path: Path
    session: str
    size: int
    changed: float


def _recordings(root: Path) -> Iterator[_Recording]:
    """All of them, the oldest first: names of folders and of sessions sort by time."""
    years = (each for each in _folders(root) if each.name.isdecimal())
    for day in (day for year in years for month in _folders(year) for day in _folders(month)):
        sizes: dict[str, int] = {}
        changed: dict[str, float] = {}
        for path in _files(day):  # a receipt may have lost its recording
            with contextlib.suppress(FileNotFoundError):
                found = path.lstat()
                sizes[path.stem] = sizes.get(path.stem, 0) + found.st_size
                changed[path.stem] = max(changed.get(path.stem, 0.0), found.st_mtime)
        for session in sorted(sizes):
            yield _Recording(day / f"{session}{CAST}", session, sizes[session], changed[session])


def _files(day: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return [path for path in day.iterdir() if path.suffix in (CAST, RECEIPT) and is_session(path.stem)]
    return []


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:  # another daemon may clear, too
        return sorted(Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False))
    return []
