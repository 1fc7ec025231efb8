"""Somebody who watches another's session: upstream is that session, and what it says and how it ends is all there is.

The messages are those that its client gets, in the same frames: status and close come as they came to that one. An
observer's own messages are dropped; a peer's are taken one by one, so that none of them is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.wire.framing import channels, frames
from k8s_ws_proxy.wire.framing.channels import Framing
from k8s_ws_proxy.wire.framing.splitter import Closed
from k8s_ws_proxy.wire.rules.relay import Ending, Phase, Relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from k8s_ws_proxy.wire.framing.splitter import Block, Event
    from k8s_ws_proxy.wire.rules.liveness import Health

TOO_SLOW: Final = "too_slow"
_LEFT: Final = "the session's own client has left"
TYPED_AT_ONCE: Final = 128  # messages that are looked at one by one


class WatchRelay(Relay):
    """What both kinds of watchers have in common."""

    __slots__ = ()

    def upstream_end(self) -> None:
        """The session is over, and had no time to say why."""
        if self.phase is Phase.RELAYING:
            self._watched_ended(None, "")

    def status_overdue(self) -> None:
        """The close comes when the session's own client gets it."""

    def too_slow(self) -> None:
        """More waits for this watcher than may."""
        if self.phase is Phase.RELAYING:
            self._close(Ending.TOO_SLOW, frames.POLICY_VIOLATION, TOO_SLOW)

    def _upstream_event(self, event: Event) -> None:
        if isinstance(event, Closed):
            self._watched_ended(event.code, event.reason)
        else:
            super()._upstream_event(event)

    def _watched_ended(self, code: int | None, reason: str) -> None:
        if self.status_seen:
            self._close(Ending.WATCHED_ENDED, frames.NORMAL if code is None else code, reason)
            return
        self._tell_failure(channels.failure(f"This ends here: {_LEFT}.", reason="ClientLeft", code=410))
        self._close(Ending.WATCHED_ENDED, frames.GOING_AWAY, _LEFT)

    def _tick_upstream(self, health: Health) -> None:
        """It is within this process."""


class ObserveRelay(WatchRelay):
    """Whoever only looks on: its pings and its close count, and nothing else."""

    __slots__ = ()

    def client_data(self, block: Block, start: int, end: int) -> None:
        """As ever, and then dropped."""
        super().client_data(block, start, end)
        self.to_upstream.clear()
        self.keystroke = False


class PeerRelay(WatchRelay):
    """Whoever may type, too."""

    __slots__ = ()

    def __init__(self, mask_key: Callable[[], bytes]) -> None:
        super().__init__(mask_key, Framing.PEER)


def stdin_of(data: bytes, max_bytes: int) -> tuple[bytes, int]:
    """What the first of ``data``, whole messages of a client's, say on stdin, and how many bytes those messages take.

    It ends before the message after which there is more than ``max_bytes``, unless that is the first.
    """
    said: list[bytes] = []
    size = pos = 0
    for _ in range(TYPED_AT_ONCE):
        head = frames.parse_header(data, pos, len(data), masked=True)
        if head is None:
            break
        start = pos + head.size
        after = start + head.length
        if head.opcode < frames.CLOSE and head.length > 1 and data[start] ^ head.key[0] == channels.STDIN:
            if said and size + head.length > max_bytes:
                break
            said.append(frames.mask(data[start:after], head.key)[1:])
            size += head.length
        pos = after
    return b"".join(said), pos


def resize(data: bytes | memoryview, looks: int) -> tuple[int, int] | None:
    """The last size that one of the first ``looks`` of ``data``, whole messages of a client's, tells.

    Of a header only the length is read: this is done for all that a client sends, and what it sends in bulk are
    messages that were found to be whole before.
    """
    size = None
    pos, end = 0, len(data)
    while pos < end and looks:
        looks -= 1
        begin, length, start = pos, data[pos + 1] & 0x7F, pos + 6  # the payload's, after four bytes of key
        if length == 126:
            length, start = data[pos + 2] << 8 | data[pos + 3], pos + 8
        elif length == 127:
            length, start = int.from_bytes(data[pos + 2 : pos + 10], "big"), pos + 14
        pos = start + length
        if length > 1 and data[start] ^ data[start - 4] == channels.RESIZE and data[begin] & 0x0F < frames.CLOSE:
            payload = frames.mask(bytes(data[start:pos]), bytes(data[start - 4 : start]))
            size = channels.terminal_size(payload[1:]) or size
    return size
