"""A thread that notices an event loop that doesn't turn, and says where it stands.

Eight times a second it asks the loop for a turn and measures how long that takes. The time that the loop's thread was
on a processor meanwhile tells whether the loop was busy, or the machine had no time for it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.observe import metrics
from k8s_ws_proxy.observe.log import logger

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

PERIOD: Final = 0.25  # seconds for an answer
_REST: Final = 0.125  # seconds between an answer and the next question, in which the loop may stand still unseen
_BUSY: Final = 0.8  # of that time on a processor: it was our own doing
_FRAMES: Final = 12  # of the innermost calls


class Watchdog:
    """Watches ``loop``, which runs in the thread that makes this, until stop()."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ident = threading.get_ident()
        self._cpu = time.pthread_getcpuclockid(self._ident)
        self._stopped = threading.Event()
        self._turned = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        self._turned.set()

    def _watch(self) -> None:
        while not self._stopped.wait(_REST):
            self._turned.clear()
            asked, on_cpu = time.monotonic(), time.clock_gettime(self._cpu)
            with contextlib.suppress(RuntimeError):  # the loop is closed: stop() is next
                self._loop.call_soon_threadsafe(self._turned.set)
            if not self._turned.wait(PERIOD):
                self._say(busy=time.clock_gettime(self._cpu) - on_cpu >= _BUSY * PERIOD)
                self._turned.wait()
            metrics.LOOP_LAG.observe(time.monotonic() - asked)

    def _say(self, *, busy: bool) -> None:
        cause = "busy" if busy else "waiting"
        metrics.LOOP_STALLS.labels(cause).inc()
        frame = sys._current_frames().get(self._ident)  # noqa: SLF001 - documented, for just this
        logger().warning("the event loop stands still", cause=cause, seconds=PERIOD, at=where(frame))


def where(frame: FrameType | None) -> list[str]:
    """The innermost calls, the last one first: names and lines, nothing of their data."""
    calls: list[str] = []
    while frame is not None and len(calls) < _FRAMES:
        code = frame.f_code
        calls.append(f"{code.co_qualname} {code.co_filename.rpartition('/')[2]}:{frame.f_lineno}")
        frame = frame.f_back
    return calls
