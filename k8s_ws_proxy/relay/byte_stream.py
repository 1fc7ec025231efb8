"""What a session needs of a connection: ``relay.stream.Stream`` is one, ``relay.late.Late`` one that comes later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class ByteStream(Protocol):
    """Reads and writes that never wait. They are Stream's, where each is told of in full."""

    @property
    def backlog(self) -> int:
        """Bytes that write() has taken and the socket hasn't."""

    def read_into(self, view: memoryview, max_bytes: int | None = None) -> int | None:
        """The bytes of content read, 0 at the end, None where it must wait. Raises StreamLost."""

    def write(self, view: bytes | memoryview) -> int | None:
        """The bytes taken, None where it must wait. Raises StreamLost."""

    def flush(self) -> bool:
        """Whether the socket has all of the backlog. Raises StreamLost."""

    def on_readable(self, callback: Callable[[], None] | None) -> None:
        """Call it when there is something to read; None takes it back."""

    def on_writable(self, callback: Callable[[], None] | None) -> None:
        """Call it when more may be written; None takes it back."""

    def bound_queue(self, count: int) -> None:
        """How many unsent bytes the kernel may hold; 0 leaves it to the kernel."""

    def peer_gone(self) -> bool:
        """Whether the kernel knows that the peer has left."""

    def unsent(self) -> bool:
        """Whether bytes are under way."""

    def unanswered(self, seconds: float, *, under_way: bool) -> bool:
        """Whether the peer has acknowledged nothing for so long."""

    def repeat_within(self, seconds: float) -> None:
        """How long the kernel may let pass between two probes."""

    def end_output(self) -> None:
        """Nothing more will be written."""

    def close(self) -> None:
        """Close it now; twice does no harm."""
