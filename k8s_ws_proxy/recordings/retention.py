"""How long recordings stay, and how many: the oldest go first. All of this blocks: it is for threads."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.recordings.paths import CAST, RECEIPT, is_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from k8s_ws_proxy.recordings.directory import Directory

_DAYS: Final = 3  # levels of folders: year, month, day
_JUMP: Final = 300.0  # seconds by which the clock may be set forward between two looks
_DOUBTED: Final = 86400.0  # seconds for which nobody goes by one that was set forward by more


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept: ``age`` in seconds since its last change, ``size`` in bytes of all of it. 0 is no limit."""

    age: float = 0.0
    size: int = 0

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return bool(self.age or self.size)


def _since_boot() -> float:
    """Seconds that nobody sets: of a machine that slept, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """The time of day, and whether recordings may be removed by it: one that jumps forward makes all of them old.

    It is doubted for a day, or until it is set back. Of one that was wrong at the start nothing can be known.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = _since_boot) -> None:
        self._wall, self._steady = wall, steady
        self._last = self._believed = wall() - steady()
        self._doubted_until = float("-inf")

    def look(self) -> tuple[float, float]:
        """Unix seconds; and by how many it was set forward, while that is doubted, else 0."""
        now, steady = self._wall(), self._steady()
        offset = now - steady
        if offset - self._last > _JUMP:
            self._doubted_until = steady + _DOUBTED
        self._last = offset
        if offset - self._believed <= _JUMP or steady >= self._doubted_until:
            self._believed = offset
        return now, offset - self._believed


def clear(directory: Directory, keep: Keep, now: float) -> tuple[int, OSError | None]:
    """Remove what is too old or too much; how many recordings that were, and why the first of others couldn't be.

    One that isn't finished, or waits for its upload, stays, whoever's it is. A day's are held at once. ``now`` is Unix
    seconds. Raises OSError where the directory can't be read.
    """
    total = sum(each.size for day in _days(directory.root) for each in _recordings(day)) if keep.size else 0
    removed, problem = 0, None
    for day in _days(directory.root):
        found = _recordings(day)
        some_too_old = keep.age and any(now - each.changed > keep.age for each in found)
        if not found or not (some_too_old or (keep.size and total > keep.size)):
            continue
        spoken_for = directory.spoken_for()  # after the look: what begins meanwhile wasn't found, or stands here
        for each in found:
            too_old = keep.age and now - each.changed > keep.age
            if each.session in spoken_for or not (too_old or (keep.size and total > keep.size)):
                continue
            try:
                for suffix in (RECEIPT, CAST):
                    (day / f"{each.session}{suffix}").unlink(missing_ok=True)
                directory.removed(each.session)
            except OSError as error:  # somebody else's, perhaps: the others go all the same
                problem = problem or error
                continue
            total -= each.size
            removed += 1
        with contextlib.suppress(OSError):  # it isn't empty
            for folder in (day, *list(day.parents)[: _DAYS - 1]):
                folder.rmdir()
    return removed, problem


@dataclass(frozen=True, slots=True)
class _Recording:
    session: str
    size: int
    changed: float


def _days(root: Path) -> Iterator[Path]:
    """The folders of days, the oldest first."""
    years = (each for each in _folders(root) if each.name.isdecimal())
    return (day for year in years for month in _folders(year) for day in _folders(month))


def _recordings(day: Path) -> list[_Recording]:
    """Those of a day, the oldest first: sessions sort by time. Of one a receipt may be all that there is."""
    sizes: dict[str, int] = {}
    changed: dict[str, float] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(day) as entries:
        for entry in entries:
            session, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a Path for each of thousands takes its time
            if suffix in (CAST, RECEIPT) and (session in sizes or is_session(session)):
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    sizes[session] = sizes.get(session, 0) + found.st_size
                    changed[session] = max(changed.get(session, 0.0), found.st_mtime)
    return [_Recording(session, sizes[session], changed[session]) for session in sorted(sizes)]


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:  # another daemon may clear, too
        return sorted(Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False))
    return []
