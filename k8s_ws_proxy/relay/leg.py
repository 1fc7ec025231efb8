"""One side of a session: a stream, and what waits to be written to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8s_ws_proxy.relay.stream import Stream, StreamLost
from k8s_ws_proxy.wire.cutter import HEADROOM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k8s_ws_proxy.relay.pace import Pace
    from k8s_ws_proxy.wire.cutter import Piece


class Leg:
    """Reads blocks from its stream, writes pieces to it, and keeps what the socket wouldn't take.

    ``waiting`` is the number of bytes kept. The session reads nothing for this leg while there are any, so it is
    never more than one block and a few control frames.
    """

    __slots__ = ("_outbox", "_pace", "broken", "received", "sent", "stream", "under_way", "unread", "waiting")

    def __init__(self, stream: Stream, pace: Pace) -> None:
        self.stream = stream
        self._pace = pace
        self._outbox: list[memoryview] = []  # seldom more than one: a deque would cost 600 bytes in an idle session
        self.waiting = 0
        self.received = 0  # bytes, framing included
        self.sent = 0
        self.unread = False  # since the last tick it was not being read for a while, or isn't yet
        self.under_way = False  # at the last tick the kernel had bytes that weren't acknowledged
        self.broken = False  # a write failed: nothing more will go out, but there may be bytes to read

    def unanswered(self, period: float) -> bool:
        """For the whole of the last period bytes or probes were under way, and nothing was acknowledged."""
        return self.stream.unanswered(period, under_way=self.under_way)

    def read(self, carry: bytes, most: int | None = None) -> int | None:
        """Read into the block, ``carry`` before it: the offset after the last byte, None if there is nothing yet.

        At most ``most`` bytes, which must be a TLS record's 16 KiB or more.

        Raises StreamLost; an end is told as EOFError.
        """
        block = self._pace.block
        start = HEADROOM + len(carry)
        allowance = self._pace.allowance() if most is None else min(most, self._pace.allowance())
        count = self.stream.read_into(block.view[start : start + allowance])
        if count is None:
            return None
        if count == 0:
            raise EOFError
        block.buf[HEADROOM:start] = carry
        self.received += count
        return start + count

    def send(self, pieces: Iterable[Piece]) -> None:
        """Write ``pieces`` in order; what can't be written now is copied and kept."""
        for piece in pieces:
            done = 0 if self._outbox else self._write(memoryview(piece))
            if done < len(piece) and not self.broken:
                self._outbox.append(memoryview(bytes(piece[done:])))
                self._keep(len(piece) - done)

    def flush(self) -> None:
        """Write what was kept, as far as the socket takes it."""
        while self._outbox:
            piece = self._outbox[0]
            done = self._write(piece)
            if self.broken:
                return
            self._keep(-done)
            if done < len(piece):
                self._outbox[0] = piece[done:]
                return
            self._outbox.pop(0)

    def close(self) -> None:
        """Close the stream; what was kept is let go."""
        self._forget()
        self.stream.close()

    def _keep(self, count: int) -> None:
        self.waiting += count
        self._pace.held += count

    def _forget(self) -> None:
        self._outbox.clear()
        self._keep(-self.waiting)

    def _write(self, view: memoryview) -> int:
        """Bytes written, fewer than there are only if the socket is full or broken."""
        done, size = 0, len(view)
        try:
            while done < size:
                count = self.stream.write(view[done:] if done else view)
                if count is None:
                    break
                done += count
        except StreamLost:
            self.broken = True
            self._forget()
        self.sent += done
        return done
