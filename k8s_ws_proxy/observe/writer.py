"""The log's way out: a thread writes it, so that whoever should read it can't hold up the daemon."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MOST: Final = 1024 * 1024  # bytes of lines that wait, as they are held
_OVERHEAD: Final = 64  # bytes that a line takes besides its own
_LAST_CHANCE: Final = 1.0  # seconds for what waits when the process ends


class LogWriter:
    """A text stream for a logger. What waits has a bound: lines over it are dropped, counted, and said to be.

    ``dropped`` is called with the number of lines whenever some are. Lines keep their order.
    """

    def __init__(self, fd: int, *, tty: bool = False, dropped: Callable[[int], None] = lambda _count: None) -> None:
        self._fd = fd
        self._tty = tty
        self._tell = dropped
        self._waiting: deque[bytes] = deque()
        self._held = 0
        self._dropped = 0
        self._writing = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="log writer", daemon=True).start()

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return self._tty

    def write(self, text: str) -> int:
        """Take ``text``, whole lines; it is written later. Never waits."""
        data = text.encode("utf-8", "backslashreplace")
        with self._changed:
            lost = self._held + len(data) + _OVERHEAD > MOST
            if lost:
                self._dropped += 1
            else:
                if self._dropped:
                    self._take(_said(self._dropped))
                    self._dropped = 0
                self._take(data)
                self._changed.notify_all()
        if lost:
            self._tell(1)
        return len(text)

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

    def _take(self, data: bytes) -> None:
        self._waiting.append(data)
        self._held += len(data) + _OVERHEAD

    def _run(self) -> None:
        written = 0
        while True:
            with self._changed:
                self._held -= written
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting))
                data = self._waiting.popleft()
                written = len(data) + _OVERHEAD
                self._writing = True
            with contextlib.suppress(OSError):  # nobody is there to read it
                self._put(data)

    def _put(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                select.select([], [self._fd], [])


def _said(count: int) -> bytes:
    """The line in the place of those that were dropped."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    line = {"event": "log lines were dropped: they weren't read in time", "level": "warning", "lines": count}
    return json.dumps({**line, "timestamp": now}).encode() + b"\n"
