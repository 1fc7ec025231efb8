"""How long recordings stay, and how many: the oldest go first. All of this blocks: it is for threads."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.recordings.paths import CAST, RECEIPT

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
    spoken_for = directory.spoken_for()
    total = sum(each.size for each in _recordings(directory.root)) if keep.size else 0
    removed = 0
    for each in _recordings(directory.root):
        if each.session in spoken_for:
            continue
        too_old = keep.age and now - each.changed > keep.age
        if not too_old and not (keep.size and total > keep.size):
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
        for path in sorted(day.glob(f"*{CAST}")):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat(follow_symlinks=False)
                size = found.st_size
                with contextlib.suppress(FileNotFoundError):
                    size += path.with_suffix(RECEIPT).stat(follow_symlinks=False).st_size
                yield _Recording(path, path.stem, size, found.st_mtime)


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False))
