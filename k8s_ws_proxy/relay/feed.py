"""What stands where a watcher's session has its upstream: a queue that the watched session fills."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.rules.watch import TYPED_AT_ONCE, resize, stdin_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from k8s_ws_proxy.relay.read_budget import ReadBudget

MOST_WAITING: Final = 256 * 1024  # bytes that wait for a watcher, beside what its connection has taken
_LEAST_WAITING: Final = 32 * 1024  # the same where everybody's together are too many
_ENTRY: Final = 64  # bytes that each piece takes besides its own
_READS_AT_ONCE: Final = 16
_MOST_TYPED: Final = 32 * 1024  # bytes in a turn


class Feed:
    """A ByteStream. It never holds the session up: of a watcher that takes too little all is dropped, and it is told.

    ``inject`` takes what is typed, and says False while it can't; None drops it. ``resized`` is told how large the
    watcher's terminal is, columns and rows.
    """

    __slots__ = (
        "_budget",
        "_closed",
        "_dropped",
        "_due",
        "_ended",
        "_held",
        "_inject",
        "_loop",
        "_offset",
        "_on_close",
        "_on_readable",
        "_on_slow",
        "_on_writable",
        "_queue",
        "_resized",
        "_resting",
        "blocked",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        budget: ReadBudget,
        inject: Callable[[bytes], bool] | None,
        resized: Callable[[int, int], None] | None = None,
    ) -> None:
        self._loop = loop
        self._budget = budget
        self._inject = inject
        self._resized = resized
        self._queue: deque[bytes] = deque()
        self._offset = 0  # bytes of the first piece that are gone
        self._held = 0
        self._ended = False
        self._dropped = False  # what waited was too much
        self._closed = False
        self._due = False
        self._resting = False
        self.blocked = False  # something was typed that the session can't take now
        self._on_readable: Callable[[], None] | None = None
        self._on_writable: Callable[[], None] | None = None
        self._on_slow: Callable[[], None] | None = None
        self._on_close: Callable[[], None] | None = None

    def tell(self, on_slow: Callable[[], None], on_close: Callable[[], None]) -> None:
        """Call these when too much waits, and when it is closed: each once at most."""
        self._on_slow, self._on_close = on_slow, on_close

    def feed(self, data: bytes) -> None:
        """``data``, whole messages, are to be read; nobody changes or copies them, so many may hold the same ones."""
        if self._closed or self._ended or self._dropped:
            return
        self._queue.append(data)
        if self._hold(len(data) + _ENTRY):
            self._schedule()
            return
        self._dropped = True
        self._forget()
        if self._on_slow is not None:
            self._loop.call_soon(self._on_slow)

    def takes(self, count: int) -> bool:
        """Whether so many bytes at once aren't too much for it."""
        return self._held + count + _ENTRY <= (_LEAST_WAITING if self._budget.hold(0) else MOST_WAITING)

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._schedule()

    def unblocked(self) -> None:
        """The session may take what was typed."""
        self.blocked = False
        self._writable()

    def _hold(self, count: int) -> bool:
        """Whether what waits isn't too much."""
        self._held += count
        crowded = self._budget.hold(count)
        return self._held <= (_LEAST_WAITING if crowded else MOST_WAITING)

    def _forget(self) -> None:
        self._queue.clear()
        self._offset = 0
        self._hold(-self._held)

    def _schedule(self) -> None:
        if not self._due and self._on_readable is not None:
            self._due = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        """Have it read until the watcher's connection takes no more: a new one is read in small blocks."""
        self._due = False
        for _ in range(_READS_AT_ONCE):
            if self._on_readable is None or not (self._queue or self._ended):
                return
            self._on_readable()
        self._schedule()

    @property
    def backlog(self) -> int:
        """Nothing is taken that isn't gone."""
        return 0

    def read_into(self, view: memoryview, max_bytes: int | None = None) -> int | None:
        """As ByteStream's."""
        room = len(view) if max_bytes is None else min(max_bytes, len(view))
        filled = 0
        while self._queue and filled < room:
            first = self._queue[0]
            part = memoryview(first)[self._offset : self._offset + room - filled]
            view[filled : filled + len(part)] = part
            filled += len(part)
            self._offset += len(part)
            if self._offset == len(first):
                self._queue.popleft()
                self._hold(-len(first) - _ENTRY)
                self._offset = 0
        return filled or (0 if self._ended else None)

    def write(self, view: bytes | memoryview) -> int | None:
        """As ByteStream's: some whole messages of what is typed, in one turn no more than are soon dealt with."""
        if self._inject is None or self._ended or self._dropped:
            return len(view)
        if self.blocked or self._resting:
            return None
        text, count = stdin_of(bytes(view), _MOST_TYPED)
        if text and not self._inject(text):
            self.blocked = True
            return None
        if self._resized is not None and (size := resize(view[:count], TYPED_AT_ONCE)) is not None:
            self._resized(*size)
        if count < len(view):
            self._resting = True
            self._loop.call_soon(self._rested)
        return count or None

    def _rested(self) -> None:
        self._resting = False
        self._writable()

    def _writable(self) -> None:
        if self._on_writable is not None:
            self._loop.call_soon(self._tell_writable)

    def _tell_writable(self) -> None:
        if self._on_writable is not None:
            self._on_writable()

    def flush(self) -> bool:
        """There is nothing to flush."""
        return True

    def on_readable(self, callback: Callable[[], None] | None) -> None:
        """As ByteStream's."""
        self._on_readable = callback
        if self._queue or self._ended:
            self._schedule()

    def on_writable(self, callback: Callable[[], None] | None) -> None:
        """As ByteStream's."""
        fresh = callback is not None and self._on_writable is None
        self._on_writable = callback
        if fresh and not self.blocked and not self._resting:
            self._writable()

    def bound_queue(self, count: int) -> None:
        """There is no kernel in between."""

    def peer_gone(self) -> bool:
        """Its end is read."""
        return False

    def unsent(self) -> bool:
        """Nothing is ever under way."""
        return False

    def unanswered(self, seconds: float, *, under_way: bool) -> bool:  # noqa: ARG002 - as ByteStream's
        """There is nobody who could be silent."""
        return False

    def repeat_within(self, seconds: float) -> None:
        """There is no kernel in between."""

    def end_output(self) -> None:
        """A watcher that leaves ends nothing."""

    def close(self) -> None:
        """As ByteStream's."""
        if self._closed:
            return
        self._closed = True
        self._on_readable = self._on_writable = self._on_slow = self._inject = self._resized = None
        self._forget()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()
