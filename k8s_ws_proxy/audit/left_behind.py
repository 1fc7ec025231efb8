"""What runs before this one have left for NATS: taken where no daemon has it any more, and removed when it is sent.

Everything here blocks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.audit.spool import Spool, other_runs, size_of_others
from k8s_ws_proxy.observe.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOK: Final = 10.0  # seconds between looks at what other runs have left
_AGAIN: Final = 300.0  # seconds until one is tried again that couldn't be read: it may be long
_AT_ONCE: Final = 8  # runs whose lines are sent: each takes descriptors


@dataclass(slots=True)
class _Aside:
    """A run that can't be read or removed. ``lines`` are those that were counted of it."""

    problem: str
    lines: int
    since: float  # Unix seconds; 0 where nothing of it waits
    again: float  # when it is tried, by the monotonic clock


class LeftBehind:
    """Of runs other than ``own`` in ``directory``; ``size`` is bytes of all of them, also of those that live on.

    One that can't be read holds up no other: it is put aside, which is said once, and tried again later. ``lost`` is
    told of lines that are gone.
    """

    def __init__(self, directory: Path, own: str, lost: Callable[[int], None]) -> None:
        self._directory = directory
        self._own = own
        self._lost = lost
        self._aside: dict[str, _Aside] = {}
        self._look_at = 0.0
        self._problem = ""  # with the directory
        self.taken: list[Spool] = []
        self.size = 0

    @property
    def waiting(self) -> int:
        """Lines, as far as they could be counted."""
        return sum(each.waiting for each in list(self.taken)) + sum(each.lines for each in list(self._aside.values()))

    @property
    def unread_since(self) -> float:
        """Since when (Unix seconds) something waits that can't be read; 0 if nothing does."""
        return min((each.since for each in list(self._aside.values()) if each.since), default=0.0)

    def look_soon(self) -> None:
        """Look at all of it with the next first(). Of any thread."""
        for each in list(self._aside.values()):
            each.again = 0.0
        self._look_at = 0.0

    def first(self) -> tuple[Spool, bytes] | None:
        """The line that is due, and where it is."""
        self._look()
        for spool in list(self.taken):
            try:
                data = spool.first()
            except OSError as error:
                self.taken.remove(spool)
                self._put_aside(spool, error)
                continue
            if data is not None:
                self._aside.pop(spool.directory.name, None)
                return spool, data
        return None

    def _look(self) -> None:
        """Let go of what is sent, and take more."""
        for spool in [each for each in self.taken if not each.waiting]:
            self.taken.remove(spool)
            self._look_at = 0.0  # there may be more
            try:
                spool.remove()
            except OSError as error:
                self._put_aside(spool, error, waits=False)
            else:
                self._aside.pop(spool.directory.name, None)
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK
        problem = ""
        try:
            if self._directory.is_dir():
                self._take()
                self.size = size_of_others(self._directory, self._own)
        except OSError as error:
            problem = error.strerror or str(error)
            if problem != self._problem:
                _say(self._directory, problem)
        self._problem = problem

    def _take(self) -> None:
        if self.taken:
            return
        names = other_runs(self._directory, self._own)
        for name in self._aside.keys() - names:
            del self._aside[name]
        for name in names:
            aside = self._aside.get(name)
            if len(self.taken) < _AT_ONCE and (aside is None or time.monotonic() >= aside.again):
                self._take_one(name)
        if lines := sum(each.waiting for each in self.taken):
            logger().info("audit lines that a daemon before has left are sent", lines=lines)

    def _take_one(self, name: str) -> None:
        spool = Spool(self._directory / name, self._lost)
        try:
            spool.open()
        except (BlockingIOError, FileNotFoundError):  # another daemon has it, or has just removed it
            self._aside.pop(name, None)
        except OSError as error:
            self._put_aside(spool, error)
        else:
            self.taken.append(spool)
            if (aside := self._aside.get(name)) is not None:
                aside.lines = 0  # it has counted them itself

    def _put_aside(self, spool: Spool, error: OSError, *, waits: bool = True) -> None:
        lines, problem, before = spool.waiting, error.strerror or str(error), self._aside.get(spool.directory.name)
        spool.close()
        if before is None or before.problem != problem:
            _say(spool.directory, problem)
        since = (before.since if before else time.time()) if waits else 0.0
        self._aside[spool.directory.name] = _Aside(problem, lines, since, time.monotonic() + _AGAIN)


def _say(directory: Path, problem: str) -> None:
    logger().error(
        "what a daemon before has left for NATS can't be read or removed; it is tried again",
        directory=str(directory),
        error=problem,
    )
