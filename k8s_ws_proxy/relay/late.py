"""A stream whose connection isn't there yet: a session can begin with it, and nobody in it needs to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.relay.stream import StreamLost

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from k8s_ws_proxy.relay.byte_stream import ByteStream


class NeverArrived(StreamLost):
    """There is no connection, and none will come. The text says why, for a person; ``status`` as ``metav1.Status``."""

    def __init__(self, why: str, status: bytes) -> None:
        super().__init__(why)
        self.status = status


class Late:
    """A ByteStream. Until arrive() nothing comes and nothing is taken, as on a connection whose window is closed.

    ``on_close`` is called if it is closed before that.
    """

    __slots__ = (
        "_closed",
        "_early",
        "_loop",
        "_lost",
        "_on_close",
        "_on_readable",
        "_on_writable",
        "_repeat_within",
        "_stream",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, on_close: Callable[[], None]) -> None:
        self._loop = loop
        self._on_close = on_close
        self._closed = False
        self._stream: ByteStream | None = None
        self._early = memoryview(b"")
        self._lost: StreamLost | None = None
        self._on_readable: Callable[[], None] | None = None
        self._on_writable: Callable[[], None] | None = None
        self._repeat_within = 0.0

    @property
    def closed(self) -> bool:
        """Nobody wants it any more."""
        return self._closed

    def arrive(self, stream: ByteStream, early: bytes) -> None:
        """From here on it is ``stream``, from which ``early`` has been read already."""
        if self._closed:
            stream.close()
            return
        self._stream, self._early = stream, memoryview(early)
        if self._repeat_within:
            stream.repeat_within(self._repeat_within)
        self.on_readable(self._on_readable)
        self.on_writable(self._on_writable)

    def lose(self, why: StreamLost) -> None:
        """It won't arrive: reading says ``why``."""
        self._lost = why
        self.on_readable(self._on_readable)

    @property
    def backlog(self) -> int:
        """As ByteStream's."""
        return self._stream.backlog if self._stream else 0

    def read_into(self, view: memoryview, max_bytes: int | None = None) -> int | None:
        """As ByteStream's."""
        if self._lost:
            raise self._lost
        if self._early:
            part, self._early = self._early[: len(view)], self._early[len(view) :]
            view[: len(part)] = part
            return len(part)
        return self._stream.read_into(view, max_bytes) if self._stream else None

    def write(self, view: bytes | memoryview) -> int | None:
        """As ByteStream's."""
        return self._stream.write(view) if self._stream else None

    def flush(self) -> bool:
        """As ByteStream's."""
        return self._stream.flush() if self._stream else True

    def on_readable(self, callback: Callable[[], None] | None) -> None:
        """As ByteStream's."""
        self._on_readable = callback
        if self._stream is not None:
            self._stream.on_readable(callback)
        if callback is not None and (self._early or self._lost):  # of which the event loop knows nothing
            self._loop.call_soon(self._tell)

    def _tell(self) -> None:
        if self._on_readable is not None and (self._early or self._lost):
            self._on_readable()

    def on_writable(self, callback: Callable[[], None] | None) -> None:
        """As ByteStream's."""
        self._on_writable = callback
        if self._stream is not None:
            self._stream.on_writable(callback)

    def bound_queue(self, count: int) -> None:
        """As ByteStream's, once there is one."""
        if self._stream is not None:
            self._stream.bound_queue(count)

    def peer_gone(self) -> bool:
        """As ByteStream's."""
        return self._stream is not None and self._stream.peer_gone()

    def unsent(self) -> bool:
        """As ByteStream's."""
        return self._stream is not None and self._stream.unsent()

    def unanswered(self, seconds: float, *, under_way: bool) -> bool:
        """As ByteStream's."""
        return self._stream is not None and self._stream.unanswered(seconds, under_way=under_way)

    def repeat_within(self, seconds: float) -> None:
        """As ByteStream's."""
        self._repeat_within = seconds
        if self._stream is not None:
            self._stream.repeat_within(seconds)

    def end_output(self) -> None:
        """As ByteStream's."""
        if self._stream is not None:
            self._stream.end_output()

    def close(self) -> None:
        """As ByteStream's."""
        if self._closed:
            return
        self._closed = True
        self._on_readable = self._on_writable = None
        if self._stream is not None:
            self._stream.close()
        else:
            self._on_close()
