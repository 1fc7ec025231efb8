"""One side of a session: a stream, and what waits to be written to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.relay.stream import StreamLost
from k8s_ws_proxy.wire.framing.splitter import HEADROOM
from k8s_ws_proxy.wire.framing.tls_records import RECORD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k8s_ws_proxy.relay.byte_stream import ByteStream
    from k8s_ws_proxy.relay.read_budget import ReadBudget
    from k8s_ws_proxy.wire.framing.splitter import Piece

_SLOW: Final = 3 * 1024 * 1024  # bytes a second; guacd takes 0.5 MB, and no terminal shows more
_REMEMBERED: Final = 16  # sends in a row that needn't wait
# Bytes. Little is kept in front of a slow reader, here and in the kernel: it is what is still shown after Ctrl-C.
SLOW_BLOCK: Final = 16 * 1024
UNSENT: Final = 64 * 1024
_NOTHING: Final = memoryview(b"")


class Leg:
    """Reads blocks from its stream, writes pieces to it, and keeps what the socket wouldn't take.

    ``waiting`` is the number of bytes that wait, here or in the stream. The session reads nothing for this leg while
    there are any, so it is never more than one block and a few control frames.
    """

    __slots__ = (
        "_budget",
        "_held",
        "_late",
        "_outbox",
        "_since",
        "broken",
        "carried",
        "due",
        "received",
        "sent",
        "slow",
        "stream",
        "under_way",
        "unread",
        "waiting",
    )

    def __init__(self, stream: ByteStream, budget: ReadBudget) -> None:
        self.stream = stream
        stream.bound_queue(UNSENT)
        self._budget = budget
        self._outbox = _NOTHING
        self.carried = 0  # bytes that were read from it, and wait for their turn; see carry()
        self._held = 0  # bytes of memory that what waits takes, as far as the budget knows
        self.waiting = 0
        self.received = 0  # bytes, framing included
        self.sent = 0
        self._since = 0.0  # when what waits began to
        self._late = 0  # bytes of it then
        self.slow = _REMEMBERED  # above 0, the peer is a slow reader, as far as is known: sends until that is forgotten
        self.unread = False  # since the last tick it was not being read for a while, or isn't yet
        self.under_way = False  # at the last tick the kernel had bytes that weren't acknowledged
        self.due = False  # the rest of what was read from it has the next turn
        self.broken = False  # a write failed: nothing more will go out, but there may be bytes to read

    def unanswered(self, period: float) -> bool:
        """For the whole of the last period bytes or probes were under way, and nothing was acknowledged."""
        return self.stream.unanswered(period, under_way=self.under_way)

    def read(self, carry: bytes, max_bytes: int | None = None, *, halted: bool = False) -> int | None:
        """Read into the block, ``carry`` before it: the offset after the last byte, None if there is nothing yet.

        At most ``max_bytes`` of the wire, and none if ``halted``. Raises StreamLost; an end is told as EOFError.
        """
        block = self._budget.block
        start = HEADROOM + len(carry)
        if halted:
            block.buf[HEADROOM:start] = carry
            return start
        allowance = self._budget.allowance()
        if max_bytes is not None and max_bytes < allowance:
            allowance = max_bytes
        view = block.view[start : start + allowance + RECORD]
        count = self.stream.read_into(view, min(allowance, len(view) - RECORD))
        if count is None:
            return None
        if count == 0:
            raise EOFError
        if carry:
            block.buf[HEADROOM:start] = carry
        self.received += count
        return start + count

    def send(self, pieces: Sequence[Piece]) -> None:
        """Write ``pieces`` in order; what can't be written now is copied and kept.

        They are joined first: each piece would be a TLS record and a system call of its own, and a peer that sends
        single bytes makes tens of thousands of a block.
        """
        if self.broken or not pieces:
            return
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._outbox:
            self._outbox = memoryview(b"".join((self._outbox, data)))
        else:
            done = self._write(memoryview(data))
            self._outbox = memoryview(bytes(data[done:])) if done < len(data) else _NOTHING
        self._account()

    def flush(self) -> None:
        """Write what was kept, as far as the socket takes it."""
        done = self._write(self._outbox)
        left = self._outbox[done:]
        if not left:
            left = _NOTHING
        elif 2 * len(left) <= _size(left):  # else what is gone would keep its memory for as long as the rest waits
            left = memoryview(bytes(left))
        self._outbox = left
        self._account()

    def carry(self, count: int) -> None:
        """``count`` bytes that were read from it wait for their turn."""
        self._hold(self._held - self.carried + count)
        self.carried = count

    def close(self) -> None:
        """Close the stream; what was kept is let go."""
        self.stream.close()
        self.carried = 0
        self._forget()

    def _account(self) -> None:
        """Count what waits, and the memory that it takes."""
        if self.broken:
            self._forget()
            return
        backlog = self.stream.backlog
        waited, self.waiting = self.waiting, len(self._outbox) + backlog
        if self.waiting or waited:
            self._judge(waited)
            self._hold(_size(self._outbox) + backlog + self.carried)
        elif self.slow == 1:
            self._is_slow(False)
        elif self.slow:
            self.slow -= 1

    def _judge(self, waited: int) -> None:
        """How fast the peer takes what had to wait for it."""
        if not waited:
            self._since, self._late = self._budget.now(), self.waiting
        elif not self.waiting:
            self._is_slow(self._late < (self._budget.now() - self._since) * _SLOW)

    def _is_slow(self, slow: bool) -> None:
        """Bound the kernel's queue as well, or leave it to the kernel: for who reads fast that costs less."""
        if slow is not (self.slow > 0):
            self.stream.bound_queue(UNSENT if slow else 0)
        self.slow = _REMEMBERED if slow else 0

    def _forget(self) -> None:
        self._outbox = _NOTHING
        self.waiting = 0
        self._hold(self.carried)

    def _hold(self, held: int) -> None:
        self._budget.held += held - self._held
        self._held = held

    def _write(self, view: memoryview) -> int:
        """Bytes written, fewer than there are only if the socket is full or broken."""
        done, size = 0, len(view)
        try:
            if not size:
                self.stream.flush()
            while done < size:
                count = self.stream.write(view[done:] if done else view)
                if count is None:
                    break
                done += count
        except StreamLost:
            self.broken = True
        self.sent += done
        return done


def _size(view: memoryview) -> int:
    """Bytes of memory that ``view``, however little it shows of them, keeps from being let go."""
    kept = view.obj
    assert isinstance(kept, bytes)
    return len(kept)
