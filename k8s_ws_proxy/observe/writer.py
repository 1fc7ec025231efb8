"""The log's way out: a thread writes it, so that whoever should read it can't hold up the daemon."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

MOST: Final = 1024 * 1024  # bytes of lines that wait, as they are held
MOST_KEPT: Final = 4 * 1024 * 1024  # of those that must not be dropped for others' sake: the audit's
_OVERHEAD: Final = 128  # bytes that a line takes besides its own
_LAST_CHANCE: Final = 1.0  # seconds for what waits when the process ends


class _Waiting(NamedTuple):
    """A line. ``done`` is told whether it was written; of the log's own lines nobody asks."""

    data: bytes
    since: float
    done: Callable[[bool], None] | None

    @property
    def takes(self) -> int:
        return len(self.data) + _OVERHEAD


class LogWriter:
    """A text stream for a logger. What waits has a bound: lines over it are dropped, counted, and said to be.

    ``dropped`` is called with the number of lines whenever some are. Lines keep their order. Those that are put in by
    keep() have room of their own, so that no crowd of others takes it.
    """

    def __init__(self, fd: int, *, tty: bool = False, dropped: Callable[[int], None] = lambda _count: None) -> None:
        self._fd = fd
        self._tty = tty
        self._tell = dropped
        self._waiting: deque[_Waiting] = deque()
        self._held = 0
        self._kept: deque[float] = deque()  # since when each kept line waits
        self._held_kept = 0
        self._dropped = 0
        self._writing = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="log writer", daemon=True).start()

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return self._tty

    def write(self, text: str) -> int:
        """Take ``text``, whole lines; it is written later. Never waits."""
        line = _Waiting(text.encode("utf-8", "backslashreplace"), time.monotonic(), None)
        with self._changed:
            lost = self._held + line.takes > MOST
            if lost:
                self._dropped += 1
            else:
                if self._dropped:
                    self._take(_said(self._dropped))
                    self._dropped = 0
                self._take(line)
                self._changed.notify_all()
        if lost:
            self._tell(1)
        return len(text)

    def keep(self, data: bytes, done: Callable[[bool], None]) -> bool:
        """Take ``data``, a whole line, if there is room among its like. Never waits.

        ``done`` is called in the writer's thread with whether it could be written.
        """
        line = _Waiting(data, time.monotonic(), done)
        with self._changed:
            if self._held_kept + line.takes > MOST_KEPT:
                return False
            self._take(line)
            self._changed.notify_all()
        return True

    @property
    def keeping(self) -> tuple[int, int, float]:
        """How many kept lines wait, bytes that there is room for, and since when the oldest waits (monotonic; or 0)."""
        with self._changed:
            return len(self._kept), MOST_KEPT - self._held_kept, self._kept[0] if self._kept else 0.0

    def flush(self) -> None:
        """Nothing: the thread writes as soon as it can."""

    def close(self) -> None:
        """Wait until all is written, for a second at most."""
        with self._changed:
            if self._dropped:
                self._take(_said(self._dropped))
                self._dropped = 0
                self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._writing, _LAST_CHANCE)

    def _take(self, line: _Waiting) -> None:
        self._waiting.append(line)
        if line.done is None:
            self._held += line.takes
        else:
            self._kept.append(line.since)
            self._held_kept += line.takes

    def _give_back(self, line: _Waiting) -> None:
        if line.done is None:
            self._held -= line.takes
        else:
            self._kept.popleft()
            self._held_kept -= line.takes

    def _run(self) -> None:
        line: _Waiting | None = None
        while True:
            with self._changed:
                if line is not None:
                    self._give_back(line)
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting))
                line = self._waiting.popleft()
                self._writing = True
            written = False
            with contextlib.suppress(OSError):  # nobody is there to read it
                self._put(line.data)
                written = True
            if line.done is not None:
                line.done(written)

    def _put(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                select.select([], [self._fd], [])


def _said(count: int) -> _Waiting:
    """The line in the place of those that were dropped."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    line = {"event": "log lines were dropped: they weren't read in time", "level": "warning", "lines": count}
    return _Waiting(json.dumps({**line, "timestamp": now}).encode() + b"\n", time.monotonic(), None)
